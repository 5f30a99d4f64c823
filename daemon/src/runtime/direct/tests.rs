use std::cell::RefCell;

use raftbank_consensus::{Entry, Record, Write};
use raftbank_ledger::{
    Account, Amount, Block, Books, Genesis, Hash, NodeName, Operation, PlaceInTree, Request, RequestId, State,
    StateProof, account_key, balance_hash, merkle,
};
use raftbank_store::{
    Batch, Expected, FORMAT, MemoryDisk, MemoryReader, MemoryStore, Meta, Reader, StateWrite, Store, StoreError,
    StoredRows,
};
use raftbank_wire::api::{ApiReply, FailKind};

use super::{Answer, Client, Direct, Report, answer};
use crate::verify::Against;

/// A client that takes so many replies before it goes.
struct Taker {
    got: RefCell<Vec<ApiReply>>,
    patience: usize,
}

impl Taker {
    fn new(patience: usize) -> Self {
        Self { got: RefCell::default(), patience }
    }
}

impl Client for Taker {
    fn send(&self, reply: &ApiReply) {
        self.send_blocking(reply);
    }

    fn send_blocking(&self, reply: &ApiReply) -> bool {
        let open = !self.is_closed();
        if open {
            self.got.borrow_mut().push(reply.clone());
        }
        open
    }

    fn is_closed(&self) -> bool {
        self.got.borrow().len() >= self.patience
    }
}

fn account(name: &str) -> Account {
    Account::parse(name).expect("valid")
}

/// The store of a node, with the state after each of its blocks.
struct Chain {
    reader: MemoryReader,
    states: Vec<State>,
    hashes: Vec<Hash>,
    _store: MemoryStore,
}

impl Chain {
    /// A block opens `bob` at height 3; each other credits `alice`, and each tenth puts a value.
    fn new(blocks: u64) -> Self {
        let genesis =
            r#"{"name":"t","salt":"s","members":["n1"],"difficulty":0,"time_ms":1,"accounts":[{"name":"alice"}]}"#;
        let genesis: Genesis = serde_json::from_str(genesis).expect("valid");
        let genesis = genesis.block().expect("valid");
        let node = NodeName::parse("n1").expect("valid");
        let cluster_id = genesis.hash();
        let meta = Meta { format: FORMAT, cluster_id, node: node.clone(), incarnation: 1, rejoining: false };
        let disk = MemoryDisk::create(&meta, &genesis).expect("made");
        let (mut store, reader, _) = disk.open(&Expected { cluster_id, node: node.clone() }).expect("opened");
        let (state, _) = State::new(&genesis).expect("valid");
        let (mut states, mut hashes) = (vec![state], vec![cluster_id]);
        for number in 1..=blocks {
            let mut state = states.last().expect("one").clone();
            let operation = match number {
                3 => Operation::Open { account: account("bob") },
                _ if number % 10 == 0 => Operation::Put { key: number.to_string().into(), value: vec![1; 9] },
                _ => Operation::Credit { account: account("alice"), amount: Amount::new(number).expect("valid") },
            };
            let id = RequestId::parse(&format!("id-{number}")).expect("valid");
            let executed = state.execute(vec![Request { id, operation }], 2);
            let block = Block { header: executed.seal(&state, 1, node.clone()), entries: executed.entries() };
            let delta = state.commit(executed, &block.header).expect("the state it was executed on");
            let record = Record { index: number, term: 1, entry: Some(Entry::from(block.encode())) };
            let write = StateWrite { index: number, term: 1, height: Some(number), delta: Some(delta) };
            let writes = vec![Write::Splice { from: number, records: vec![record] }];
            store.write(&Batch { writes, state: vec![write], ..Batch::default() }).expect("written");
            hashes.push(block.hash());
            states.push(state);
        }
        Self { reader, states, hashes, _store: store }
    }

    fn head(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn ask(&self, direct: &Direct) -> (Vec<ApiReply>, Answer) {
        let taker = Taker::new(usize::MAX);
        let answer = answer(direct, &self.reader, self.head(), &taker);
        (taker.got.into_inner(), answer)
    }

    fn last(&self, direct: &Direct) -> ApiReply {
        let (_, answer) = self.ask(direct);
        assert!(answer.report.is_none(), "{:?}", answer.report);
        answer.last.expect("it did not go")
    }

    fn leaf(&self, height: u64) -> Hash {
        merkle::leaf_hash(&self.hashes[usize::try_from(height).expect("small")].0)
    }

    fn root(&self, size: u64) -> Hash {
        self.states[usize::try_from(size - 1).expect("small")].log().root()
    }
}

fn hashes(reply: ApiReply) -> Vec<Hash> {
    let ApiReply::Hashes { hashes } = reply else { panic!("{reply:?}") };
    hashes.into_iter().map(Hash).collect()
}

fn code(reply: &ApiReply) -> (FailKind, &str) {
    let ApiReply::Failed { kind, code, message } = reply else { panic!("{reply:?}") };
    assert!(!message.is_empty());
    (*kind, code)
}

#[test]
fn every_block_is_proven_in_every_tree_and_every_tree_in_every_later_one() {
    let chain = Chain::new(20);
    for size in 1..=21 {
        for height in 0..size {
            let proof = hashes(chain.last(&Direct::Inclusion { height, size }));
            let root = merkle::root_by_inclusion(chain.leaf(height), height, size, &proof).expect("a proof");
            assert_eq!(root, chain.root(size), "{height} in {size}");
        }
        for old in 1..=size {
            let proof = hashes(chain.last(&Direct::Consistency { old, new: size }));
            merkle::check_consistency((old, chain.root(old)), (size, chain.root(size)), &proof).expect("consistent");
        }
    }
}

#[test]
fn trees_that_are_not_there_are_refused_at_once() {
    let chain = Chain::new(5);
    let max = u64::MAX;
    for (height, size) in [(0, 0), (6, 6), (max, max), (max, 0), (7, 6), (max - 1, 5)] {
        let reply = chain.last(&Direct::Inclusion { height, size });
        assert_eq!(code(&reply), (FailKind::Usage, "bad_range"), "{height} in {size}");
    }
    for (height, size) in [(0, 7), (6, 7), (max - 1, max), (0, max), (0, 1 << 63)] {
        let reply = chain.last(&Direct::Inclusion { height, size });
        assert_eq!(code(&reply), (FailKind::NotExecuted, "unknown_block"), "{height} in {size}");
    }
    for (old, new) in [(0, 0), (0, 5), (0, max), (6, 5), (max, 1)] {
        let reply = chain.last(&Direct::Consistency { old, new });
        assert_eq!(code(&reply), (FailKind::Usage, "bad_range"), "{old} to {new}");
    }
    for (old, new) in [(1, 7), (7, 7), (max, max), (1, max)] {
        let reply = chain.last(&Direct::Consistency { old, new });
        assert_eq!(code(&reply), (FailKind::NotExecuted, "unknown_block"), "{old} to {new}");
    }
}

#[test]
fn balances_of_every_block_are_proven() {
    let chain = Chain::new(12);
    for height in 0..=12 {
        for name in ["alice", "bob", "carol", "world"] {
            let name = account(name);
            let state = &chain.states[usize::try_from(height).expect("small")];
            let (wanted, _) = state.prove(&name);
            let reply = chain.last(&Direct::BalanceAt(name.clone(), height));
            let ApiReply::BalanceAt { account, balance, height: at, other, siblings } = reply else {
                panic!("{reply:?}")
            };
            assert_eq!((account.as_str(), balance, at), (name.as_str(), wanted, height));
            let end = match (balance, other) {
                (Some(balance), None) => PlaceInTree::Value(balance_hash(balance)),
                (None, Some((key, value))) => PlaceInTree::Other { key: Hash(key), value: Hash(value) },
                (None, None) => PlaceInTree::Empty,
                (Some(_), Some(_)) => panic!("both"),
            };
            let proof = StateProof { end, siblings: siblings.into_iter().map(Hash).collect() };
            assert_eq!(proof.root(&account_key(&name)).expect("a proof"), state.tip().state_root, "{name} at {height}");
        }
    }
    for height in [13, u64::MAX] {
        let reply = chain.last(&Direct::BalanceAt(account("alice"), height));
        assert_eq!(code(&reply), (FailKind::Refused, "unknown_block"));
    }
}

#[test]
fn who_has_gone_is_not_worked_for() {
    let chain = Chain::new(600);
    let (progress, _) = chain.ask(&Direct::BalanceAt(account("alice"), 599));
    let done = |done| ApiReply::Progress { done, total: 600 };
    assert_eq!(progress, [done(0), done(256), done(512)]);
    for (direct, patience) in [
        (Direct::BalanceAt(account("alice"), 599), 1),
        (Direct::Verify(None), 1),
        (Direct::Blocks { from: 0, to: None }, 7),
        (Direct::Rows, 0),
    ] {
        let taker = Taker::new(patience);
        let Answer { last, report } = answer(&direct, &chain.reader, chain.head(), &taker);
        assert!(last.is_none() && report.is_none(), "{direct:?}");
        assert_eq!(taker.got.borrow().len(), patience);
    }
}

#[test]
fn rows_are_those_of_the_head() {
    let chain = Chain::new(30);
    let (parts, answer) = chain.ask(&Direct::Rows);
    let state = chain.states.last().expect("one");
    let (mut accounts, mut values) = (Vec::new(), Vec::new());
    for part in &parts {
        let ApiReply::Rows { height: 30, accounts: some, values: others } = part else { panic!("{part:?}") };
        accounts.extend(some.clone());
        values.extend(others.clone());
    }
    let wanted: Vec<_> = state.accounts().map(|(name, balance)| (name.as_str().to_owned(), balance)).collect();
    assert_eq!(accounts, wanted);
    let wanted: Vec<_> = state.values().map(|(key, value)| (key.to_vec(), Hash::of(&[value]).0)).collect();
    assert_eq!(values, wanted);
    let count = (accounts.len() + values.len()) as u64;
    assert_eq!(answer.last, Some(ApiReply::End { count }));
}

/// The reader of a damaged store.
#[derive(Clone)]
struct Damaged {
    reader: MemoryReader,
    /// A node of the log tree that is not there.
    lost: Option<(u8, u64)>,
    /// The block at this height is left out.
    left_out: Option<u64>,
    /// So many accounts are added to the rows.
    added: u64,
}

impl Reader for Damaged {
    fn records(&self, from: u64, bytes_max: usize) -> Result<Vec<Record>, StoreError> {
        let mut records = self.reader.records(from, bytes_max)?;
        for record in &mut records {
            if Some(record.index) == self.left_out {
                record.entry = None;
            }
        }
        Ok(records)
    }

    fn block(&self, height: u64) -> Result<Option<Entry>, StoreError> {
        self.reader.block(height)
    }

    fn rows(&self) -> Result<StoredRows, StoreError> {
        let mut rows = self.reader.rows()?;
        for number in 0..self.added {
            rows.rows.accounts.insert(account(&format!("some-longer-name-{number}")), 0);
        }
        Ok(rows)
    }

    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        if self.lost == Some((level, index)) { Ok(None) } else { self.reader.log_node(level, index) }
    }
}

#[test]
fn damage_is_reported_to_the_client_and_to_the_node() {
    let chain = Chain::new(20);
    let sound = Damaged { reader: chain.reader.clone(), lost: None, left_out: None, added: 0 };
    let cases = [
        (Damaged { lost: Some((2, 1)), ..sound.clone() }, Direct::Inclusion { height: 15, size: 21 }, false),
        (Damaged { lost: Some((2, 1)), ..sound.clone() }, Direct::Inclusion { height: 0, size: 8 }, true),
        (Damaged { lost: Some((0, 20)), ..sound.clone() }, Direct::Consistency { old: 20, new: 21 }, true),
        (Damaged { left_out: Some(7), ..sound.clone() }, Direct::BalanceAt(account("alice"), 19), true),
        (Damaged { left_out: Some(7), ..sound.clone() }, Direct::BalanceAt(account("alice"), 6), false),
        (Damaged { left_out: Some(19), ..sound.clone() }, Direct::BalanceAt(account("alice"), 19), true),
        (Damaged { lost: Some((3, 0)), ..sound.clone() }, Direct::Verify(None), true),
    ];
    for (reader, direct, found) in cases {
        let Answer { last, report } = answer(&direct, &reader, 20, &Taker::new(usize::MAX));
        assert_eq!(matches!(report, Some(Report::Damaged(_))), found, "{direct:?}: {report:?}");
        match last.expect("it did not go") {
            ApiReply::Failed { kind: FailKind::Corruption, .. } | ApiReply::Verified { ok: false, .. } => {
                assert!(found, "{direct:?}");
            }
            _ => assert!(!found, "{direct:?}"),
        }
    }
}

#[test]
fn many_rows_come_in_parts_that_fit_a_reply() {
    let chain = Chain::new(2);
    let reader = Damaged { reader: chain.reader.clone(), lost: None, left_out: None, added: 60_000 };
    let taker = Taker::new(usize::MAX);
    let answer = answer(&Direct::Rows, &reader, 2, &taker);
    let parts = taker.got.into_inner();
    assert!(parts.len() > 2);
    let longest = parts.iter().map(|part| raftbank_codec::encode(part).len()).max().expect("one");
    assert!(longest <= 2 << 20, "{longest}");
    assert!(matches!(answer.last, Some(ApiReply::End { count }) if count > 60_000));
}

#[test]
fn a_checkpoint_that_contradicts_does_not_make_a_sound_node_believe_that_it_is_damaged() {
    let chain = Chain::new(20);
    let verify = |size, root| {
        let (_, answer) = chain.ask(&Direct::Verify(Some(Against { size, root })));
        let Some(ApiReply::Verified { ok, problem, .. }) = answer.last else { panic!("{answer:?}") };
        assert_eq!(ok, problem.is_none());
        assert!(answer.report.is_none(), "{:?}", answer.report);
        ok
    };
    for size in 1..=21 {
        assert!(verify(size, chain.root(size)));
        assert!(!verify(size, Hash([1; 32])));
    }
    assert!(!verify(0, chain.root(1)));
    assert!(!verify(22, chain.root(21)));
    assert!(!verify(u64::MAX, chain.root(21)));
}

#[test]
fn the_past_that_is_replayed_is_the_past() {
    // Books are compared with the header's state root: an altered block is found even if all else fits.
    let chain = Chain::new(4);
    let mut books = Books::default();
    for height in 0..=4 {
        let bytes = chain.reader.block(height).expect("readable").expect("there");
        books.apply(&Block::decode(&bytes).expect("a block"));
        assert_eq!(books.tree().root(), chain.states[usize::try_from(height).expect("small")].tip().state_root);
    }
}
