//! A small chain with everything that can be proven about it: the published test vectors of `docs/format.md`, and the
//! files whose every bit the tests flip. Made without chance: the same files each time.

mod files;
mod two_phase;

use anyhow::{Context, Result};
use raftbank_ledger::{
    Account, Amount, Balance, Block, Entry, Genesis, GenesisAccount, GenesisTransfer, Hash, Header, LogTree, NodeName,
    Operation, PlaceInTree, Request, RequestId, State, StateProof, merkle, pow,
};
use raftbank_proofs::{
    BalanceProof, Checkpoint, ConsistencyProof, Head, KeyKind, Keys, LogProof, Receipt, SignerKey, node_key_name,
};

pub use files::{Case, File, cases, files, manifest};

/// Unix time in seconds at which the witness signs.
const WITNESS_TIME_S: u64 = 1_700_000_000;

/// A chain, the keys of its members, and the states between its blocks.
pub struct Bank {
    /// All blocks, block 0 first.
    pub blocks: Vec<Block>,
    /// What each account's proof is after each block.
    states: Vec<State>,
    /// Of the members, in order.
    pub signers: Vec<SignerKey>,
    /// A witness.
    pub witness: SignerKey,
}

impl Bank {
    /// The bank of the worked example, with another salt if wanted, and eight more blocks.
    ///
    /// # Errors
    /// None, if the rules of the bank are as they were.
    pub fn new(salt: &str) -> Result<Self> {
        let genesis = Genesis {
            name: "test".into(),
            salt: salt.into(),
            members: ["n1", "n2", "n3"].into_iter().map(NodeName::parse).collect::<Result<_, _>>()?,
            difficulty: 4,
            time_ms: 1_000,
            accounts: vec![
                GenesisAccount { name: Account::parse("alice")?, balance: 100 },
                GenesisAccount { name: Account::parse("bob")?, balance: 0 },
            ],
            transfers: vec![GenesisTransfer { from: Account::parse("alice")?, to: Account::parse("bob")?, amount: 40 }],
        };
        let block = genesis.block()?;
        let (state, _) = State::new(&block)?;
        let cluster = state.cluster_id();
        let signer = |name: &str, seed: u8| -> Result<SignerKey> {
            Ok(SignerKey::new(&node_key_name(&cluster, &NodeName::parse(name)?), KeyKind::Node, &[seed; 32])?)
        };
        let signers = vec![signer("n1", 1)?, signer("n2", 2)?, signer("n3", 3)?];
        let witness = SignerKey::new("witness.example/w1", KeyKind::Witness, &[9; 32])?;
        let mut bank = Self { blocks: vec![block], states: vec![state], signers, witness };
        for (number, batch) in batches()?.into_iter().enumerate() {
            bank.push(batch, number as u64)?;
        }
        Ok(bank)
    }

    fn push(&mut self, batch: Vec<Request>, number: u64) -> Result<()> {
        self.push_at(batch, number, 2_000 + number)
    }

    fn push_at(&mut self, batch: Vec<Request>, number: u64, time_ms: u64) -> Result<()> {
        let mut state = self.states.last().context("a state")?.clone();
        let executed = state.execute(batch, time_ms);
        let proposer = NodeName::parse(if number < 4 { "n2" } else { "n3" })?;
        let header = executed.seal(&state, 3 + number / 4, proposer);
        let nonce = pow::mine(&header, 0, 1 << 20).context("a nonce")?;
        let header = Header { nonce, ..header };
        let block = Block { header, entries: executed.entries() };
        state.commit(executed, &block.header)?;
        self.blocks.push(block);
        self.states.push(state);
        Ok(())
    }

    /// Adds blocks of a few transfers each.
    ///
    /// # Errors
    /// None, if the rules of the bank are as they were.
    pub fn grow(&mut self, blocks: u64) -> Result<()> {
        for block in 0..blocks {
            let batch: Result<Vec<Request>> = (0..1 + block % 7)
                .map(|place| {
                    let (from, to) =
                        (Account::parse("bob")?, Account::parse(&format!("account-{}", (block + place) % 21))?);
                    let operation = Operation::Transfer { from, to, amount: Amount::new(1)?, memo: String::new() };
                    Ok(Request::new(RequestId::parse(&format!("grow-{block}-{place}"))?, operation)?)
                })
                .collect();
            self.push(batch?, 8 + block)?;
        }
        Ok(())
    }

    /// Hash of block 0.
    pub fn cluster_id(&self) -> Hash {
        self.states[0].cluster_id()
    }

    /// The keys of the members.
    ///
    /// # Errors
    /// None.
    pub fn keys(&self) -> Result<Keys> {
        Ok(Keys::new(self.signers.iter().map(SignerKey::verifier).collect())?)
    }

    /// The same, and the witness's.
    ///
    /// # Errors
    /// None.
    pub fn keys_with_witness(&self) -> Result<Keys> {
        Ok(Keys::new(self.signers.iter().chain([&self.witness]).map(SignerKey::verifier).collect())?)
    }

    fn leaves(&self) -> Vec<Hash> {
        self.blocks.iter().map(|block| merkle::leaf_hash(&block.hash().0)).collect()
    }

    /// The head of the first `size` blocks.
    pub fn head(&self, size: usize) -> Head {
        let mut tree = LogTree::default();
        for block in &self.blocks[..size] {
            tree.push(block.hash());
        }
        Head { cluster_id: self.cluster_id(), size: size as u64, root: tree.root() }
    }

    /// Signed by the first two members.
    pub fn checkpoint(&self, size: usize) -> Checkpoint {
        self.signed_by(size, &[0, 1])
    }

    /// Signed by these members.
    pub fn signed_by(&self, size: usize, signers: &[usize]) -> Checkpoint {
        let mut checkpoint = Checkpoint::new(self.head(size));
        for signer in signers {
            checkpoint.sign(&self.signers[*signer], 0);
        }
        checkpoint
    }

    /// Signed by the first two members and the witness.
    pub fn cosigned(&self, size: usize) -> Checkpoint {
        let mut checkpoint = self.checkpoint(size);
        checkpoint.sign(&self.witness, WITNESS_TIME_S);
        checkpoint
    }

    fn log_proof(&self, height: usize, checkpoint: Checkpoint) -> LogProof {
        let size = usize::try_from(checkpoint.head.size).unwrap_or(0);
        LogProof { height: height as u64, hashes: merkle::inclusion_of(height, &self.leaves()[..size]), checkpoint }
    }

    /// The receipt of a request.
    pub fn receipt(&self, height: usize, index: usize, size: usize) -> Receipt {
        let block = &self.blocks[height];
        let leaves: Vec<Hash> = block.entries.iter().map(|entry| merkle::leaf_hash(&entry.encode())).collect();
        let path = merkle::inclusion_of(index, &leaves);
        let log = self.log_proof(height, self.checkpoint(size));
        Receipt::new(block.entries[index].clone(), index as u32, block.header.clone(), path, log)
    }

    /// What an account held after a block.
    ///
    /// # Errors
    /// A name that is none.
    pub fn balance(&self, account: &str, height: usize, size: usize) -> Result<BalanceProof> {
        let account = Account::parse(account)?;
        let (balance, StateProof { end, siblings }): (Option<Balance>, _) = self.states[height].prove(&account);
        let other = match end {
            PlaceInTree::Other { key, value } => Some((key, value)),
            PlaceInTree::Value(_) | PlaceInTree::Empty => None,
        };
        let header = self.blocks[height].header.clone();
        let log = self.log_proof(height, self.checkpoint(size));
        Ok(BalanceProof { account, balance, header, other, siblings, log })
    }

    /// That one head extends another.
    pub fn consistency(&self, old: usize, new: usize) -> ConsistencyProof {
        let leaves = self.leaves();
        let read = |level: u8, index: u64| {
            let first = (index << level) as usize;
            Ok::<Hash, std::convert::Infallible>(merkle::root(&leaves[first..first + (1 << level)]))
        };
        let Ok(hashes) = merkle::consistency(old as u64, new as u64, read);
        ConsistencyProof { old_size: old as u64, hashes, new: self.checkpoint(new) }
    }

    /// All requests with their places.
    pub fn requests(&self) -> impl Iterator<Item = (usize, usize, &Entry)> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(height, block)| {
            block.entries.iter().enumerate().map(move |(index, entry)| (height, index, entry))
        })
    }
}

fn batches() -> Result<Vec<Vec<Request>>> {
    let mut number = 0;
    let mut request = |operation: Operation| -> Result<Request> {
        number += 1;
        Ok(Request::new(RequestId::parse(&format!("r{number}"))?, operation)?)
    };
    let account = |name: &str| Ok::<Account, anyhow::Error>(Account::parse(name)?);
    let open = |name: &str| Ok::<Operation, anyhow::Error>(Operation::Open { account: account(name)? });
    let transfer = |from: &str, to: &str, amount: u64, memo: &str| -> Result<Operation> {
        let (from, to, amount) = (account(from)?, account(to)?, Amount::new(amount)?);
        Ok(Operation::Transfer { from, to, amount, memo: memo.to_owned() })
    };
    let mut batches = vec![
        vec![request(transfer("alice", "bob", 5, "rent")?)?],
        vec![
            request(open("carol")?)?,
            request(open("carol")?)?,
            request(transfer("alice", "carol", 7, "gr\u{fc}\u{df}e \u{20ac} \"quoted\" \\ \u{7f}\u{1}\n\u{2028}")?)?,
            request(transfer("alice", "nobody", 1, "")?)?,
            request(transfer("bob", "bob", 1, "")?)?,
        ],
        vec![
            request(Operation::Put { key: b"motto".to_vec(), value: b"trust, and verify".to_vec() })?,
            request(Operation::Put { key: vec![0xff, 0, 0x80], value: Vec::new() })?,
            request(transfer("bob", "carol", 1_000, "too much")?)?,
        ],
        vec![
            request(Operation::Credit { account: account("carol")?, amount: Amount::new((1 << 63) - 8)? })?,
            request(Operation::Credit { account: account("carol")?, amount: Amount::new(1)? })?,
            request(Operation::Debit { account: account("carol")?, amount: Amount::new(12)? })?,
        ],
        vec![request(Operation::Put { key: b"long".to_vec(), value: vec![b'x'; 2_000] })?],
        Vec::new(),
        vec![request(transfer("carol", "alice", (1 << 62) + 1, "")?)?],
        vec![request(open(&"z".repeat(64))?)?],
    ];
    // So many that some subtrees of the state are deep, and the transaction tree is not balanced.
    for count in 0..21 {
        batches[5].push(request(open(&format!("account-{count}"))?)?);
    }
    Ok(batches)
}
