//! Data folders of any size, made by code.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raftbank_consensus::{Entry, HardState, Record, Write};
use raftbank_ledger::{Account, Amount, Block, NodeName, Operation, Request, RequestId, State, pow};
use raftbank_store::{Batch, Expected, SledStore, StateWrite, Store};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::load::transfer;

/// What each account with money begins with.
const BALANCE: u64 = 1_000_000;
/// Most that is transferred at a time.
pub(super) const AMOUNT_MAX: u64 = 10;
/// Requests of a block that makes accounts, each of which takes up to two.
const REQUESTS_MAX: usize = 16_384;
/// Accounts of the genesis file.
pub(super) const GENESIS_ACCOUNTS: u64 = 4;
/// With more accounts than this only one in [`FEW`] has money and pays: a request id is kept in memory for ever, too, and
/// it is the accounts that are to be measured.
const MANY: u64 = 2_000_000;
const FEW: u64 = 4;
/// Blocks and bytes that are handed to the store together.
const GROUP_BLOCKS: usize = 1_024;
const GROUP_BYTES: usize = 4 << 20;
/// The term of all that is made.
const TERM: u64 = 1;

/// How large a bank is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Blocks beside the genesis block, at least those that make the accounts.
    pub blocks: u64,
    /// Accounts, at least those of the genesis file.
    pub accounts: u64,
}

/// What was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub blocks: u64,
    pub requests: u64,
    /// Canonical bytes of all requests.
    pub request_bytes: u64,
    pub time: Duration,
}

/// Every how many accounts one pays.
pub(super) fn stride(accounts: u64) -> u64 {
    if accounts > MANY { FEW } else { 1 }
}

/// Two different accounts, the first with money.
pub(super) fn pair(rng: &mut ChaCha8Rng, accounts: u64) -> (u64, u64) {
    let stride = stride(accounts);
    let from = rng.random_range(0..accounts.div_ceil(stride)) * stride;
    (from, (from + rng.random_range(1..accounts)) % accounts)
}

/// Writes blocks into the new folder of a node, until it is so large: first those that make the accounts, then one
/// transfer in each.
///
/// # Errors
/// The folder's; or it is not done by the deadline.
pub(super) fn fill(data: &Path, size: Size, deadline: Instant) -> Result<Made> {
    let begun = Instant::now();
    let meta = SledStore::meta(data)?;
    let expected = Expected { cluster_id: meta.cluster_id, node: meta.node.clone() };
    let (store, reader, opened) = SledStore::open(data, &expected)?;
    drop(reader);
    let hard = Write::Hard(HardState { term: TERM, vote: None });
    let mut writer = Writer {
        store,
        state: opened.state,
        proposer: meta.node,
        group: Batch { writes: vec![hard], ..Batch::default() },
        records: Vec::new(),
        bytes: 0,
        made: Made { blocks: 0, requests: 0, request_bytes: 0, time: Duration::ZERO },
    };
    let in_time = || ensure_before(deadline);
    let mut requests = Vec::new();
    for number in GENESIS_ACCOUNTS..size.accounts {
        let account = account(number)?;
        let open = Operation::Open { account: account.clone() };
        requests.push(Request::new(RequestId::parse(&format!("open-{number}"))?, open)?);
        if number % stride(size.accounts) == 0 {
            let pay = Operation::Credit { account, amount: Amount::new(BALANCE)? };
            requests.push(Request::new(RequestId::parse(&format!("pay-{number}"))?, pay)?);
        }
        if requests.len() + 2 > REQUESTS_MAX {
            writer.block(std::mem::take(&mut requests))?;
            in_time()?;
        }
    }
    if !requests.is_empty() {
        writer.block(requests)?;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    while writer.made.blocks < size.blocks {
        let (from, to) = pair(&mut rng, size.accounts);
        let id = format!("made-{}", writer.made.blocks);
        let amount = rng.random_range(1..=AMOUNT_MAX);
        writer.block(vec![transfer(&id, &format!("a{from}"), &format!("a{to}"), amount)?])?;
        in_time()?;
    }
    let mut made = writer.close()?;
    made.time = begun.elapsed();
    Ok(made)
}

fn ensure_before(deadline: Instant) -> Result<()> {
    ensure!(Instant::now() < deadline, "making the folder takes longer than it may");
    Ok(())
}

fn account(number: u64) -> Result<Account> {
    Ok(Account::parse(&format!("a{number}"))?)
}

/// A folder that grows.
struct Writer {
    store: SledStore,
    state: State,
    proposer: NodeName,
    group: Batch,
    records: Vec<Record>,
    bytes: usize,
    made: Made,
}

impl Writer {
    /// Executes and mines one block, and keeps it for the next group.
    fn block(&mut self, requests: Vec<Request>) -> Result<()> {
        self.made.requests += requests.len() as u64;
        self.made.request_bytes += requests.iter().map(|request| request.encode().len() as u64).sum::<u64>();
        let executed = self.state.execute(requests, self.state.tip().time_ms);
        let mut header = executed.seal(&self.state, TERM, self.proposer.clone());
        header.nonce = pow::mine(&header, 0, u64::MAX).context("a nonce")?;
        let block = Block { header, entries: executed.entries() };
        let delta = self.state.commit(executed, &block.header)?;
        let bytes = block.encode();
        self.bytes += bytes.len();
        let index = block.header.height;
        self.records.push(Record { index, term: TERM, entry: Some(Entry::from(bytes)) });
        self.group.state.push(StateWrite { index, term: TERM, height: Some(index), delta: Some(delta) });
        self.made.blocks += 1;
        if self.records.len() >= GROUP_BLOCKS || self.bytes >= GROUP_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let Some(first) = self.records.first() else { return Ok(()) };
        let splice = Write::Splice { from: first.index, records: std::mem::take(&mut self.records) };
        self.group.writes.push(splice);
        self.bytes = 0;
        self.store.write(&std::mem::take(&mut self.group))?;
        Ok(self.store.sync()?)
    }

    fn close(mut self) -> Result<Made> {
        self.write()?;
        self.store.close()?;
        Ok(self.made)
    }
}

/// Gives another member's new folder what is in the first one's: all but whose it is. The mark promises the same, in the
/// name of the other folder's life.
///
/// # Errors
/// The file system's.
pub(super) fn derive(from: &Path, to: &Path) -> Result<()> {
    const OWN: [&str; 3] = ["meta", "mark", "key"];
    /// Two slots, each a page; the life after magic and sequence, the checksum at the end (docs/storage.md).
    const PAGE: usize = 4_096;
    const SLOT: usize = 87;
    /// The row with the folder's life.
    const OWNER: &[u8] = b"o";
    let mut mark = fs::read(from.join("mark"))?;
    let life = SledStore::meta(to)?.incarnation;
    for slot in mark.chunks_mut(PAGE) {
        let slot = slot.get_mut(..SLOT).context("a mark of two pages")?;
        slot[16..24].copy_from_slice(&life.to_be_bytes());
        let checksum = crc32fast::hash(&slot[..SLOT - 4]).to_be_bytes();
        slot[SLOT - 4..].copy_from_slice(&checksum);
    }
    fs::write(to.join("mark"), mark)?;
    let owner = raftbank_store::sled_for_tests(to)?.get(OWNER)?.context("whose folder it is")?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !OWN.iter().any(|own| entry.file_name() == *own) {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    let rows = raftbank_store::sled_for_tests(to)?;
    rows.insert(OWNER, owner)?;
    rows.flush()?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn payers_have_money_and_pay_somebody_else() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for accounts in [2, 4, 1_000, MANY + 1] {
            for _ in 0..1_000 {
                let (from, to) = pair(&mut rng, accounts);
                assert!(from != to && from < accounts && to < accounts && from % stride(accounts) == 0);
            }
        }
    }
}
