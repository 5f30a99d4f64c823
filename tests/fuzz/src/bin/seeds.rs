//! Writes a few valid inputs for each target into the folder of corpora that is named on the command line.

use std::path::{Path, PathBuf};

use raftbank_codec::encode;
use raftbank_consensus::Role;
use raftbank_fuzz::node;
use raftbank_ledger::{
    Account, Amount, Block, Entry, Genesis, Leg, NodeName, Operation, Outcome, Request, RequestId, merkle,
};
use raftbank_proofs::{Checkpoint, Head};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, LinkCommand, Many, ManyResult, PartitionCommand, WatchEvent, WriteOutcome};
use raftbank_wire::control::Control;
use raftbank_wire::frame::Frame;
use raftbankd::node::message::{Ask, Body, CallName, Envelope};

struct Corpora(PathBuf);

impl Corpora {
    fn add(&self, target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) -> std::io::Result<()> {
        let dir = self.0.join(target);
        std::fs::create_dir_all(&dir)?;
        for (number, seed) in seeds.into_iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let root = std::env::args().nth(1).expect("usage: seeds FOLDER");
    let corpora = Corpora(Path::new(&root).to_owned());
    let requests: Vec<Request> = operations()
        .into_iter()
        .enumerate()
        .map(|(n, operation)| {
            Request::new(RequestId::parse(&format!("r{n}")).expect("an id"), operation).expect("small")
        })
        .collect();
    let entry = |request: &Request| Entry { request: request.clone(), outcome: Outcome::Committed }.encode();
    let genesis = genesis().block().expect("fine");
    corpora.add("ledger_request", requests.iter().map(Request::encode).chain(requests.iter().map(entry)))?;
    corpora.add("block", blocks(&genesis, &requests))?;
    corpora.add("frame", frames())?;
    let controls = [Control::Ping, Control::Pong, Control::LinkUp(1), Control::LinkDown(2)];
    let tagged = Frame::tagged(1, b"payload".to_vec()).into_bytes();
    let all = controls.iter().flat_map(|control| control.frame().into_bytes()).chain(tagged).collect();
    corpora.add("link_frame", [all])?;
    corpora.add("envelope", bodies().into_iter().map(|body| envelope(&genesis, body)))?;
    corpora.add("api_request", api_requests(&requests[0]).iter().map(|ask| framed(0, &encode(ask))))?;
    corpora.add("api_reply", api_replies(&genesis).iter().map(|reply| framed(1, &encode(reply))))?;
    corpora.add("stored", stored())?;
    corpora.add("config", [DAEMON, RELAY].map(|text| text.as_bytes().to_vec()))?;
    corpora.add("genesis", [GENESIS.as_bytes().to_vec()])?;
    let files = ["\x01from,to,amount\na,b,1\r\n\nb,a,2,x\n", "\x00a,b,1,x,\"rent, \"\"May\"\"\nand June\"\na,b,3,y\n"];
    corpora.add("batch_csv", files.map(|text| text.as_bytes().to_vec()))?;
    corpora.add("groups", ["\x02n1,n2/n3", "\x02 n3 / n1/n2", "\x00n1"].map(|text| text.as_bytes().to_vec()))?;
    corpora.add("proofs", proofs()?)?;
    corpora.add("node_step", scripts())
}

/// The published vectors, each behind the byte that says what it is.
fn proofs() -> std::io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, content) = (entry.file_name(), std::fs::read(entry.path())?);
        let name = name.to_string_lossy();
        let kinds = ["receipt", "balance", "consistency", "checkpoint", "keys", "-", "-", "request", "chain"];
        let Some(kind) = kinds.iter().position(|kind| name.starts_with(kind)) else { continue };
        // Entries and blocks are read a line at a time; a line of a keys file is a key, too.
        let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        match kind {
            7 | 8 => seeds.extend(lines.map(|line| [&[kind as u8][..], &line].concat())),
            4 => seeds.extend(lines.map(|line| [&[5][..], &line].concat())),
            _ => {}
        }
        if kind < 7 {
            seeds.push([&[kind as u8][..], &content].concat());
        }
    }
    Ok(seeds)
}

fn account(name: &str) -> Account {
    Account::parse(name).expect("a name")
}

fn operations() -> Vec<Operation> {
    let amount = Amount::new(5).expect("positive");
    vec![
        Operation::Open { account: account("alice") },
        Operation::Credit { account: account("alice"), amount },
        Operation::Debit { account: account("alice"), amount },
        Operation::Transfer { from: account("alice"), to: account("bob"), amount, memo: "rent".into() },
        Operation::Put { key: b"key".to_vec(), value: b"value".to_vec() },
        Operation::Linked {
            legs: [("alice", "bob"), ("bob", "world")]
                .map(|(from, to)| Leg { from: account(from), to: account(to), amount, memo: String::new() })
                .to_vec(),
        },
        Operation::Pending {
            from: account("alice"),
            to: account("bob"),
            amount,
            timeout_ms: 60_000,
            memo: "hold".into(),
        },
        Operation::Post { pending: RequestId::parse("r7").expect("an id"), amount: None },
        Operation::Void { pending: RequestId::parse("r7").expect("an id") },
    ]
}

fn genesis() -> Genesis {
    let members = ["n1", "n2", "n3"].iter().map(|name| NodeName::parse(name).expect("a name")).collect();
    let (name, salt) = ("fuzz".to_owned(), "salt".to_owned());
    Genesis { name, salt, members, difficulty: 1, time_ms: 1_000, accounts: vec![], transfers: vec![] }
}

fn blocks(genesis: &Block, requests: &[Request]) -> Vec<Vec<u8>> {
    let (state, _) = raftbank_ledger::State::new(genesis).expect("begins a chain");
    let executed = state.execute(requests.to_vec(), 2_000);
    let header = executed.seal(&state, 1, NodeName::parse("n1").expect("a name"));
    vec![genesis.encode(), Block { header, entries: executed.entries() }.encode()]
}

/// A handshake's frame, behind the byte that chooses how it is read.
fn hello(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let body = [&magic[..], &[0, 1], body].concat();
    [vec![0], Frame::plain(body).into_bytes()].concat()
}

fn frames() -> Vec<Vec<u8>> {
    let members = vec!["n1".to_owned(), "n2".to_owned()];
    let node = encode(&([0xc1_u8; 32], "n2", members, 7_u64, "raftbankd/9"));
    vec![
        [vec![0], Frame::plain(b"ab".to_vec()).into_bytes(), Frame::plain(Vec::new()).into_bytes()].concat(),
        [vec![1], Frame::tagged(9, b"ab".to_vec()).into_bytes()].concat(),
        hello(b"rbnklink", &node),
        hello(b"rbnklink", &encode(&(0_u32, vec![0_u8, 2]))),
        hello(b"rbnklink", &encode(&(1_u32, "code", "message"))),
    ]
}

fn envelope(genesis: &Block, body: Body) -> Vec<u8> {
    encode(&Envelope { cluster: genesis.hash().0, incarnation: 101, wall_ms: 3, body })
}

fn many() -> Vec<u8> {
    let mut many = Many::default();
    for (number, operation) in operations().into_iter().enumerate() {
        let id = RequestId::parse(&format!("m{number}")).expect("an id");
        assert!(many.push(&Request { id, operation }.encode()));
    }
    many.into_bytes()
}

fn bodies() -> Vec<Body> {
    let call = CallName { life: 1, number: 2 };
    let asks = [Ask::Write(operations().len().to_be_bytes().to_vec()), Ask::Balance("alice".into()), Ask::Accounts];
    let mut bodies: Vec<Body> = asks.into_iter().map(|ask| Body::Forward { call, ask, timeout_ms: 5 }).collect();
    bodies.push(Body::Forward { call, ask: Ask::Get(b"key".to_vec()), timeout_ms: 5 });
    bodies.push(Body::Forward { call, ask: Ask::WriteMany(many()), timeout_ms: 5 });
    bodies.push(Body::Forward { call, ask: Ask::Funds("alice".into()), timeout_ms: 5 });
    bodies.push(Body::Answer { call, reply: None });
    bodies.push(Body::Answer { call, reply: Some(ApiReply::End { count: 1 }) });
    bodies.push(Body::Beacon { height: 3 });
    bodies.push(Body::Rejoin { proof: 0 });
    bodies.push(Body::RejoinChallenge { incarnation: 101, challenge: 4 });
    bodies.push(Body::RejoinTerm { incarnation: 100, term: 4 });
    bodies.extend(heads());
    bodies.extend(raft().iter().map(|bytes| raftbank_codec::decode(bytes, 1 << 20).expect("a body")));
    bodies
}

/// What nodes say about signed heads.
fn heads() -> Vec<Body> {
    let (cluster_id, root) = (node::genesis().hash(), merkle::leaf_hash(&node::genesis().hash().0));
    let mut checkpoint = Checkpoint::new(Head { cluster_id, size: 1, root });
    (0..2).for_each(|id| checkpoint.sign(&node::signer(id), 0));
    let signature = checkpoint.signatures[1].signature.clone();
    vec![
        Body::Key { public: node::signer(1).verifier().public() },
        Body::SignHead { size: 1, root: root.0 },
        Body::SignHead { size: 2, root: [2; 32] },
        Body::HeadSigned { size: 1, signature },
        Body::Head { note: checkpoint.to_string() },
        Body::Version { software: "raftbankd/0.1.0".into(), asks: true },
    ]
}

/// Bodies with a consensus message of each kind, in the codec's bytes.
fn raft() -> Vec<Vec<u8>> {
    let head = |kind: u32| encode(&(0_u32, 5_u64, kind));
    let records = vec![(1_u64, 5_u64, None), (2, 5, Some(b"entry".to_vec()))];
    vec![
        [head(0), encode(&(3_u64, 4_u64))].concat(),
        [head(1), encode(&(6_u64, true))].concat(),
        [head(2), encode(&(3_u64, 4_u64))].concat(),
        [head(3), encode(&true)].concat(),
        [head(4), encode(&(0_u64, 0_u64, 0_u64, 1_u64, 2_u64, 0_u64, records))].concat(),
        [head(5), encode(&(1_u64, 1_u64, 1_u64, Some((2_u64, 1_u64, 1_u64)), None::<u64>, Some(7_u64)))].concat(),
        head(6),
    ]
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&7_u64.to_be_bytes()[..], &[kind], body].concat()
}

fn api_requests(request: &Request) -> Vec<ApiRequest> {
    let (local, timeout_ms) = (false, 2_000);
    vec![
        ApiRequest::Write { request: request.encode(), timeout_ms },
        ApiRequest::Balance { account: "alice".into(), local, timeout_ms },
        ApiRequest::Accounts { local, timeout_ms },
        ApiRequest::Get { key: b"key".to_vec(), local, timeout_ms },
        ApiRequest::Status,
        ApiRequest::Watch,
        ApiRequest::Block { height: 1 },
        ApiRequest::Blocks { from: 0, to: Some(3) },
        ApiRequest::Verify,
        ApiRequest::Find { id: "r1".into() },
        ApiRequest::Checkpoint { size_min: 1, timeout_ms },
        ApiRequest::Keys,
        ApiRequest::Inclusion { height: 0, size: 1 },
        ApiRequest::Consistency { old: 1, new: 1 },
        ApiRequest::BalanceAt { account: "alice".into(), height: Some(0) },
        ApiRequest::VerifyAgainst { size: 1, root: [1; 32] },
        ApiRequest::Rows,
        ApiRequest::Diagnose,
        ApiRequest::WriteMany { requests: many(), timeout_ms },
        ApiRequest::Funds { account: "alice".into(), local: false, timeout_ms },
        ApiRequest::Held { account: Some("alice".into()), after: Some((1, "p".into())) },
        ApiRequest::HeldById { ids: vec!["p".into()] },
        ApiRequest::Partition(PartitionCommand::Set { groups: "n1/n2".into(), for_ms: Some(1) }),
        ApiRequest::Link(LinkCommand::Loss { percent: 2.5, for_ms: None }),
        ApiRequest::Link(LinkCommand::Cut { a: "n1".into(), b: "n2".into(), one_way: true, for_ms: None }),
    ]
}

fn api_replies(genesis: &Block) -> Vec<ApiReply> {
    let (height, duplicate) = (3, false);
    let refused = WriteOutcome::Refused { code: "code".into(), message: "message".into() };
    vec![
        ApiReply::Written { id: "r1".into(), outcome: WriteOutcome::Committed, height, index: 1, duplicate },
        ApiReply::Written { id: "r1".into(), outcome: refused, height, index: 1, duplicate },
        ApiReply::Failed { kind: FailKind::Unknown, code: "code".into(), message: "message".into() },
        ApiReply::Balance { account: "alice".into(), balance: -5, pending: 6, height, local: true },
        ApiReply::Accounts { height, accounts: vec![("alice".into(), 5)] },
        ApiReply::Value { key: b"key".to_vec(), value: b"value".to_vec(), height },
        ApiReply::Event(WatchEvent::Balance { account: "alice".into(), balance: 5, height }),
        ApiReply::Block { bytes: genesis.encode() },
        ApiReply::Progress { done: 1, total: 2 },
        ApiReply::Found { height, index: 1 },
        ApiReply::Checkpoint { note: "note".into() },
        ApiReply::Keys { members: vec![("n1".into(), Some([1; 32])), ("n2".into(), None)] },
        ApiReply::Hashes { hashes: vec![[1; 32]] },
        ApiReply::BalanceAt {
            account: "alice".into(),
            balance: None,
            height,
            other: Some(([1; 32], [2; 32])),
            siblings: vec![[3; 32]],
        },
        ApiReply::Rows { height, accounts: vec![("alice".into(), -5)], values: vec![(b"k".to_vec(), [1; 32])] },
        ApiReply::WrittenMany {
            results: vec![
                ManyResult::Written { outcome: WriteOutcome::Committed, height, index: 1, duplicate },
                ManyResult::Failed { kind: FailKind::Refused, code: "code".into(), message: "message".into() },
            ],
        },
        ApiReply::Funds { account: "alice".into(), balance: 5, held: 2, pending: 0, height, local: false },
        ApiReply::Held { height, time_ms: 1, rows: vec![], next: Some((1, "p".into())) },
        ApiReply::Diagnosis(Box::default()),
        ApiReply::Partition { groups: vec![vec!["n1".into()]], heals_in_ms: Some(9) },
    ]
}

fn stored() -> Vec<Vec<u8>> {
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let mark = [
        b"\0RBMARK01".to_vec(),
        numbers(&[1, 7, 3]),
        vec![1, 2],
        numbers(&[9]),
        vec![0xab; 32],
        numbers(&[8]),
        vec![0],
    ];
    let meta = [b"\x01RAFTBANK\0\0\0\x02".to_vec(), vec![0x11; 32], numbers(&[7]), b"\x01\x02n1".to_vec()];
    let ids = [b"\x05i".to_vec(), numbers(&[4]), vec![0, 0], b"\x02r1\0\0\0\x01".to_vec(), vec![0x22; 32], vec![0]];
    let balance = [b"\x04a".to_vec(), 5_i128.to_be_bytes().to_vec()];
    let mut seeds = vec![mark.concat(), meta.concat(), ids.concat(), balance.concat()];
    seeds.push([b"\x04h".to_vec(), numbers(&[3]), vec![1, 2]].concat());
    seeds.push([b"\x04p".to_vec(), numbers(&[3])].concat());
    seeds.push([b"\x08\x02p\x01".to_vec(), numbers(&[3])].concat());
    seeds.push([b"\x08\x02k\x01".to_vec(), vec![0x44; 32]].concat());
    seeds.push([b"\x08\x0al\x01".to_vec(), numbers(&[2]), vec![0x33; 32]].concat());
    seeds.push([b"\x08\x09b".to_vec(), numbers(&[2, 3])].concat());
    seeds.push([b"\x04s".to_vec(), vec![1; 120]].concat());
    seeds.extend((0..24_u8).map(|how| [&[7, 5, 3, 1, 1, how][..], b"an entry of a record"].concat()));
    seeds
}

/// Scripts for the node: elected, writing, led by another, cut off from power. That they do so is checked.
fn scripts() -> Vec<Vec<u8>> {
    // Ticks until it campaigns, a pre-vote, a sync, a vote, a sync: it leads.
    let elected = [&[1, 12][..], &[4, 0, 0, 1, 1, 0, 0], &[10, 9], &[4, 0, 0, 3, 0, 0], &[10, 9]].concat();
    // A follower has the next record; a client writes.
    let answered = [4, 0, 0, 5, 1, 1, 1, 0, 0];
    let write = [9, 1, 0, 0, 200, 10, 9];
    // Another member leads: its no-op, a block, and the word that both are committed.
    let no_op = [4, 0, 1, 4, 0, 128, 0, 1, 1, 0, 1, 0, 0, 0, 10, 9];
    let block = [4, 0, 0, 4, 1, 0, 1, 1, 1, 0, 1, 0, 2, 1, 0, 0, 0, 10, 9];
    let committed = [4, 0, 0, 4, 1, 0, 1, 2, 1, 0, 0, 0];
    let leads = [&elected[..], &answered, &write, &answered].concat();
    let led = [&no_op[..], &block, &committed].concat();
    let scripts = [
        (0, elected.clone(), (Role::Leader, 0, 0)),
        (0, leads.clone(), (Role::Leader, 2, 1)),
        // The nonce is searched elsewhere.
        (2, [&elected[..], &answered, &write, &[13, 1], &[10, 9], &answered].concat(), (Role::Leader, 2, 1)),
        (0, [&leads[..], &[15, 0]].concat(), (Role::Leader, 2, 1)),
        (0, [&leads[..], &[15, 9]].concat(), (Role::Follower, 2, 1)),
        (0, led.clone(), (Role::Follower, 2, 1)),
        // What is applied is not synced for its own sake: the last block is applied again when it is known committed.
        (0, [&led[..], &[15, 1, 1, 20]].concat(), (Role::Candidate, 1, 0)),
        (1, led, (Role::Follower, 2, 1)),
    ];
    let seeds = scripts.map(|(options, script, end)| {
        let script = [vec![options], script].concat();
        assert_eq!(node::play(&script), Some(end), "{script:?}");
        script
    });
    seeds.to_vec()
}

const DAEMON: &str = "[node]\nid = \"n1\"\ndata_dir = \"/d\"\ngenesis = \"/g\"\nsocket = \"/s\"\n[relay]\naddress = \
\"[::1]:7400\"\n[timers]\ntick_ms = 10\nheartbeat_ms = 50\nelection_min_ms = 150\nelection_max_ms = 300\n[batch]\n\
requests_max = 8192\nbytes_max = 1048576\n[log]\nlevel = \"info\"\ndir = \"/l\"\n";

const RELAY: &str = "[relay]\nlisten = \"127.0.0.1:7400\"\nmembers = [\"n1\", \"n2\"]\nsocket = \"/s\"\ncluster = \
\"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\"\n[log]\nlevel = \"debug\"\nmessages = true\n";

const GENESIS: &str = "name = \"b\"\nsalt = \"s\"\nmembers = [\"n1\", \"n2\"]\ndifficulty = 3\ntime_ms = 1000\n\
[[accounts]]\nname = \"alice\"\nbalance = 100\n[[accounts]]\nname = \"bob\"\n[[transfers]]\nfrom = \"alice\"\nto = \
\"bob\"\namount = 7\n";
