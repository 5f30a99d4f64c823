//! A log of real blocks, with what each of them changes: what a node would hand to its store.
#![allow(dead_code, clippy::unwrap_used)]

use raftbank_consensus::{Entry, Index, Record, Term, Write};
use raftbank_ledger::{Account, Amount, Block, Delta, Genesis, Hash, NodeName, Operation, Request, RequestId, State};
use raftbank_store::{Batch, Expected, FORMAT, Meta, StateWrite};
use std::path::Path;

pub fn genesis() -> Block {
    let text = r#"{"name":"test","salt":"store tests","members":["n1","n2","n3"],"difficulty":0,"time_ms":1000,
        "accounts":[{"name":"alice","balance":1000000},{"name":"bob"}],"transfers":[]}"#;
    let genesis: Genesis = serde_json::from_str(text).unwrap();
    genesis.block().unwrap()
}

pub fn node() -> NodeName {
    NodeName::parse("n1").unwrap()
}

pub fn meta(rejoining: bool) -> Meta {
    Meta { format: FORMAT, cluster_id: genesis().hash(), node: node(), incarnation: 42, rejoining }
}

pub fn expected() -> Expected {
    Expected { cluster_id: genesis().hash(), node: node() }
}

/// One record with the state after it and what it changed.
#[derive(Clone)]
struct Link {
    record: Record,
    state: State,
    delta: Option<Delta>,
}

/// The log of a model node; index 0 is the genesis block.
#[derive(Clone)]
pub struct Chain {
    links: Vec<Link>,
    next_id: u64,
}

impl Chain {
    pub fn new() -> Chain {
        let block = genesis();
        let (state, delta) = State::new(&block).unwrap();
        let record = Record { index: 0, term: 0, entry: Some(Entry::from(block.encode())) };
        Chain { links: vec![Link { record, state, delta: Some(delta) }], next_id: 0 }
    }

    pub fn last_index(&self) -> Index {
        self.links.len() as u64 - 1
    }

    pub fn state_at(&self, index: Index) -> &State {
        &self.links[index as usize].state
    }

    pub fn record(&self, index: Index) -> Record {
        self.links[index as usize].record.clone()
    }

    pub fn records(&self, from: Index) -> Vec<Record> {
        self.links.iter().skip(from as usize).map(|link| link.record.clone()).collect()
    }

    /// Hashes of all blocks up to the one of record `index`, block 0 first.
    pub fn hashes(&self, index: Index) -> Vec<Hash> {
        let links = &self.links[..=index as usize];
        links.iter().filter_map(|link| Some(link.delta.as_ref()?.tip.hash)).collect()
    }

    /// Forgets the records from `from` on.
    pub fn cut(&mut self, from: Index) {
        self.links.truncate(from as usize);
    }

    /// A transfer of one unit.
    pub fn transfer(&mut self, memo: &str) -> Request {
        let operation = Operation::Transfer {
            from: Account::parse("alice").unwrap(),
            to: Account::parse("bob").unwrap(),
            amount: Amount::new(1).unwrap(),
            memo: memo.to_owned(),
        };
        self.request(operation)
    }

    /// A value of `length` bytes under `key`.
    pub fn put(&mut self, key: &str, length: usize) -> Request {
        let value = (0..length).map(|at| (at * 7 + self.next_id as usize) as u8).collect();
        self.request(Operation::Put { key: key.as_bytes().to_vec(), value })
    }

    pub fn open_account(&mut self) -> Request {
        let account = Account::parse(&format!("account.{}", self.next_id)).unwrap();
        self.request(Operation::Open { account })
    }

    /// A pending transfer that expires two blocks later, and one that is posted or voided by another request.
    pub fn pending(&mut self) -> Vec<Request> {
        let mut hold = |timeout_ms| {
            let (from, to) = (Account::parse("alice").unwrap(), Account::parse("bob").unwrap());
            let amount = Amount::new(2).unwrap();
            self.request(Operation::Pending { from, to, amount, timeout_ms, memo: String::new() })
        };
        let (short, long) = (hold(2), hold(1_000));
        let pending = long.id.clone();
        let end = match self.next_id % 3 {
            0 => return vec![short, long],
            1 => Operation::Post { pending, amount: Amount::new(1).ok() },
            _ => Operation::Void { pending },
        };
        vec![short, long, self.request(end)]
    }

    /// A request with an id of its own.
    pub fn request(&mut self, operation: Operation) -> Request {
        self.next_id += 1;
        Request { id: RequestId::parse(&format!("id-{}", self.next_id)).unwrap(), operation }
    }

    /// Appends a block of these requests.
    pub fn block(&mut self, term: Term, requests: Vec<Request>) -> Record {
        self.block_at(term, requests, 2000 + self.last_index())
    }

    fn block_at(&mut self, term: Term, requests: Vec<Request>, time_ms: u64) -> Record {
        let mut state = self.links.last().unwrap().state.clone();
        let executed = state.execute(requests, time_ms);
        let header = executed.seal(&state, term, node());
        let block = Block { header, entries: executed.entries() };
        let delta = state.commit(executed, &block.header).unwrap();
        let record = Record { index: self.last_index() + 1, term, entry: Some(Entry::from(block.encode())) };
        self.links.push(Link { record: record.clone(), state, delta: Some(delta) });
        record
    }

    /// Ids of later requests begin after this number.
    pub fn skip_ids(&mut self, number: u64) {
        self.next_id = number;
    }

    /// Appends a block read from a store.
    pub fn adopt(&mut self, term: Term, block: Block) {
        let mut state = self.links.last().unwrap().state.clone();
        let executed = state.check(&block).unwrap();
        let delta = state.commit(executed, &block.header).unwrap();
        let record = Record { index: self.last_index() + 1, term, entry: Some(Entry::from(block.encode())) };
        self.links.push(Link { record, state, delta: Some(delta) });
    }

    /// Appends a block with a few small requests.
    pub fn small_block(&mut self, term: Term) -> Record {
        let mut requests = vec![self.transfer("lunch"), self.open_account(), self.put("key", 20)];
        requests.extend(self.pending());
        self.block(term, requests)
    }

    /// Such a block as version 0.1.0 made it.
    fn old_block(&mut self, term: Term) -> Record {
        let requests = vec![self.transfer("lunch"), self.open_account(), self.put("key", 20)];
        self.block_at(term, requests, 2000)
    }

    /// Appends the no-op of a term.
    pub fn no_op(&mut self, term: Term) -> Record {
        let state = self.links.last().unwrap().state.clone();
        let record = Record { index: self.last_index() + 1, term, entry: None };
        self.links.push(Link { record: record.clone(), state, delta: None });
        record
    }

    /// The write that says record `index` was applied.
    pub fn applied(&self, index: Index) -> StateWrite {
        let link = &self.links[index as usize];
        StateWrite {
            index,
            term: link.record.term,
            height: link.delta.as_ref().map(|delta| delta.tip.height),
            delta: link.delta.clone(),
        }
    }

    /// A batch that appends everything from `from` on.
    pub fn append_batch(&self, from: Index) -> Batch {
        Batch { writes: vec![Write::Splice { from, records: self.records(from) }], ..Batch::default() }
    }
}

/// Every file under a folder with its bytes, to see that nothing changed.
pub fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Copies a folder with all below it.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn cluster_hash() -> Hash {
    genesis().hash()
}

/// Changes rows behind the store's back.
pub fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let db = raftbank_store::sled_for_tests(dir).unwrap();
    change(&db);
    db.flush().unwrap();
    drop(db);
}

/// A row's value: what it says, and the checksum over key and value.
pub fn sealed(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[key, payload].concat());
    [payload, &crc.to_be_bytes()].concat()
}

/// The folder of an older format that is kept as text, and the chain that is in it: see the text's beginning.
pub fn older(dir: &Path, format: u32) -> Chain {
    let text = match format {
        1 => include_str!("../data/format-1.txt"),
        _ => include_str!("../data/format-2.txt"),
    };
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    std::fs::create_dir_all(dir).unwrap();
    let mut mark = Vec::new();
    tamper(dir, |db| {
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["#", ..] => {}
                ["meta", hex] => std::fs::write(dir.join("meta"), bytes(hex)).unwrap(),
                ["mark", hex] => {
                    mark.extend(bytes(hex));
                    mark.resize(mark.len().next_multiple_of(4096), 0);
                }
                ["row", key, value] => drop(db.insert(bytes(key), bytes(value)).unwrap()),
                _ => panic!("a line of a kept folder"),
            }
        }
    });
    std::fs::write(dir.join("mark"), mark).unwrap();
    let mut chain = Chain::new();
    chain.no_op(1);
    while chain.last_index() < 8 {
        chain.old_block(1);
    }
    chain
}

/// Puts another format into the file `meta`.
pub fn set_format(dir: &Path, format: u8) {
    let mut meta = std::fs::read(dir.join("meta")).unwrap();
    meta[11] = format;
    let body = meta.len() - 4;
    let crc = crc32fast::hash(&meta[..body]);
    meta[body..].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(dir.join("meta"), meta).unwrap();
}
