//! Making a node's data folder: `--init` once in a node's life, `--rejoin` after its disk was lost.

use raftbank_ledger::NodeName;
use raftbank_store::{FORMAT, Meta, SledStore};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::config::Config;
use crate::error::Failure;
use crate::genesis::Bank;
use crate::{marker, signer};

/// What was done about a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New,
    /// It was made for a node that lost its disk.
    Rejoining,
    /// It was there already, and has not caught up yet.
    StillRejoining,
}

impl Made {
    /// To be put before the folder's name.
    pub fn told(self) -> &'static str {
        match self {
            Self::New => "made",
            Self::Rejoining => "made, to catch up from the other members when the node is started,",
            Self::StillRejoining => "left as it is, as it has only to catch up from the other members,",
        }
    }
}

/// Makes the data folder of a node of a new bank.
pub fn init(config: &Config, bank: &Bank) -> Result<Made, Failure> {
    create(config, bank, false).map(|()| Made::New)
}

/// Makes the data folder of a node that lost its disk, unless it is there already and has not caught up yet.
pub fn rejoin(config: &Config, bank: &Bank) -> Result<Made, Failure> {
    bank.position(&config.node.id)?;
    // What a rejoining node waits for is a leader, and it gives nobody a vote: the others must be a majority.
    let (members, id) = (bank.members.len(), &config.node.id);
    if members <= 2 {
        let why = if members == 1 {
            format!("{id} is the only one of this bank")
        } else {
            "the other member of this bank of two is no majority without this one, so this could never end".to_owned()
        };
        return Err(Failure::Usage(format!(
            "--rejoin needs other members that go on without this one, and {why}: begin again on all members from an export \
             of the bank (--import), or begin a new bank with another salt and --init"
        )));
    }
    let dir = &config.node.data_dir;
    marker::check(dir)?;
    if SledStore::is_vacant(dir)? {
        return create(config, bank, true).map(|()| Made::Rejoining);
    }
    let meta = SledStore::meta(dir)?;
    let ours = meta.cluster_id == bank.cluster_id && meta.node.as_str() == config.node.id;
    if ours && meta.rejoining {
        return Ok(Made::StillRejoining);
    }
    Err(Failure::Usage(format!(
        "{} holds the data of a node that {}: --rejoin is for a node whose disk was lost. If this folder is damaged, \
         move it away first; else start the node without --rejoin",
        dir.display(),
        if ours { "needs no rejoining" } else { "is not this one" },
    )))
}

fn create(config: &Config, bank: &Bank, rejoining: bool) -> Result<(), Failure> {
    bank.position(&config.node.id)?;
    let node = NodeName::parse(&config.node.id).map_err(|error| Failure::Usage(error.to_string()))?;
    let (cluster_id, incarnation) = (bank.cluster_id, incarnation()?);
    let meta = Meta { format: FORMAT, cluster_id, node: node.clone(), incarnation, rejoining };
    SledStore::create(&config.node.data_dir, &meta, &bank.block)?;
    signer::load(&config.node.data_dir, &bank.cluster_id, &node)?;
    Ok(())
}

/// The random number that a new folder is born with.
pub(crate) fn incarnation() -> Result<u64, Failure> {
    SysRng
        .try_next_u64()
        .map_err(|error| Failure::io("the system's random numbers cannot be read")(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
