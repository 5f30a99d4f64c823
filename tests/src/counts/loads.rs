//! The loads: what is asked, and what it came to.

use anyhow::{Result, ensure};
use raftbank_ledger::{Account, Amount, Genesis, GenesisAccount, NodeName, Operation, Request, RequestId};
use raftbank_wire::api::{ApiRequest, Many};

use super::record::Counts;
use super::tally::{KINDS, Meter, written};
use super::world::World;
use crate::consensus_sim::Dice;

/// Accounts of every load.
pub(super) const ACCOUNTS: u64 = 10_000;
/// So many of them stand in the genesis file, where each takes two of a block's 16,384 requests.
const GENESIS_ACCOUNTS: u64 = 8_000;
/// What each begins with.
const BALANCE: u64 = 1_000_000_000;
/// Most that is transferred at a time.
const AMOUNT_MAX: u64 = 10;
/// Deadline of each request, in simulated milliseconds.
const TIMEOUT_MS: u32 = 60_000;
/// After a load, until followers have applied all of it.
const REST_US: u64 = 200_000;

/// Blocks of always the same number of transfers.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its name in the record.
    pub name: &'static str,
    /// Transfers in a block.
    pub width: usize,
    /// Blocks.
    pub blocks: usize,
    /// All transfers of a block are one batch; else each is a request of its own.
    pub together: bool,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self { name: "one at a time", width: 1, blocks: 1_000, together: false },
        Self { name: "blocks of 64", width: 64, blocks: 100, together: false },
        Self { name: "batches of 8000", width: 8_000, blocks: 5, together: true },
    ];
}

/// Runs a load on a new bank. The counts are per transfer; also returns the transfers in a block.
///
/// # Errors
/// Whatever is in the way.
pub fn measure(load: Load, meter: Meter) -> Result<(Counts, f64)> {
    let dir = tempfile::Builder::new().prefix("rb").tempdir()?;
    let mut world = World::new(dir.path(), &genesis()?, meter)?;
    let mut choice = Choice::new(1);
    let leader = world.leader()?;
    open_others(&mut world)?;
    let (spent, height, bytes) = (world.spent(), world.height()?, written()?);

    let answered = world.answered;
    // A block of one, so that the first whole one waits behind it, as each later one does behind the one before.
    let transfers = 1 + load.width * load.blocks;
    world.ask(asked(&[choice.transfer()?], load.together)?)?;
    for block in 0..load.blocks {
        if load.width == 1 {
            // One client, which waits for its answer.
            world.until_answered(answered + 1 + block)?;
        }
        let requests: Vec<Request> = (0..load.width).map(|_| choice.transfer()).collect::<Result<_>>()?;
        world.ask(asked(&requests, load.together)?)?;
        world.until_answered(answered + 1 + block * load.width)?;
    }
    world.until_answered(answered + transfers)?;
    world.rest(REST_US)?;

    ensure!(world.leader()? == leader, "the leader changed during {}", load.name);
    let blocks = world.height()? - height;
    let bytes = written()? - bytes;
    let mut counts = Counts::default();
    let mut note = |what: String, number: u64, nodes: usize| {
        counts.set(format!("{}/{what}", load.name), number as f64 / nodes as f64 / transfers as f64);
    };
    let after = world.spent();
    let (mut follower, followers) = (super::Tally::default(), after.len() - 1);
    for (at, (after, before)) in after.into_iter().zip(spent).enumerate() {
        if at == leader.0 {
            let used = (after - before).0;
            KINDS.iter().zip(used).for_each(|(kind, number)| note(format!("leader/{kind}"), number, 1));
        } else {
            follower = follower + (after - before);
        }
    }
    KINDS.iter().zip(follower.0).for_each(|(kind, number)| note(format!("follower/{kind}"), number, followers));
    note("node/bytes written".to_owned(), bytes, followers + 1);
    note("chain/blocks".to_owned(), blocks, 1);
    Ok((counts, transfers as f64 / blocks as f64))
}

/// What is sent to the leader for these requests, all at once: as one batch, or each by itself.
fn asked(requests: &[Request], together: bool) -> Result<Vec<ApiRequest>> {
    if !together {
        let write = |request: &Request| ApiRequest::Write { request: request.encode(), timeout_ms: TIMEOUT_MS };
        return Ok(requests.iter().map(write).collect());
    }
    let mut many = Many::default();
    for request in requests {
        ensure!(many.push(&request.encode()), "{} requests do not fit into a batch", requests.len());
    }
    Ok(vec![ApiRequest::WriteMany { requests: many.into_bytes(), timeout_ms: TIMEOUT_MS }])
}

fn genesis() -> Result<Genesis> {
    let accounts = (0..GENESIS_ACCOUNTS).map(|number| Ok(GenesisAccount { name: account(number)?, balance: BALANCE }));
    Ok(Genesis {
        name: "counts".to_owned(),
        salt: "counts".to_owned(),
        members: ["n1", "n2", "n3"].into_iter().map(NodeName::parse).collect::<Result<_, _>>()?,
        // How often a nonce is tried is chance, and says nothing of the code.
        difficulty: 0,
        time_ms: 1,
        accounts: accounts.collect::<Result<_>>()?,
        transfers: Vec::new(),
    })
}

pub(super) fn account(number: u64) -> Result<Account> {
    Ok(Account::parse(&format!("a{number}"))?)
}

/// The requests that make an account with money in it.
pub(super) fn made(number: u64) -> Result<[Request; 2]> {
    let account = account(number)?;
    let open = Operation::Open { account: account.clone() };
    let pay = Operation::Credit { account, amount: Amount::new(BALANCE)? };
    Ok([
        Request::new(RequestId::parse(&format!("open-{number}"))?, open)?,
        Request::new(RequestId::parse(&format!("pay-{number}"))?, pay)?,
    ])
}

/// The accounts that are not in the genesis file.
fn open_others(world: &mut World) -> Result<()> {
    let made: Vec<[Request; 2]> = (GENESIS_ACCOUNTS..ACCOUNTS).map(made).collect::<Result<_>>()?;
    world.ask(asked(&made.concat(), true)?)?;
    world.until_answered(2 * made.len())?;
    world.rest(REST_US)
}

/// Chooses accounts, always the same.
pub(super) struct Choice {
    dice: Dice,
    count: u64,
}

impl Choice {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), count: 0 }
    }

    pub(super) fn transfer(&mut self) -> Result<Request> {
        self.count += 1;
        let from = self.dice.below(ACCOUNTS);
        let to = (from + 1 + self.dice.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = Amount::new(1 + self.dice.below(AMOUNT_MAX))?;
        let operation = Operation::Transfer { from: account(from)?, to: account(to)?, amount, memo: String::new() };
        // Always of the same length.
        Ok(Request::new(RequestId::parse(&format!("t-{:07}", self.count))?, operation)?)
    }
}
