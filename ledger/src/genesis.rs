//! The genesis file, and block 0 that is made from it. The cluster id is the hash of block 0, so nodes with different
//! genesis files are in different clusters.

use serde::{Deserialize, Serialize};

use crate::amount::{Amount, AmountError};
use crate::bank::{Bank, Place};
use crate::block::{Block, Entry, HEADER_VERSION, Header, transaction_root};
use crate::bytes::{DecodeError, Reader, put_text8};
use crate::hash::Hash;
use crate::names::{Account, NameError, NodeName, RequestId};
use crate::outcome::Outcome;
use crate::pow::DIFFICULTY_MAX;
use crate::request::{Operation, Request};
use crate::violation::Violation;

/// Most members.
pub const MEMBERS_MAX: usize = 7;
/// Key of the value that holds the genesis parameters.
pub const GENESIS_KEY: &[u8] = b"raftbank/genesis";
/// The proposer of block 0.
const PROPOSER: &str = "genesis";
const TEXT_BYTES_MAX: usize = 128;

/// A genesis file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The cluster's name, 1–128 bytes without control characters.
    pub name: String,
    /// Anything that no other cluster has, 1–128 bytes without control characters.
    pub salt: String,
    /// The voting members, 1 to 7; their order is theirs for ever.
    pub members: Vec<NodeName>,
    /// Leading zero bits of every block's hash, 0 to 24.
    #[serde(default = "default_difficulty")]
    pub difficulty: u8,
    /// Time of block 0, in Unix milliseconds.
    pub time_ms: u64,
    /// Accounts that are there from the start.
    #[serde(default)]
    pub accounts: Vec<GenesisAccount>,
    /// The first transfers; may be none.
    #[serde(default)]
    pub transfers: Vec<GenesisTransfer>,
}

fn default_difficulty() -> u8 {
    8
}

/// An account in a genesis file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Its name.
    pub name: Account,
    /// Its balance, credited from `world`.
    #[serde(default)]
    pub balance: u64,
}

/// A transfer in a genesis file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisTransfer {
    /// Who pays.
    pub from: Account,
    /// Who is paid.
    pub to: Account,
    /// How much, 1 or more.
    pub amount: u64,
}

/// What block 0 says of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisInfo {
    /// The cluster's name.
    pub name: String,
    /// Its salt.
    pub salt: String,
    /// Its members.
    pub members: Vec<NodeName>,
    /// The difficulty of every block.
    pub difficulty: u8,
    /// Time of block 0, in Unix milliseconds.
    pub time_ms: u64,
}

/// Why a genesis file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Name or salt.
    #[error("{0} must have 1 to 128 bytes and no control characters")]
    Text(&'static str),
    /// Too few or too many members.
    #[error("{0} members; 1 to 7 are allowed")]
    Members(usize),
    /// A member twice.
    #[error("member {0} is named twice")]
    MemberTwice(String),
    /// Out of range.
    #[error("difficulty {0}; 0 to 24 are allowed")]
    Difficulty(u8),
    /// An amount or a balance.
    #[error("{what}: {error}")]
    Amount {
        /// Which.
        what: String,
        /// Why.
        error: AmountError,
    },
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An account or transfer that the bank would refuse.
    #[error("{what}: {why}")]
    Refused {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// Too much for one block.
    #[error("the genesis file does not fit into one block: {0}")]
    TooLarge(String),
}

impl Genesis {
    /// Checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), GenesisError> {
        self.block().map(|_| ())
    }

    /// Block 0.
    ///
    /// # Errors
    /// As [`Genesis::validate`].
    pub fn block(&self) -> Result<Block, GenesisError> {
        self.check_parameters()?;
        let mut operations =
            vec![("parameters".to_owned(), Operation::Put { key: GENESIS_KEY.to_vec(), value: self.parameters() })];
        for account in &self.accounts {
            operations.push((format!("account {}", account.name), Operation::Open { account: account.name.clone() }));
        }
        for account in self.accounts.iter().filter(|account| account.balance > 0) {
            let what = format!("balance of {}", account.name);
            let amount = checked_amount(&what, account.balance)?;
            operations.push((what, Operation::Credit { account: account.name.clone(), amount }));
        }
        for (from, to, amount) in self.transfers.iter().map(|t| (&t.from, &t.to, t.amount)) {
            let what = format!("transfer from {from} to {to}");
            let amount = checked_amount(&what, amount)?;
            let operation = Operation::Transfer { from: from.clone(), to: to.clone(), amount, memo: String::new() };
            operations.push((what, operation));
        }
        self.build(operations)
    }

    fn build(&self, operations: Vec<(String, Operation)>) -> Result<Block, GenesisError> {
        let mut batch = Vec::with_capacity(operations.len());
        let mut labels = Vec::with_capacity(operations.len());
        for (index, (label, operation)) in operations.into_iter().enumerate() {
            let id = RequestId::parse(&format!("genesis:{index}"))?;
            let request = Request::new(id, operation).map_err(|error| GenesisError::TooLarge(error.to_string()))?;
            batch.push(request);
            labels.push(label);
        }
        let executed = Bank::default().run(Place { height: 0, time_ms: self.time_ms, seed: 0 }, &[], batch, None);
        let entries = executed.entries();
        for (entry, what) in entries.iter().zip(labels) {
            if let Outcome::Refused(refusal) = entry.outcome {
                return Err(GenesisError::Refused { what, why: refusal.to_string() });
            }
        }
        let header = Header {
            version: HEADER_VERSION,
            cluster_id: Hash::ZERO,
            height: 0,
            previous: Hash::ZERO,
            term: 0,
            proposer: NodeName::parse(PROPOSER)?,
            time_ms: self.time_ms,
            request_count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            transaction_root: executed.transaction_root,
            state_root: executed.state_root,
            difficulty: self.difficulty,
            nonce: 0,
        };
        let block = Block { header, entries };
        // What cannot be read back must not be written.
        Block::decode(&block.encode()).map_err(|error| GenesisError::TooLarge(error.to_string()))?;
        Ok(block)
    }

    fn check_parameters(&self) -> Result<(), GenesisError> {
        for (text, what) in [(&self.name, "name"), (&self.salt, "salt")] {
            if !text_fine(text) {
                return Err(GenesisError::Text(what));
            }
        }
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX {
            return Err(GenesisError::Members(self.members.len()));
        }
        for (position, member) in self.members.iter().enumerate() {
            if self.members[..position].contains(member) {
                return Err(GenesisError::MemberTwice(member.to_string()));
            }
        }
        if self.difficulty > DIFFICULTY_MAX {
            return Err(GenesisError::Difficulty(self.difficulty));
        }
        Ok(())
    }

    /// Canonical bytes of the parameters: name, salt, members, difficulty, time.
    fn parameters(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_text8(&mut out, &self.name);
        put_text8(&mut out, &self.salt);
        out.push(u8::try_from(self.members.len()).expect("at most 7"));
        for member in &self.members {
            put_text8(&mut out, member.as_str());
        }
        out.push(self.difficulty);
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out
    }

    /// Reads the cluster's parameters from block 0.
    ///
    /// # Errors
    /// The block is none that a genesis file makes.
    pub fn from_block(block: &Block) -> Result<GenesisInfo, Violation> {
        let wrong = |why: &str| Violation::Genesis(why.to_owned());
        let header = &block.header;
        let blank = (header.height, header.term, header.nonce) == (0, 0, 0)
            && (header.cluster_id, header.previous) == (Hash::ZERO, Hash::ZERO)
            && header.proposer.as_str() == PROPOSER;
        if !blank {
            return Err(wrong("its header has fields that block 0 cannot have"));
        }
        let Some(Entry { request: Request { operation: Operation::Put { key, value }, .. }, .. }) =
            block.entries.first()
        else {
            return Err(wrong("its first request does not set the parameters"));
        };
        if key != GENESIS_KEY {
            return Err(wrong("its first request does not set the parameters"));
        }
        let info = read_parameters(value).map_err(|error| wrong(&error.to_string()))?;
        if (info.difficulty, info.time_ms) != (header.difficulty, header.time_ms) {
            return Err(wrong("its header and its parameters differ"));
        }
        for (index, entry) in block.entries.iter().enumerate() {
            if entry.request.id.as_str() != format!("genesis:{index}") {
                return Err(wrong(&format!("request {index} has the id {}", entry.request.id)));
            }
            if entry.outcome != Outcome::Committed {
                return Err(wrong(&format!("request {index} was refused")));
            }
        }
        let count_fits = usize::try_from(header.request_count).ok() == Some(block.entries.len());
        if !count_fits || transaction_root(&block.entries) != header.transaction_root {
            return Err(wrong("its requests are not those that its header speaks of"));
        }
        Ok(info)
    }
}

fn read_parameters(bytes: &[u8]) -> Result<GenesisInfo, DecodeError> {
    let mut reader = Reader(bytes);
    let name = reader.text8("name")?.to_owned();
    let salt = reader.text8("salt")?.to_owned();
    if !text_fine(&name) || !text_fine(&salt) {
        return Err(DecodeError::field("name or salt", "1 to 128 bytes and no control characters are allowed"));
    }
    let count = usize::from(reader.u8("members")?);
    if count == 0 || count > MEMBERS_MAX {
        return Err(DecodeError::field("members", format!("{count}; 1 to {MEMBERS_MAX} are allowed")));
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let member = NodeName::parse(reader.text8("member")?).map_err(|error| DecodeError::field("member", error))?;
        if members.contains(&member) {
            return Err(DecodeError::field("members", format!("{member} is named twice")));
        }
        members.push(member);
    }
    let difficulty = reader.u8("difficulty")?;
    if difficulty > DIFFICULTY_MAX {
        return Err(DecodeError::field("difficulty", format!("{difficulty}; at most {DIFFICULTY_MAX}")));
    }
    let time_ms = reader.u64("time")?;
    reader.end()?;
    Ok(GenesisInfo { name, salt, members, difficulty, time_ms })
}

/// True for what a name or a salt may be: it is printed on terminals.
fn text_fine(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn checked_amount(what: &str, amount: u64) -> Result<Amount, GenesisError> {
    Amount::new(amount).map_err(|error| GenesisError::Amount { what: what.to_owned(), error })
}
