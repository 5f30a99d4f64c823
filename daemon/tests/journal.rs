//! What the journal gets of a node whose standard error is one of its streams, in its native protocol, at a socket of the
//! test's own that the node finds in its place. Needs root, for a mount namespace.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use common::{Bank, PATIENCE, transfer};
use raftbank_wire::api::{ApiReply, WriteOutcome};

/// What stands for `/run` and the journal in it.
struct Place {
    run: PathBuf,
    socket: UnixDatagram,
}

impl Place {
    /// `None`, with the reason printed, where that cannot be had.
    fn make(bank: &Bank) -> Option<Self> {
        let tried = Command::new("unshare").args(["-m", "mount", "--bind", "/tmp", "/run"]).output();
        if !tried.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: no mount namespace can be made here");
            return None;
        }
        let run = bank.dir.path().join("run");
        std::fs::create_dir_all(run.join("systemd/journal")).expect("made");
        let socket = UnixDatagram::bind(run.join("systemd/journal/socket")).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Some(Self { run, socket })
    }

    /// Starts the node here. `journaled`: its standard error is a stream of the journal.
    fn start(&self, bank: &mut Bank, journaled: bool) {
        let stderr = File::options().create(true).append(true).open(bank.log_path(1)).expect("opened");
        let about = stderr.metadata().expect("there");
        let inode = if journaled { about.ino() } else { about.ino() + 1 };
        let stream = format!("{}:{inode}", about.dev());
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount --bind \"$0\" /run && exec \"$@\""]).arg(&self.run);
        command.arg(env!("CARGO_BIN_EXE_raftbankd")).arg("--config").arg(bank.config(1));
        command.env("JOURNAL_STREAM", stream).env("RAFTBANKD_LOG__LEVEL", "debug");
        bank.spawn(1, command);
    }

    /// The next entry whose message has this in it.
    fn heard(&self, wanted: &str) -> BTreeMap<String, String> {
        let started = Instant::now();
        let mut bytes = vec![0; 1 << 16];
        loop {
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {wanted:?}: {error}"));
            let entry = entry(&bytes[..length]);
            if entry.get("MESSAGE").is_some_and(|message| message.contains(wanted)) {
                return entry;
            }
            assert!(started.elapsed() < PATIENCE, "no {wanted:?}; the last was {entry:?}");
        }
    }
}

/// An entry's fields: `NAME=value`, or `NAME`, a line break, the value's length in eight bytes, and the value.
fn entry(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let line = String::from_utf8_lossy(line).into_owned();
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
            bytes = rest;
        } else {
            let (length, rest) = rest.split_first_chunk::<8>().expect("a length");
            let length = usize::try_from(u64::from_le_bytes(*length)).expect("fits");
            fields.insert(line, String::from_utf8_lossy(&rest[..length]).into_owned());
            bytes = &rest[length + 1..];
        }
    }
    fields
}

#[tokio::test]
async fn lines_have_priorities_and_fields() {
    let mut bank = Bank::new(1);
    let Some(place) = Place::make(&bank) else { return };
    place.start(&mut bank, true);
    let is = |entry: &BTreeMap<String, String>, name: &str, value: &str| {
        assert_eq!(entry.get(name).map(String::as_str), Some(value), "{name} of {entry:?}");
    };
    let starts = place.heard("starts node=");
    is(&starts, "PRIORITY", "6");
    is(&starts, "SYSLOG_IDENTIFIER", "raftbankd");
    is(&starts, "TARGET", "raftbankd::server");
    is(&starts, "RAFTBANK_HEIGHT", "0");
    let role = place.heard("role changed role=\"leader\"");
    is(&role, "PRIORITY", "5");
    is(&role, "RAFTBANK_NODE", "n1");
    is(&role, "RAFTBANK_ROLE", "leader");
    is(&role, "RAFTBANK_TERM", "1");

    bank.write(1, "j-1", transfer("alice", "bob", 1)).await;
    let block = place.heard("block committed height=1");
    is(&block, "RAFTBANK_HEIGHT", "1");
    is(&block, "RAFTBANK_REQUESTS", "1");
    let balance = place.heard("balance");
    is(&balance, "PRIORITY", "7");

    // The level follows a reload, as everywhere; the variable would overrule the file.
    bank.signal(1, "HUP");
    is(&place.heard("logging reloaded"), "PRIORITY", "6");
    let config = std::fs::read_to_string(bank.config(1)).expect("readable");
    std::fs::write(bank.config(1), format!("{config}\n[log]\ncolour = 1\n")).expect("written");
    bank.signal(1, "HUP");
    is(&place.heard("not reloaded"), "PRIORITY", "3");
    assert_eq!(bank.log(1), "", "nothing is said twice");

    bank.signal(1, "TERM");
    is(&place.heard("stopped as asked"), "PRIORITY", "6");
    assert_eq!(bank.ended(1).await, 0);

    // The configuration is wrong now: said before there is a log, with its priority all the same.
    place.start(&mut bank, true);
    assert_eq!(bank.ended(1).await, 2);
    assert!(bank.log(1).starts_with("<3>raftbankd: "), "{}", bank.log(1));
}

#[tokio::test]
async fn a_journal_that_hangs_or_goes_away_holds_nothing_up() {
    let mut bank = Bank::new(1);
    let Some(place) = Place::make(&bank) else { return };
    // Nobody reads: soon the socket is full.
    place.start(&mut bank, true);
    for number in 0..400 {
        let reply = bank.write(1, &format!("h-{number}"), transfer("bob", "bob2", 1)).await;
        assert!(matches!(reply, ApiReply::Written { .. }), "{reply:?}");
    }
    // It is read again: all is there, in order.
    place.heard("starts node=");
    let reply = bank.write(1, "h-last", transfer("alice", "bob", 1)).await;
    assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
    place.heard("account=\"alice\" before=100 after=99");
    // The journal is gone.
    let Place { run, socket } = place;
    drop(socket);
    std::fs::remove_file(run.join("systemd/journal/socket")).expect("removed");
    let reply = bank.write(1, "h-alone", transfer("alice", "bob", 1)).await;
    assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
    bank.stop(1).await;
    assert_eq!(bank.log(1), "");

    // None at the start: lines on standard error, with a word about it.
    let socket = UnixDatagram::unbound().expect("made");
    let place = Place { run, socket };
    place.start(&mut bank, true);
    bank.client(1).await;
    bank.stop(1).await;
    assert!(bank.log(1).contains("lines go to standard error"), "{}", bank.log(1));
    assert!(bank.log(1).contains("starts node="), "{}", bank.log(1));
}

#[tokio::test]
async fn another_standard_error_gets_lines_as_before() {
    let mut bank = Bank::new(1);
    let Some(place) = Place::make(&bank) else { return };
    place.start(&mut bank, false);
    bank.client(1).await;
    bank.stop(1).await;
    assert!(bank.log(1).contains("INFO raftbankd::server: stopped as asked"), "{}", bank.log(1));
    place.socket.set_nonblocking(true).expect("set");
    assert!(place.socket.recv(&mut [0; 64]).is_err(), "the journal got something");
}
