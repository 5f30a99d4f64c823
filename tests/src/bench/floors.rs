//! What the machine can do at best: its disk, its loopback interface, one core that hashes, and sled alone.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use raftbank_ledger::{Block, Entry, HEADER_VERSION, Hash, Header, NodeName, Outcome, Request};
use tokio::task::yield_now;

use super::bank::{ACCOUNTS, BATCH};
use super::figures::Sample;
use crate::load::transfer;

/// Bytes each way of a round trip.
const PING_BYTES: usize = 200;
/// sled as the store sets it: cache, segments, parts of a record.
const CACHE_BYTES: u64 = 64 << 20;
const SEGMENT_BYTES: usize = 16 << 20;
const PART_BYTES: usize = 64 << 10;

/// Bytes of a block with so many transfers.
pub(crate) fn block(requests: &[Request]) -> Result<Vec<u8>> {
    let entries =
        requests.iter().map(|request| Entry { request: request.clone(), outcome: Outcome::Committed }).collect();
    let header = Header {
        version: HEADER_VERSION,
        cluster_id: Hash::ZERO,
        height: 1,
        previous: Hash::ZERO,
        term: 1,
        proposer: NodeName::parse("n1")?,
        time_ms: 1,
        request_count: u32::try_from(requests.len())?,
        transaction_root: Hash::ZERO,
        state_root: Hash::ZERO,
        difficulty: 8,
        nonce: 1,
    };
    Ok(Block { header, entries }.encode())
}

/// Transfers between many accounts, as the loads make them.
pub(crate) fn transfers(count: usize) -> Result<Vec<Request>> {
    let account = |number: usize| format!("a{}", number % ACCOUNTS);
    (0..count).map(|i| transfer(&format!("floor-{i}"), &account(i * 7), &account(i * 7 + 1), 1)).collect()
}

/// Does it again and again, for so long.
fn repeat(time: Duration, mut what: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let until = Instant::now() + time;
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < until {
        let begun = Instant::now();
        what()?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Appends these bytes to a file and syncs it.
pub(crate) fn disk(folder: &Path, bytes: &[u8], time: Duration) -> Result<Vec<Duration>> {
    let path = folder.join("sync");
    let mut file = File::create(&path).context("the file of the disk's measure")?;
    let times = repeat(time, || {
        file.write_all(bytes)?;
        Ok(file.sync_data()?)
    })?;
    fs::remove_file(path)?;
    Ok(times)
}

/// A few bytes there and back over TCP on the loopback interface, between two threads that sleep while they wait.
pub(crate) fn loopback(time: Duration) -> Result<Vec<Duration>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; PING_BYTES];
        // Ends with the connection.
        while there.read_exact(&mut bytes).and_then(|()| there.write_all(&bytes)).is_ok() {}
    });
    let mut bytes = [7; PING_BYTES];
    let times = repeat(time, || {
        here.write_all(&bytes)?;
        Ok(here.read_exact(&mut bytes)?)
    })?;
    drop(here);
    let _ = echo.join();
    Ok(times)
}

/// SHA-256 of these bytes.
pub(crate) fn hash(bytes: &[u8], time: Duration) -> Result<Sample> {
    Sample::sequence(repeat(time, || {
        std::hint::black_box(Hash::of(&[bytes]));
        Ok(())
    })?)
}

/// One process alone with sled, set as the store sets it.
pub(crate) struct Alone {
    db: sled::Db,
    file: File,
    next: u64,
}

impl Alone {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("sled");
        let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).segment_size(SEGMENT_BYTES);
        let db = config.flush_every_ms(None).open()?;
        Ok(Self { db, file: File::options().write(true).open(path.join("db"))?, next: 0 })
    }

    /// Writes the rows of one block and makes them durable: its bytes, the accounts that it changes, the ids in it.
    /// Returns how often a second the whole was done.
    pub(crate) fn write(&mut self, requests: &[Request], bytes: &[u8], hashed: bool, time: Duration) -> Result<Sample> {
        Sample::sequence(repeat(time, || self.block(requests, bytes, hashed))?)
    }

    fn block(&mut self, requests: &[Request], bytes: &[u8], hashed: bool) -> Result<()> {
        if hashed {
            std::hint::black_box(Hash::of(&[bytes]));
        }
        let mut batch = sled::Batch::default();
        self.parts(&mut batch, b'r', bytes);
        let mut ids = Vec::new();
        for request in requests {
            for account in accounts(request) {
                batch.insert([b"a", account.as_bytes()].concat(), [self.next.to_be_bytes(); 3].concat());
            }
            ids.extend_from_slice(request.id.as_str().as_bytes());
            // Length, index, digest, outcome.
            ids.extend_from_slice(&[0; 38]);
        }
        self.parts(&mut batch, b'i', &ids);
        self.next += 1;
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(self.file.sync_data()?)
    }

    fn parts(&self, batch: &mut sled::Batch, kind: u8, bytes: &[u8]) {
        for (part, bytes) in (0_u16..).zip(bytes.chunks(PART_BYTES)) {
            batch.insert([&[kind][..], &self.next.to_be_bytes(), &part.to_be_bytes()].concat(), bytes);
        }
    }
}

fn accounts(request: &Request) -> [&str; 2] {
    match &request.operation {
        raftbank_ledger::Operation::Transfer { from, to, .. } => [from.as_str(), to.as_str()],
        _ => ["", ""],
    }
}

/// All floors but those of one client, which are measured in turns with it. Between two of them a signal can be
/// noticed.
pub(crate) async fn all(folder: &Path, time: Duration) -> Result<Vec<(&'static str, Sample)>> {
    let (one, many) = (transfers(1)?, transfers(BATCH)?);
    let (small, large) = (block(&one)?, block(&many)?);
    let mut found = vec![("sha256", hash(&small, time)?)];
    yield_now().await;
    found.push(("sha256-batch", hash(&large, time)?));
    yield_now().await;
    found.push(("fdatasync-batch", Sample::sequence(disk(folder, &large, time)?)?));
    yield_now().await;
    let mut alone = Alone::open(folder)?;
    found.push(("sled", alone.write(&one, &small, false, time)?));
    yield_now().await;
    let mut whole = alone.write(&many, &large, true, time)?;
    yield_now().await;
    // Requests, not batches.
    whole.rate *= BATCH as f64;
    found.push(("alone-batch", whole));
    Ok(found)
}
