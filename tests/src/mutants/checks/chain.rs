//! Blocks made by hand, for the checks of ledger and store.

use anyhow::{Context, Result};
use raftbank_consensus::{Entry, Index, Record, Write};
use raftbank_ledger::{
    Account, Amount, Block, Decision, Delta, Genesis, GenesisAccount, Hash, Header, NodeName, Operation, Request,
    RequestId, State, StateRows, Verifier, pow,
};
use raftbank_store::{Batch, StateWrite};

/// Unix time of the first block in milliseconds.
pub(super) const TIME_MS: u64 = 1_000_000;

pub(super) fn genesis(members: usize, difficulty: u8) -> Result<Block> {
    let names: Result<Vec<NodeName>, _> = (1..=members).map(|n| NodeName::parse(&format!("n{n}"))).collect();
    let genesis = Genesis {
        name: "planted".into(),
        salt: "salt".into(),
        members: names?,
        difficulty,
        time_ms: 1_000,
        accounts: vec![
            GenesisAccount { name: account("alice")?, balance: 10 },
            GenesisAccount { name: account("bob")?, balance: 0 },
        ],
        transfers: Vec::new(),
    };
    Ok(genesis.block()?)
}

pub(super) fn account(name: &str) -> Result<Account> {
    Ok(Account::parse(name)?)
}

pub(super) fn request(id: &str, operation: Operation) -> Result<Request> {
    Ok(Request::new(RequestId::parse(id)?, operation)?)
}

pub(super) fn credit(to: &str, amount: u64) -> Result<Operation> {
    Ok(Operation::Credit { account: account(to)?, amount: Amount::new(amount)? })
}

pub(super) fn open(name: &str) -> Result<Operation> {
    Ok(Operation::Open { account: account(name)? })
}

pub(super) fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.as_bytes().to_vec(), value: value.as_bytes().to_vec() }
}

pub(super) fn transfer(from: &str, to: &str, amount: u64) -> Result<Operation> {
    let (from, to) = (account(from)?, account(to)?);
    Ok(Operation::Transfer { from, to, amount: Amount::new(amount)?, memo: String::new() })
}

/// A log in which every record is a block, and the states between them.
pub(super) struct Chain {
    pub records: Vec<Record>,
    pub states: Vec<State>,
    deltas: Vec<Option<Delta>>,
}

impl Chain {
    /// Block 0 of one node.
    pub fn new(difficulty: u8) -> Result<Self> {
        let block = genesis(1, difficulty)?;
        let (state, delta) = State::new(&block)?;
        let records = vec![Record { index: 0, term: 0, entry: Some(Entry::from(block.encode())) }];
        Ok(Self { records, states: vec![state], deltas: vec![Some(delta)] })
    }

    pub fn state(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    pub fn last_index(&self) -> Index {
        self.records.len() as Index - 1
    }

    /// The next block, not appended.
    pub fn build(&self, batch: Vec<Request>, time_ms: u64) -> Result<(Block, Vec<Decision>)> {
        let executed = self.state().execute(batch, time_ms);
        let header = executed.seal(self.state(), 1, NodeName::parse("n1")?);
        let nonce = pow::mine(&header, 0, 1 << 20).context("a nonce")?;
        Ok((Block { header: Header { nonce, ..header }, entries: executed.entries() }, executed.decisions))
    }

    /// Appends a block of these requests and says what became of them.
    pub fn push(&mut self, batch: Vec<Request>) -> Result<Vec<Decision>> {
        let time_ms = TIME_MS + self.last_index();
        let (block, decisions) = self.build(batch, time_ms)?;
        let mut state = self.state().clone();
        let batch = block.entries.iter().map(|entry| &entry.request);
        let executed = state.execute(batch, block.header.time_ms);
        let delta = state.commit(executed, &block.header)?;
        self.records.push(Record { index: self.last_index() + 1, term: 1, entry: Some(Entry::from(block.encode())) });
        self.states.push(state);
        self.deltas.push(Some(delta));
        Ok(decisions)
    }

    /// Appends a block with one credit.
    pub fn grow(&mut self) -> Result<()> {
        let id = format!("grow-{}", self.last_index());
        let requests = vec![request(&id, credit("alice", 1)?)?, request(&format!("{id}-put"), put("key", &id))?];
        self.push(requests).map(drop)
    }

    /// A verifier that has seen the whole chain.
    pub fn verifier(&self) -> Result<Verifier> {
        let bytes = |record: &Record| record.entry.clone().context("a block");
        let mut verifier = Verifier::new(&bytes(&self.records[0])?)?;
        for record in &self.records[1..] {
            verifier.push(&bytes(record)?)?;
        }
        Ok(verifier)
    }

    /// What a store keeps of the last state.
    pub fn rows(&self) -> StateRows {
        let state = self.state();
        StateRows {
            accounts: state.accounts().map(|(account, balance)| (account.clone(), balance)).collect(),
            values: state.values().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
            ids: state.ids().clone(),
            pendings: state.pendings().rows().clone(),
            log: state.log().clone(),
            tip: state.tip().clone(),
            cluster_id: state.cluster_id(),
            difficulty: state.difficulty(),
        }
    }

    /// A node of the log tree.
    pub fn log_node(&self, level: u8, index: u64) -> Option<Hash> {
        let mut nodes = self.deltas.iter().flatten().flat_map(|delta| &delta.log);
        nodes.find(|node| (node.level, node.index) == (level, index)).map(|node| node.hash)
    }

    /// Appends records to a log.
    pub fn splice(&self, from: Index, to: Index) -> Batch {
        let records = self.records[from as usize..=to as usize].to_vec();
        Batch { writes: vec![Write::Splice { from, records }], ..Batch::default() }
    }

    /// Says that records are applied.
    pub fn applied(&self, from: Index, to: Index) -> Batch {
        let state = (from..=to).map(|index| {
            let delta = self.deltas[index as usize].clone();
            StateWrite { index, term: 1, height: Some(index), delta }
        });
        Batch { state: state.collect(), ..Batch::default() }
    }
}
