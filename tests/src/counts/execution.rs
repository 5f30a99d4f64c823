//! The ledger alone: what a leader and a follower execute for one block, to be counted in instructions by callgrind.

use anyhow::{Context, Result};
use clap::ValueEnum;
use raftbank_ledger::{Block, Genesis, NodeName, Request, State, pow};

use super::loads::{ACCOUNTS, Choice, made};

/// A load of the ledger alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Execution {
    /// Blocks of one transfer.
    #[value(name = "execute-1")]
    One,
    /// Blocks of 64.
    #[value(name = "execute-64")]
    Crowd,
    /// A block of 8,000.
    #[value(name = "execute-8000")]
    Batch,
}

impl Execution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::One, Self::Crowd, Self::Batch];

    /// Transfers in a block, and blocks.
    fn size(self) -> (usize, usize) {
        match self {
            Self::One => (1, 200),
            Self::Crowd => (64, 10),
            Self::Batch => (8_000, 1),
        }
    }

    /// Transfers of the whole load.
    pub fn transfers(self) -> usize {
        let (width, blocks) = self.size();
        width * blocks
    }

    /// Runs it.
    ///
    /// # Errors
    /// The ledger's; none is expected.
    pub fn run(self) -> Result<()> {
        let (width, blocks) = self.size();
        let (mut leader, mut follower) = (bank()?, bank()?);
        let mut choice = Choice::new(2);
        for _ in 0..blocks {
            let requests: Vec<Request> = (0..width).map(|_| choice.transfer()).collect::<Result<_>>()?;
            measured_execution(&mut leader, &mut follower, requests)?;
        }
        Ok(())
    }
}

/// One block, made by a leader and checked by a follower. Callgrind counts only while this runs, and finds it by its name.
#[inline(never)]
fn measured_execution(leader: &mut State, follower: &mut State, requests: Vec<Request>) -> Result<()> {
    let executed = leader.execute(requests, 2);
    let mut header = executed.seal(leader, 1, NodeName::parse("n1")?);
    header.nonce = pow::mine(&header, 0, 1).context("difficulty 0 takes any nonce")?;
    let block = Block { header, entries: executed.entries() };
    let bytes = block.encode();
    leader.commit(executed, &block.header)?;

    let block = Block::decode(&bytes)?;
    block.check_static(follower.difficulty(), follower.cluster_id())?;
    let executed = follower.check(&block)?;
    follower.commit(executed, &block.header)?;
    Ok(())
}

/// A bank with all accounts.
fn bank() -> Result<State> {
    let genesis = Genesis {
        name: "counts".to_owned(),
        salt: "execution".to_owned(),
        members: vec![NodeName::parse("n1")?],
        difficulty: 0,
        time_ms: 1,
        accounts: Vec::new(),
        transfers: Vec::new(),
    };
    let (mut state, _) = State::new(&genesis.block()?)?;
    let made: Vec<[Request; 2]> = (0..ACCOUNTS).map(made).collect::<Result<_>>()?;
    for part in made.concat().chunks(10_000) {
        let executed = state.execute(part.to_vec(), 1);
        let header = executed.seal(&state, 1, NodeName::parse("n1")?);
        state.commit(executed, &header)?;
    }
    Ok(state)
}
