//! What a node promises is on its disk before the promise leaves: seen in its system calls, under `strace`.
//!
//! Votes, vote requests and acknowledgements of new records are decoded from the bytes that a node writes to its
//! socket. Before each of them, everything that the node had written to its store must have been synced.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use raftbank_consensus::Message;
use raftbank_tests::ask::TIMEOUT;
use raftbank_tests::cluster::{Cluster, Plan, name};
use raftbank_tests::load::{Fate, transfer, write};
use raftbankd::node::message::{Body, Envelope, FRAME_BYTES_MAX};

#[derive(Debug, Default)]
struct Seen {
    votes: u32,
    vote_requests: u32,
    transfers: u32,
    acknowledgements: u32,
    syncs: u32,
}

#[tokio::test]
async fn votes_and_acknowledgements_leave_after_the_sync() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: there is no strace on this machine");
        return;
    }
    let mut plan = Plan::new(3).unwrap();
    // A node under strace is slow; nobody shall campaign for that.
    plan.timers = Some([100, 1_000, 2_000]);
    let calls =
        "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync";
    plan.wrapper = ["strace", "-D", "-f", "-yy", "-xx", "-s", "2000000", "-e", calls, "-o", "NODE.strace"]
        .map(str::to_owned)
        .to_vec();
    let mut cluster = Cluster::start(plan).await.unwrap();
    let traced = tokio::time::timeout(TIMEOUT, async {
        while cluster.sockets().iter().any(|socket| !socket.exists()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    if traced.await.is_err() && cluster.logs().contains("ptrace") {
        println!("SKIPPED: strace may not trace here");
        return;
    }
    for round in 0..2 {
        cluster.converged().await.unwrap();
        let leader = cluster.leader().await.unwrap();
        for number in 0..10 {
            let client = cluster.client((leader + number) % 3).await.unwrap();
            let request = transfer(&format!("trace-{round}-{number}"), "a0", "a1", 1).unwrap();
            let fate = write(&client, &request, TIMEOUT).await;
            assert!(matches!(fate, Fate::Acknowledged { .. }), "{fate:?}\n{}", cluster.logs());
        }
        if round == 0 {
            // A second election.
            cluster.kill_node(leader).unwrap();
            let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
            cluster.leader_among(&others).await.unwrap();
            let aside = cluster.file(&format!("{}.strace", name(leader)));
            fs::rename(&aside, aside.with_extension("first")).unwrap();
            cluster.start_node(leader).unwrap();
        }
    }
    // A third one, without pre-votes: the leader hands over before it stops.
    cluster.converged().await.unwrap();
    let leader = cluster.leader().await.unwrap();
    for node in (0..3).map(|turn| (leader + turn) % 3) {
        cluster.stop_node(node).await.unwrap();
    }
    let mut all = Seen::default();
    for entry in fs::read_dir(cluster.file("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "strace" || kind == "first") {
            let seen = check(&fs::read_to_string(&path).unwrap());
            println!("{}: {seen:?}", path.display());
            all.votes += seen.votes;
            all.vote_requests += seen.vote_requests;
            all.transfers += seen.transfers;
            all.acknowledgements += seen.acknowledgements;
            all.syncs += seen.syncs;
        }
    }
    assert!(all.votes >= 2 && all.vote_requests >= 2, "no votes were seen: {all:?}");
    assert!(all.transfers >= 1, "no leadership was handed over: {all:?}");
    assert!(all.acknowledgements >= 20, "hardly any acknowledgements were seen: {all:?}");
}

/// A system call that ended well. Positions are lines of the trace.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Bytes went into a file of the store.
    Wrote(String),
    /// A file of the store was synced.
    Synced(String),
    Sent(Vec<u8>),
    Received(Vec<u8>),
}

/// What one node's calls say about what is durable when.
#[derive(Default)]
struct Watch {
    /// File of the store to the position at which its last write ended.
    written: BTreeMap<String, usize>,
    /// Whatever was written up to this position is durable.
    durable: usize,
    /// Index to the term of the record and the position at which it was first received.
    records: BTreeMap<u64, (u64, usize)>,
    /// Term to the position at which a vote in it was first asked for, by a peer or by the node itself.
    asked: BTreeMap<u64, usize>,
    /// Terms in which a vote has left.
    voted: BTreeMap<u64, ()>,
    /// Highest term and index that were acknowledged.
    acknowledged: (u64, u64),
    seen: Seen,
}

/// Goes through one node's trace; panics at a promise that was given before it was durable.
fn check(trace: &str) -> Seen {
    let mut watch = Watch::default();
    let (mut inward, mut outward) = (Frames::default(), Frames::default());
    for call in calls(trace) {
        match call.what {
            What::Wrote(file) => {
                watch.written.insert(file, call.ended);
            }
            What::Synced(file) => {
                watch.seen.syncs += 1;
                // A write that ended while the sync was under way is not known to be part of it.
                if let Some(&written) = watch.written.get(&file)
                    && written < call.began
                {
                    watch.durable = watch.durable.max(written);
                }
            }
            What::Received(bytes) => {
                for message in inward.take(&bytes) {
                    watch.received(&message, call.ended);
                }
            }
            What::Sent(bytes) => {
                for message in outward.take(&bytes) {
                    watch.sent(&message, call.began);
                }
            }
        }
    }
    watch.seen
}

impl Watch {
    fn received(&mut self, message: &Message, at: usize) {
        match message.kind() {
            "vote" | "transfer-vote" => _ = self.asked.entry(message.term()).or_insert(at),
            // The leader's word to campaign in the next term, without pre-votes.
            "timeout-now" => _ = self.asked.entry(message.term() + 1).or_insert(at),
            _ => {}
        }
        for record in message.records() {
            let known = self.records.entry(record.index).or_insert((record.term, at));
            if known.0 != record.term {
                *known = (record.term, at);
            }
        }
    }

    fn sent(&mut self, message: &Message, at: usize) {
        let term = message.term();
        match message.kind() {
            // Asking for pre-votes promises nothing; the term is durable after that and before votes are asked for.
            "pre-vote" => {
                self.asked.entry(term).or_insert(at);
            }
            kind @ ("vote" | "transfer-vote" | "vote-granted") => {
                match kind {
                    "vote" => self.seen.vote_requests += 1,
                    "transfer-vote" => self.seen.transfers += 1,
                    _ => self.seen.votes += 1,
                }
                let asked = self.asked.get(&term).copied();
                let is_first = self.voted.insert(term, ()).is_none();
                let asked = asked.unwrap_or_else(|| panic!("a {kind} in term {term} that nobody asked for"));
                assert!(!is_first || self.durable > asked, "line {at}: a {kind} in term {term} left before its sync");
            }
            "append-reply" => {
                let Some(index) = message.acknowledged().filter(|&index| index > 0) else { return };
                if (term, index) > self.acknowledged
                    && let Some(&(_, received)) = self.records.get(&index)
                {
                    assert!(self.durable > received, "line {at}: record {index} was acknowledged before its sync");
                    self.seen.acknowledgements += 1;
                }
                self.acknowledged = self.acknowledged.max((term, index));
            }
            _ => {}
        }
    }
}

/// The frames of one direction of the connection to the relay.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    greeted: bool,
}

impl Frames {
    /// The consensus messages that are complete with these bytes.
    fn take(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.bytes.extend(bytes);
        let mut messages = Vec::new();
        while let Some((length, rest)) = self.bytes.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if rest.len() < length {
                break;
            }
            let frame = rest[..length].to_vec();
            self.bytes.drain(..4 + length);
            // The first frame is the handshake; those with the tag 255 are the relay's own.
            if !std::mem::replace(&mut self.greeted, true) || frame[0] == raftbank_wire::control::TAG {
                continue;
            }
            let envelope: Envelope = raftbank_codec::decode(&frame[1..], FRAME_BYTES_MAX).unwrap();
            if let Body::Raft(message) = envelope.body {
                messages.push(message);
            }
        }
        messages
    }
}

/// The calls of a trace, in the order in which they ended. Those of several threads interleave: strace then tells
/// begin and end of a call on lines of their own.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        let (began, text) = if let Some(start) = text.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (line, start.trim_end()));
            continue;
        } else if let Some((_, end)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
            let Some((began, start)) = begun.remove(thread) else { continue };
            (began, format!("{start}{end}"))
        } else {
            (line, text.to_owned())
        };
        if let Some(what) = parse(&text) {
            calls.push(Call { began, ended: line, what });
        }
    }
    calls
}

/// `name(fd<what it is>, arguments) = result`; `None` if it failed or does not matter here.
fn parse(text: &str) -> Option<What> {
    let (call, result) = text.rsplit_once(" = ")?;
    let result: usize = result.split_whitespace().next()?.parse().ok()?;
    let (name, arguments) = call.split_once('(')?;
    let arguments = arguments.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix('<')?;
    let end = arguments.find(">,").or_else(|| arguments.find(">)"))?;
    let (target, arguments) = arguments.split_at(end);
    if target.starts_with("TCP") {
        let mut bytes = unquote(arguments);
        bytes.truncate(result);
        return match name {
            "read" | "readv" | "recvfrom" | "recvmsg" => Some(What::Received(bytes)),
            "write" | "writev" | "sendto" | "sendmsg" => Some(What::Sent(bytes)),
            _ => None,
        };
    }
    let path = String::from_utf8(unhex(target)).ok().filter(|path| path.contains(".data/"))?;
    match name {
        "fdatasync" | "fsync" => Some(What::Synced(path)),
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => Some(What::Wrote(path)),
        _ => None,
    }
}

/// All strings in quotes, one after the other.
fn unquote(arguments: &str) -> Vec<u8> {
    arguments.split('"').skip(1).step_by(2).flat_map(unhex).collect()
}

/// `\x61\x62` is `ab`.
fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap()).collect()
}

#[test]
fn a_trace_without_the_sync_is_noticed() {
    let quote = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let file = quote(b"/tmp/x/n1.data/sled/db");
    let sync = format!("7 fdatasync(5<{file}>) = 0");
    let write = format!("7 pwrite64(5<{file}>, \"\\x61\", 1, 0) = 1");
    let (begun, ended) =
        (format!("8 fdatasync(5<{file}> <unfinished ...>"), "8 <... fdatasync resumed>) = 0".to_owned());
    let durable = |lines: &[&String]| {
        let text: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        let mut written = None;
        let mut durable = None;
        for call in calls(&text.join("\n")) {
            match call.what {
                What::Wrote(_) => written = Some(call.ended),
                What::Synced(_) if written.is_some_and(|written| written < call.began) => durable = written,
                _ => {}
            }
        }
        durable
    };
    assert_eq!(durable(&[&write, &sync]), Some(0));
    assert_eq!(durable(&[&write]), None);
    assert_eq!(durable(&[&sync, &write]), None);
    assert_eq!(durable(&[&begun, &write, &ended]), None, "the sync had begun before");
    assert_eq!(durable(&[&write, &begun, &ended]), Some(0));
    let sent = "9 sendto(3<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"\\x61\\x62\\x63\", 3, 0, NULL, 0) = 2";
    let call = calls(sent).pop().unwrap();
    assert!(matches!(call.what, What::Sent(bytes) if bytes == b"ab"), "what was not taken was not sent");
}
