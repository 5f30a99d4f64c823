//! No decoder allocates on the word of a length: every field of every kind of message is made to lie, and the memory that
//! was held at the worst moment is measured.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use raftbank_codec::{decode, encode};
use raftbank_ledger::{
    Account, Amount, Block, Entry, Genesis, GenesisAccount, NodeName, Operation, Outcome, Request, RequestId,
};
use raftbank_wire::api::{ApiReply, ApiRequest, PartitionCommand};
use raftbank_wire::frame::{Patience, read_frame, read_tagged};
use raftbank_wire::hello::{Answer, Hello, greet, read_hello};
use raftbankd::node::message::{Ask, Body, CallName, Envelope};

/// serde reserves up to 1 MiB for a list on its word, and no more; a list of lists may lie twice.
const SPARE_BYTES: usize = 9 << 18;
/// Bytes in memory for each byte on the wire.
const FACTOR: usize = 16;
/// The limit that decoders are given here: far above what they may take.
const LIMIT_BYTES: u64 = 64 << 20;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Both fail only while a thread ends; then nobody counts.
fn grown(bytes: usize) {
    let _ = LIVE.try_with(|live| {
        live.set(live.get().wrapping_add(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn shrunk(bytes: usize) {
    // What another thread allocated may be freed here: below zero is zero.
    let _ = LIVE.try_with(|live| live.set(live.get().saturating_sub(bytes)));
}

// Safety: all of it is the system's own allocator; the counting touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrunk(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        shrunk(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The most memory that was held while this ran.
fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    work();
    PEAK.with(Cell::get) - before
}

/// Every eight (or four) bytes of a good message say one after the other that something is huge.
fn lies(good: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let numbers = [1_u64 << 16, 1 << 20, 1 << 26, 1 << 32, u64::MAX >> 1, u64::MAX];
    let little = numbers.map(|number| number.to_le_bytes().to_vec());
    let big = [1_u32 << 16, 1 << 23, 1 << 26, u32::MAX].map(|number| number.to_be_bytes().to_vec());
    let spelled: Vec<Vec<u8>> = little.into_iter().chain(big).chain([vec![0xff; 2]]).collect();
    (0..good.len()).flat_map(move |at| {
        spelled.clone().into_iter().filter(move |lie| at + lie.len() <= good.len()).map(move |lie| {
            let mut bytes = good.to_vec();
            bytes[at..at + lie.len()].copy_from_slice(&lie);
            bytes
        })
    })
}

fn assert_bounded(what: &str, good: &[u8], decode: impl Fn(&[u8])) {
    for bytes in [good.to_vec()].into_iter().chain(lies(good)) {
        let taken = peak(|| decode(&bytes));
        let most = SPARE_BYTES + FACTOR * bytes.len();
        assert!(taken <= most, "{what}: {taken} bytes of memory for {} bytes: {bytes:02x?}", bytes.len());
    }
}

fn request() -> Request {
    let account = |name| Account::parse(name).unwrap();
    let amount = Amount::new(5).unwrap();
    let operation = Operation::Transfer { from: account("alice"), to: account("bob"), amount, memo: "rent".repeat(9) };
    Request::new(RequestId::parse("some-id").unwrap(), operation).unwrap()
}

fn block() -> Block {
    let accounts = ["alice", "bob"].map(|name| GenesisAccount { name: Account::parse(name).unwrap(), balance: 5 });
    let members = ["n1", "n2"].map(|name| NodeName::parse(name).unwrap());
    Genesis {
        name: "test".into(),
        salt: "salt".into(),
        members: members.to_vec(),
        difficulty: 0,
        time_ms: 1,
        accounts: accounts.to_vec(),
        transfers: Vec::new(),
    }
    .block()
    .unwrap()
}

#[test]
fn the_measure_can_fail() {
    assert!(peak(|| drop(std::hint::black_box(vec![0_u8; 8 << 20]))) >= 8 << 20);
    let greedy = |bytes: &[u8]| drop(std::hint::black_box(vec![0_u8; usize::from(bytes[0]) << 16]));
    assert!(std::panic::catch_unwind(|| assert_bounded("greedy", &[0; 4], greedy)).is_err());
}

#[test]
fn requests_and_replies() {
    let set = PartitionCommand::Set { groups: "n1,n2/n3".into(), for_ms: Some(7) };
    for ask in [
        ApiRequest::Write { request: request().encode(), timeout_ms: 5 },
        ApiRequest::Balance { account: "alice".into(), local: false, timeout_ms: 5 },
        ApiRequest::Partition(set),
    ] {
        assert_bounded("request", &encode(&ask), |bytes| drop(decode::<ApiRequest>(bytes, LIMIT_BYTES)));
    }
    let names = || vec!["n1".to_owned(), String::new(), "n3".to_owned()];
    for reply in [
        ApiReply::Accounts { height: 1, accounts: names().into_iter().map(|name| (name, 5)).collect() },
        ApiReply::Partition { groups: vec![names(), names()], heals_in_ms: None },
        ApiReply::Value { key: vec![1; 9], value: vec![2; 99], height: 1 },
        ApiReply::Block { bytes: block().encode() },
    ] {
        assert_bounded("reply", &encode(&reply), |bytes| drop(decode::<ApiReply>(bytes, LIMIT_BYTES)));
    }
}

#[test]
fn frames_between_nodes() {
    let envelope = |body| encode(&Envelope { cluster: [1; 32], incarnation: 2, wall_ms: 3, body });
    let call = CallName { life: 1, number: 2 };
    let accounts = ApiReply::Accounts { height: 1, accounts: vec![("alice".into(), 5); 3] };
    // An append with two records, spelled by hand: nobody outside of consensus can make one.
    let records = vec![(1_u64, 5_u64, None), (2, 5, Some(vec![7_u8; 40]))];
    let append = [encode(&(0_u32, 5_u64, 4_u32)), encode(&([0_u64; 6], records))].concat();
    for bytes in [
        envelope(Body::Forward { call, ask: Ask::Write(request().encode()), timeout_ms: 5 }),
        envelope(Body::Answer { call, reply: Some(accounts) }),
        [vec![1; 48], append].concat(),
    ] {
        assert!(decode::<Envelope>(&bytes, LIMIT_BYTES).is_ok());
        assert_bounded("envelope", &bytes, |bytes| drop(decode::<Envelope>(bytes, LIMIT_BYTES)));
    }
}

#[test]
fn requests_and_blocks_of_the_ledger() {
    assert_bounded("ledger request", &request().encode(), |bytes| drop(Request::decode(bytes)));
    let entry = Entry { request: request(), outcome: Outcome::Committed };
    assert_bounded("entry", &entry.encode(), |bytes| drop(Entry::decode(bytes)));
    assert_bounded("block", &block().encode(), |bytes| drop(Block::decode(bytes)));
}

#[test]
fn frames_and_handshakes_on_a_socket() {
    let run = |work: &dyn Fn(&tokio::runtime::Runtime)| {
        work(&tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());
    };
    let limit = Duration::from_secs(3_600);
    let patience = Patience { idle: Some(limit), frame: limit };
    let plain = [&24_u32.to_be_bytes()[..], &[7; 24]].concat();
    let hello = Hello {
        cluster_id: [1; 32],
        node: "n1".into(),
        members: vec!["n1".into(), "n2".into()],
        incarnation: 5,
        software: "test".into(),
    };
    let framed = |body: Vec<u8>| {
        let body = [&b"rbnklink\0\x01"[..], &body].concat();
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    };
    run(&|runtime| {
        assert_bounded("frame", &plain, |mut bytes| drop(runtime.block_on(read_frame(&mut bytes, 8 << 20, patience))));
        assert_bounded("tagged", &plain, |mut bytes| {
            drop(runtime.block_on(read_tagged(&mut bytes, 8 << 20, patience)))
        });
        assert_bounded("hello", &framed(encode(&hello)), |mut bytes| {
            drop(runtime.block_on(read_hello(&mut bytes, limit)))
        });
        for answer in [
            Answer::Welcome { connected: vec![0, 2] },
            Answer::Refuse { code: "code".into(), message: "message".into() },
        ] {
            assert_bounded("answer", &framed(encode(&answer)), |mut bytes| {
                let mut socket = tokio::io::join(&mut bytes, tokio::io::sink());
                drop(runtime.block_on(greet(&mut socket, &hello, limit)));
            });
        }
    });
}
