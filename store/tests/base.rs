//! The accounts' base: made anew while the node goes on, killed at any moment, damaged.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Chain, tamper};
use raftbank_consensus::{HardState, Index, Write};
use raftbank_ledger::{Account, Amount, Operation};
use raftbank_store::{Batch, Limits, Opened, Reader, Salvage, SledReader, SledStore, Store, StoreError, Tuning};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::path::Path;

/// So small that a base of a few hundred accounts is made again and again, over several calls each time.
fn tuning() -> Tuning {
    let limits =
        Limits { rows_bytes: 1_500, accounts_bytes: 1_500, log_bytes: 20_000, rewrite_rows: 12, piece_bytes: 700 };
    Tuning { limits, ..Tuning::default() }
}

fn open(dir: &Path) -> Result<(SledStore, SledReader, Opened), StoreError> {
    SledStore::open_tuned(dir, &common::expected(), tuning())
}

/// A node's store with the chain that it holds, all of it applied.
struct Node {
    chain: Chain,
    store: SledStore,
    reader: SledReader,
    accounts: Vec<Account>,
}

impl Node {
    fn new(dir: &Path) -> Self {
        SledStore::create(dir, &common::meta(false), &common::genesis()).unwrap();
        let (mut store, reader, _) = open(dir).unwrap();
        let hard = Write::Hard(HardState { term: 1, vote: None });
        store.write(&Batch { writes: vec![hard], ..Batch::default() }).unwrap();
        let accounts = ["alice", "bob"].map(|name| Account::parse(name).unwrap()).into();
        Node { chain: Chain::new(), store, reader, accounts }
    }

    /// A block of transfers to accounts old and new.
    fn block(&mut self, rng: &mut StdRng) {
        let mut requests = Vec::new();
        for _ in 0..rng.random_range(1..=6) {
            if rng.random_bool(0.4) {
                let account = Account::parse(&format!("{}.{}", rng.random_range(0..9), self.accounts.len())).unwrap();
                requests.push(self.chain.request(Operation::Open { account: account.clone() }));
                self.accounts.push(account);
            }
            let to = self.accounts[rng.random_range(0..self.accounts.len())].clone();
            let amount = Amount::new(rng.random_range(1..50)).unwrap();
            requests.push(self.chain.request(Operation::Credit { account: to, amount }));
        }
        if rng.random_bool(0.2) {
            requests.push(self.chain.put(&format!("key {}", rng.random_range(0..20)), 30));
        }
        if rng.random_bool(0.1) {
            requests.extend(self.chain.pending());
        }
        let index = self.chain.block(1, requests).index;
        self.store.write(&self.chain.append_batch(index)).unwrap();
        self.store.sync().unwrap();
        let results = Batch { state: vec![self.chain.applied(index)], ..Batch::default() };
        self.store.write(&results).unwrap();
        // The mark says that it is committed from here on.
        self.store.sync().unwrap();
    }

    fn check_reader(&self) {
        let (state, rows) = (self.chain.state_at(self.chain.last_index()), self.reader.rows().unwrap());
        assert_eq!(rows.applied, self.chain.last_index());
        assert!(rows.rows.accounts.iter().map(|(name, balance)| (name, *balance)).eq(state.accounts()));
        assert!(rows.rows.values.iter().map(|(key, value)| (&key[..], &value[..])).eq(state.values()));
        assert_eq!(rows.rows.pendings, *state.pendings().rows());
    }

    /// Ends as a process that is killed, and starts again. Tells what sled held in between.
    fn killed(self, dir: &Path) -> (Self, Held) {
        let Node { chain, store, reader, accounts } = self;
        drop((store, reader));
        let held = held(dir);
        let (store, reader, opened) = open(dir).unwrap();
        assert_same(&chain, chain.last_index(), &opened);
        (Node { chain, store, reader, accounts }, held)
    }
}

fn assert_same(chain: &Chain, applied: Index, opened: &Opened) {
    let state = chain.state_at(applied);
    assert_eq!((opened.applied, opened.state.tip()), (applied, state.tip()));
    assert!(opened.state.accounts().eq(state.accounts()) && opened.state.values().eq(state.values()));
    assert_eq!((opened.state.pendings(), opened.state.ids()), (state.pendings(), state.ids()));
}

/// What sled holds of the accounts.
#[derive(Debug, Default)]
struct Held {
    /// Generation of the base; 0: none.
    generation: u64,
    /// Pieces of it, and of a newer one.
    pieces: usize,
    newer: usize,
    /// Accounts that changed since the base, and since older ones.
    changed: usize,
    changed_older: usize,
}

fn held(dir: &Path) -> Held {
    let mut held = Held::default();
    tamper(dir, |db| {
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes[..8].try_into().unwrap());
        held.generation = db.get(b"g").unwrap().map_or(0, |value| number(&value));
        for value in db.scan_prefix(b"c").values() {
            let generation = number(&value.unwrap());
            held.pieces += usize::from(generation == held.generation);
            held.newer += usize::from(generation > held.generation);
        }
        for key in db.scan_prefix(b"d").keys() {
            if number(&key.unwrap()[1..]) == held.generation { held.changed += 1 } else { held.changed_older += 1 }
        }
        let rows = db.scan_prefix(b"a").count();
        if held.generation == 0 { held.changed += rows } else { held.changed_older += rows }
    });
    held
}

#[test]
fn a_base_that_is_made_while_the_node_goes_on_survives_a_kill_at_any_moment() {
    let (mut unfinished, mut left, mut rows, mut generations) = (0, 0, 0, 0);
    for seed in 0..12 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let dir = &dir.path().join("data");
        let mut node = Node::new(dir);
        for _ in 0..rng.random_range(60..160) {
            node.block(&mut rng);
            match rng.random_range(0..20) {
                0 => {
                    // Nothing else is done for a while: the turn after the next one finds nothing to write.
                    (0..2).for_each(|_| node.store.sync_mark().unwrap());
                }
                1 | 2 => {
                    let held;
                    (node, held) = node.killed(dir);
                    unfinished += usize::from(held.newer > 0);
                    left += usize::from(held.changed_older > 0);
                    rows += usize::from(held.generation > 0 && held.changed > 0);
                }
                3..6 => node.check_reader(),
                _ => {}
            }
        }
        node.check_reader();
        node.store.close().unwrap();
        drop(node.reader);
        let held = held(dir);
        assert!(held.newer + held.changed_older == 0, "a clean stop leaves no garbage: {held:?}");
        generations = generations.max(held.generation);
        let (_, _, opened) = open(dir).unwrap();
        assert_same(&node.chain, node.chain.last_index(), &opened);
    }
    // Each kind of moment was met.
    assert!(
        unfinished > 5 && left > 0 && rows > 2 && generations > 5,
        "{unfinished} unfinished, {left} with garbage, {rows} with rows beside a base, {generations} generations"
    );
}

/// A folder with a base of several pieces, closed.
fn with_base(dir: &Path) -> Chain {
    let mut rng = StdRng::seed_from_u64(1);
    let mut node = Node::new(dir);
    while node.accounts.len() < 150 {
        node.block(&mut rng);
    }
    let Node { chain, store, reader, .. } = node;
    store.close().unwrap();
    drop(reader);
    let held = held(dir);
    assert!(held.generation > 0 && held.pieces > 4, "{held:?}");
    chain
}

fn refused(dir: &Path) -> String {
    match open(dir) {
        Err(StoreError::Corrupt { .. }) => open(dir).err().unwrap().to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn a_damaged_base_is_found_and_the_rest_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let whole = &dir.path().join("whole");
    let chain = with_base(whole);
    let state = chain.state_at(chain.last_index());
    // The last piece of the base that counts; the one before it may stand in the other places.
    let generation = held(whole).generation;
    let place = [b'c', (generation % 2) as u8];
    let last = |db: &sled::Db| db.scan_prefix(place).last().unwrap().unwrap();
    type Change<'a> = &'a dyn Fn(&sled::Db);
    let changes: [(&str, Change<'_>, &str); 5] = [
        (
            "flipped",
            &|db| {
                let (key, value) = last(db);
                let mut value = value.to_vec();
                value[9] ^= 1;
                db.insert(key, value).unwrap();
            },
            "missing or damaged",
        ),
        ("removed", &|db| drop(db.remove(last(db).0).unwrap()), "missing or damaged"),
        (
            "twice",
            &|db| {
                // With a checksum that is right for its new place.
                let value = last(db).1;
                let first = db.scan_prefix(place).next().unwrap().unwrap().0;
                let payload = &value[..value.len() - 4];
                let crc = crc32fast::hash(&[&first[..], payload].concat()).to_be_bytes();
                db.insert(&first, [payload, &crc].concat()).unwrap();
            },
            "out of order",
        ),
        ("base row", &|db| drop(db.insert(b"g", &[0; 32]).unwrap()), "the accounts' base is damaged"),
        ("no base row", &|db| drop(db.remove(b"g").unwrap()), "not the one that was written"),
    ];
    for (name, change, message) in changes {
        let damaged = &dir.path().join(name);
        common::copy_tree(whole, damaged);
        tamper(damaged, change);
        let found = refused(damaged);
        assert!(found.contains(message), "{name}: {found}");
        let salvage = Salvage::open(damaged).unwrap();
        assert!(salvage.accounts.len() < state.accounts().count(), "{name}");
        if name == "removed" {
            assert!(salvage.accounts.len() > 50 && salvage.damage.iter().any(|note| note.contains("piece")));
        }
    }
}
