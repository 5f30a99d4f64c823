//! What every store must keep, checked on the one in memory and the one on disk with the same random histories.
#![allow(clippy::unwrap_used)]

mod common;

use common::Chain;
use proptest::prelude::*;
use raftbank_consensus::{HardState, Index, NodeId, TermRun, Write};
use raftbank_ledger::merkle;
use raftbank_store::{
    Batch, MemoryDisk, MemoryReader, MemoryStore, Opened, Reader, SledReader, SledStore, Store, StoreError,
};
use std::collections::BTreeMap;

/// A place where a store lives.
trait Place {
    type S: Store;
    type R: Reader;
    fn create() -> Self;
    fn open(&self) -> Result<(Self::S, Self::R, Opened), StoreError>;
    /// The process ends without a word; the machine goes on.
    fn kill(&self, store: Self::S);
}

struct Memory(MemoryDisk);

impl Place for Memory {
    type S = MemoryStore;
    type R = MemoryReader;
    fn create() -> Memory {
        Memory(MemoryDisk::create(&common::meta(true), &common::genesis()).unwrap())
    }
    fn open(&self) -> Result<(MemoryStore, MemoryReader, Opened), StoreError> {
        self.0.open(&common::expected())
    }
    fn kill(&self, store: MemoryStore) {
        self.0.kill();
        drop(store);
    }
}

struct Disk(tempfile::TempDir);

impl Place for Disk {
    type S = SledStore;
    type R = SledReader;
    fn create() -> Disk {
        let dir = tempfile::tempdir().unwrap();
        SledStore::create(dir.path(), &common::meta(true), &common::genesis()).unwrap();
        Disk(dir)
    }
    fn open(&self) -> Result<(SledStore, SledReader, Opened), StoreError> {
        SledStore::open(self.0.path(), &common::expected())
    }
    fn kill(&self, store: SledStore) {
        drop(store);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A higher term, or a vote in the present one.
    Hard {
        bump: u64,
        vote: Option<u8>,
    },
    /// Blocks at the end of the log, of the present term.
    Append {
        blocks: usize,
        no_op: bool,
        value_bytes: usize,
    },
    /// The newest `back` records that are not applied give way to `blocks` of a new term.
    Replace {
        back: u64,
        blocks: usize,
    },
    /// The next records are applied.
    Apply {
        records: u64,
    },
    Peer {
        node: u8,
        incarnation: u64,
    },
    Key {
        node: u8,
        public: [u8; 32],
    },
    ClearRejoining,
    Sync,
    /// The turn of the mark, as once a second.
    Mark,
    /// A clean stop and start.
    Restart,
    /// A `kill -9` and start.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1_u64..3, prop::option::of(0_u8..3)).prop_map(|(bump, vote)| Step::Hard { bump, vote }),
        6 => (0_usize..4, any::<bool>(), prop_oneof![Just(0_usize), Just(30), Just(65_536)])
            .prop_map(|(blocks, no_op, value_bytes)| Step::Append { blocks, no_op, value_bytes }),
        3 => (1_u64..5, 0_usize..3).prop_map(|(back, blocks)| Step::Replace { back, blocks }),
        4 => (1_u64..4).prop_map(|records| Step::Apply { records }),
        1 => (0_u8..3, any::<u64>()).prop_map(|(node, incarnation)| Step::Peer { node, incarnation }),
        1 => (0_u8..3, any::<[u8; 32]>()).prop_map(|(node, public)| Step::Key { node, public }),
        1 => Just(Step::ClearRejoining),
        3 => Just(Step::Sync),
        1 => Just(Step::Mark),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// What the store should hold.
struct Model {
    chain: Chain,
    hard: HardState,
    applied: Index,
    peers: BTreeMap<NodeId, u64>,
    keys: BTreeMap<NodeId, [u8; 32]>,
    rejoining: bool,
}

impl Model {
    fn new() -> Model {
        Model {
            chain: Chain::new(),
            hard: HardState { term: 0, vote: None },
            applied: 0,
            peers: BTreeMap::new(),
            keys: BTreeMap::new(),
            rejoining: true,
        }
    }

    fn bump(&mut self, by: u64, vote: Option<u8>) -> Write {
        self.hard = HardState { term: self.hard.term + by, vote: vote.map(NodeId) };
        Write::Hard(self.hard)
    }

    fn grow(&mut self, blocks: usize, no_op: bool, value_bytes: usize) {
        if no_op {
            self.chain.no_op(self.hard.term);
        }
        for _ in 0..blocks {
            let request =
                if value_bytes == 0 { self.chain.transfer("") } else { self.chain.put("some key", value_bytes) };
            self.chain.block(self.hard.term, vec![request]);
        }
    }

    /// Changes the model and returns what a node would hand to its store for it.
    fn batch(&mut self, step: &Step) -> Batch {
        let mut batch = Batch::default();
        match step {
            Step::Hard { bump, vote } => batch.writes.push(self.bump(*bump, *vote)),
            Step::Append { blocks, no_op, value_bytes } => {
                if self.hard.term == 0 {
                    batch.writes.push(self.bump(1, None));
                }
                let from = self.chain.last_index() + 1;
                self.grow(*blocks, *no_op, *value_bytes);
                batch.writes.push(Write::Splice { from, records: self.chain.records(from) });
            }
            Step::Replace { back, blocks } => {
                batch.writes.push(self.bump(1, Some(0)));
                let from = (self.chain.last_index() + 1).saturating_sub(*back).max(self.applied + 1);
                self.chain.cut(from);
                self.grow(*blocks, true, 0);
                batch.writes.push(Write::Splice { from, records: self.chain.records(from) });
            }
            Step::Apply { records } => {
                let to = (self.applied + records).min(self.chain.last_index());
                batch.state = (self.applied + 1..=to).map(|index| self.chain.applied(index)).collect();
                self.applied = to;
            }
            Step::Peer { node, incarnation } => {
                self.peers.insert(NodeId(*node), *incarnation);
                batch.peers.push((NodeId(*node), *incarnation));
            }
            Step::Key { node, public } => {
                self.keys.insert(NodeId(*node), *public);
                batch.keys.push((NodeId(*node), *public));
            }
            Step::ClearRejoining => {
                self.rejoining = false;
                batch.clear_rejoining = true;
            }
            Step::Sync | Step::Mark | Step::Restart | Step::Kill => {}
        }
        batch
    }

    fn runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for record in self.chain.records(1) {
            if runs.last().is_none_or(|run| run.term != record.term) {
                runs.push(TermRun { first: record.index, term: record.term });
            }
        }
        runs
    }

    fn check_reader(&self, reader: &impl Reader) {
        assert_eq!(reader.records(0, usize::MAX).unwrap(), self.chain.records(0));
        assert!(reader.records(self.chain.last_index() + 1, usize::MAX).unwrap().is_empty());
        let walked: Vec<_> = reader.walk(1, 50_000).map(Result::unwrap).collect();
        assert_eq!(walked, self.chain.records(1));
        // At least one record whatever the limit, and never more bytes than asked for beyond that.
        let one = reader.records(self.chain.last_index(), 0).unwrap();
        assert_eq!(one, [self.chain.record(self.chain.last_index())]);
        let tip = self.chain.state_at(self.applied).tip().clone();
        assert_eq!(reader.block(tip.height + 1).unwrap(), None);
        let blocks: Vec<_> =
            self.chain.records(0)[..=self.applied as usize].iter().filter_map(|r| r.entry.clone()).collect();
        for (height, block) in (0..).zip(blocks) {
            assert_eq!(reader.block(height).unwrap(), Some(block));
        }
        let stored = reader.rows().unwrap();
        assert_eq!(stored.applied, self.applied);
        assert_eq!(stored.rows.tip, tip);
        assert_eq!(stored.rows.log, *self.chain.state_at(self.applied).log());
        self.check_log(reader, tip.height);
        let accounts: BTreeMap<_, _> = stored.rows.accounts.into_iter().collect();
        let expected: BTreeMap<_, _> =
            self.chain.state_at(self.applied).accounts().map(|(name, balance)| (name.clone(), balance)).collect();
        assert_eq!(accounts, expected);
        let state = self.chain.state_at(self.applied);
        assert!(state.values().eq(stored.rows.values.iter().map(|(key, value)| (&key[..], &value[..]))));
        assert_eq!(state.pendings().rows(), &stored.rows.pendings);
        assert!(*state.ids() == stored.rows.ids);
    }

    /// Every complete node of the log tree is there, and no other.
    fn check_log(&self, reader: &impl Reader, height: u64) {
        let hashes: Vec<_> = self.chain.hashes(self.applied).iter().map(|hash| merkle::leaf_hash(&hash.0)).collect();
        for level in 0..10_u8 {
            let complete = (height + 1) >> level;
            for index in 0..complete {
                let under = &hashes[(index << level) as usize..((index + 1) << level) as usize];
                assert_eq!(reader.log_node(level, index).unwrap(), Some(merkle::root(under)), "{level}, {index}");
            }
            assert_eq!(reader.log_node(level, complete).unwrap(), None);
        }
        assert_eq!(reader.log_node(64, 0).unwrap(), None);
        assert_eq!(reader.log_node(1, u64::MAX).unwrap(), None);
    }

    fn check_opened(&self, opened: &Opened) {
        assert_eq!(opened.durable.hard, self.hard);
        assert_eq!(opened.durable.terms, self.runs());
        assert_eq!(opened.durable.last_index, self.chain.last_index());
        assert_eq!(opened.durable.committed, self.applied);
        assert_eq!(opened.applied, self.applied);
        assert_eq!(opened.durable.tail, self.chain.records(self.applied + 1));
        assert_eq!(opened.peers, self.peers);
        assert_eq!(opened.keys, self.keys);
        assert_eq!(opened.meta.rejoining, self.rejoining);
        let state = self.chain.state_at(self.applied);
        assert_eq!(opened.state.tip(), state.tip());
        assert_eq!(opened.state.log(), state.log());
        assert!(opened.state.ids() == state.ids());
        assert!(opened.state.accounts().eq(state.accounts()));
        assert!(opened.state.values().eq(state.values()));
        assert_eq!(opened.state.pendings(), state.pendings());
    }
}

/// The history ends with a kill and a start, so that every one is read back.
fn run<P: Place>(steps: &[Step]) {
    let place = P::create();
    let (mut store, mut reader, opened) = place.open().unwrap();
    let mut model = Model::new();
    model.check_opened(&opened);
    let mut flag_pending = false;
    // What no kill may take back of the state.
    let mut known = 0;
    for step in steps.iter().chain([&Step::Kill]) {
        match step {
            Step::Sync | Step::Mark => {
                match step {
                    Step::Mark => store.sync_mark().unwrap(),
                    _ => store.sync().unwrap(),
                }
                flag_pending = false;
                known = model.applied;
            }
            Step::Restart | Step::Kill => {
                drop(reader);
                if matches!(step, Step::Kill) {
                    // The page cache survives, so nothing written is lost; but the flag in the folder's identity
                    // changes only with a sync.
                    if flag_pending {
                        store.sync().unwrap();
                        known = model.applied;
                    }
                    place.kill(store);
                } else {
                    store.close().unwrap();
                    known = model.applied;
                }
                flag_pending = false;
                let opened;
                (store, reader, opened) = place.open().unwrap();
                // Results that no sync has vouched for may be gone with the process; their records are not.
                assert!(
                    (known..=model.applied).contains(&opened.applied),
                    "{known} {} {}",
                    opened.applied,
                    model.applied
                );
                (model.applied, known) = (opened.applied, opened.applied);
                model.check_opened(&opened);
            }
            other => {
                flag_pending |= matches!(other, Step::ClearRejoining);
                store.write(&model.batch(other)).unwrap();
            }
        }
        model.check_reader(&reader);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_keeps_random_histories(steps in prop::collection::vec(step(), 0..40)) {
        run::<Memory>(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sled_keeps_random_histories(steps in prop::collection::vec(step(), 0..40)) {
        run::<Disk>(&steps);
    }
}

/// Calls that contradict what is stored: refused as corruption, and nothing works on that store afterwards.
fn refuses_contradictions<P: Place>() {
    let mut chain = Chain::new();
    chain.no_op(2);
    for _ in 0..5 {
        chain.small_block(2);
    }
    let hard = |term, vote: Option<u8>| Write::Hard(HardState { term, vote: vote.map(NodeId) });
    let mut setup = chain.append_batch(1);
    setup.writes.insert(0, hard(2, Some(1)));
    setup.state = (1..=3).map(|index| chain.applied(index)).collect();
    let splice = |from: Index, records| Batch { writes: vec![Write::Splice { from, records }], ..Batch::default() };
    let state = |writes| Batch { state: writes, ..Batch::default() };
    let mut older = chain.record(6);
    older.term = 1;
    let mut wrong_term = chain.applied(4);
    wrong_term.term = 1;
    let mut wrong_height = chain.applied(4);
    wrong_height.height = Some(9);
    let contradictions = [
        ("replaces an applied record", splice(3, chain.records(3))),
        ("leaves a gap", splice(8, vec![])),
        ("numbers a record wrongly", splice(7, chain.records(6))),
        ("goes back in term", splice(6, vec![older])),
        ("forgets a term", Batch { writes: vec![hard(1, None)], ..Batch::default() }),
        ("votes twice", Batch { writes: vec![hard(2, Some(0))], ..Batch::default() }),
        ("takes a vote back", Batch { writes: vec![hard(2, None)], ..Batch::default() }),
        ("applies twice", state(vec![chain.applied(3)])),
        ("skips one", state(vec![chain.applied(5)])),
        ("applies another term's record", state(vec![wrong_term])),
        ("applies at another height", state(vec![wrong_height])),
    ];
    for (what, batch) in contradictions {
        let place = P::create();
        let (mut store, _reader, _) = place.open().unwrap();
        store.write(&setup).unwrap();
        store.sync().unwrap();
        let Err(error) = store.write(&batch) else { panic!("a batch that {what} was taken") };
        assert_eq!(error.exit_code(), 6, "{what}: {error}");
        assert_eq!(store.sync().unwrap_err().exit_code(), 7, "{what}");
        assert_eq!(store.write(&Batch::default()).unwrap_err().exit_code(), 7, "{what}");
    }
}

#[test]
fn memory_refuses_contradictions() {
    refuses_contradictions::<Memory>();
}

#[test]
fn sled_refuses_contradictions() {
    refuses_contradictions::<Disk>();
}

/// A record that a follower disputes is cut off, and nothing comes in its place until a leader sends something else.
fn cuts_without_a_replacement<P: Place>() {
    let mut chain = Chain::new();
    chain.no_op(1);
    chain.small_block(1);
    chain.small_block(1);
    let mut setup = chain.append_batch(1);
    setup.writes.insert(0, Write::Hard(HardState { term: 1, vote: None }));
    setup.state = vec![chain.applied(1)];
    let place = P::create();
    let (mut store, reader, _) = place.open().unwrap();
    store.write(&setup).unwrap();
    store.sync().unwrap();
    let cut = Batch { writes: vec![Write::Splice { from: 3, records: Vec::new() }], ..Batch::default() };
    store.write(&cut).unwrap();
    store.sync().unwrap();
    assert_eq!(reader.records(1, usize::MAX).unwrap().len(), 2);
    drop((store, reader));
    let (mut store, _reader, opened) = place.open().unwrap();
    assert_eq!((opened.durable.last_index, opened.durable.tail.len(), opened.applied), (2, 1, 1));
    store
        .write(&Batch { writes: vec![Write::Splice { from: 3, records: chain.records(3) }], ..Batch::default() })
        .unwrap();
    store.sync().unwrap();
}

#[test]
fn both_cut_without_a_replacement() {
    cuts_without_a_replacement::<Memory>();
    cuts_without_a_replacement::<Disk>();
}

fn opens_once<P: Place>() {
    let place = P::create();
    let first = place.open().unwrap();
    let Err(error) = place.open() else { panic!("opened twice") };
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(first);
    place.open().unwrap();
}

#[test]
fn both_open_once() {
    opens_once::<Memory>();
    opens_once::<Disk>();
}

/// A reader on another thread sees whole records while the end of the log is replaced again and again.
fn reads_beside_a_writer<P: Place>()
where
    P::R: 'static,
{
    let place = P::create();
    let (mut store, reader, _) = place.open().unwrap();
    let mut chain = Chain::new();
    let mut setup = chain.append_batch(1);
    setup.writes = vec![Write::Hard(HardState { term: 1000, vote: None })];
    store.write(&setup).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let worker = {
        let stop = std::sync::Arc::clone(&stop);
        let reader = reader.clone();
        std::thread::spawn(move || {
            let mut reads = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let records = reader.records(1, usize::MAX).unwrap();
                for (record, index) in records.iter().zip(1..) {
                    assert_eq!(record.index, index);
                }
                reads += 1;
            }
            reads
        })
    };
    for term in 1..60 {
        let from = chain.last_index().saturating_sub(3).max(1);
        chain.cut(from);
        for _ in 0..5 {
            let request = chain.put("k", if term % 5 == 0 { 65_536 } else { 100 });
            chain.block(term, vec![request.clone()]);
        }
        store.write(&chain.append_batch(from)).unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(worker.join().unwrap() > 0);
    assert_eq!(reader.records(0, usize::MAX).unwrap(), chain.records(0));
}

#[test]
fn both_read_beside_a_writer() {
    reads_beside_a_writer::<Memory>();
    reads_beside_a_writer::<Disk>();
}
