//! What a supervisor such as systemd is told by the relay, and when.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use common::{LONG, Relay};
use raftbank_wire::api::LinkCommand;

/// The supervisor's interval: three words are due in it.
const WATCHDOG: Duration = Duration::from_millis(600);

struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self { socket, path, _dir: dir }
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Throws away what has been told, and waits. True if nothing was told meanwhile.
    fn silent(&self, quiet: Duration) -> bool {
        let mut bytes = [0; 4_096];
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut bytes).is_ok() {}
        std::thread::sleep(quiet);
        let silent = self.socket.recv(&mut bytes).is_err();
        self.socket.set_nonblocking(false).unwrap();
        silent
    }
}

#[tokio::test]
async fn ready_reaches_a_supervisor_that_did_not_read_for_a_while() {
    let supervisor = Supervisor::new();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    assert!((0..100_000).any(|_| filler.send_to(b"FULL=1\n", &supervisor.path).is_err()));
    let _relay = Relay::start_with("", &[("NOTIFY_SOCKET", supervisor.path.to_str().unwrap())]);
    // Longer than the relay waits for it with any word.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    while !supervisor.next().contains("READY=1") {}
}

#[tokio::test]
async fn the_supervisor_is_told_who_is_connected_and_which_faults_are_set() {
    let supervisor = Supervisor::new();
    let mut relay = Relay::start_with("", &[("NOTIFY_SOCKET", supervisor.path.to_str().unwrap())]);
    let ready = supervisor.next();
    assert!(ready.contains("READY=1") && ready.contains("STATUS=listening on 127.0.0.1:"), "{ready}");
    assert!(ready.contains("no member of 3 connected"), "{ready}");
    let node = relay.node("n2").await;
    assert!(supervisor.next().contains("; n2 of 3 members connected\n"));
    let operator = relay.operator().await;
    operator.link(LinkCommand::Delay { min_ms: 1, max_ms: 2, for_ms: None }).await;
    assert!(
        supervisor.next().contains("; n2 of 3 members connected; faults are set (bankctl partition show, link show)")
    );
    operator.link(LinkCommand::Clear).await;
    assert!(supervisor.next().contains("; n2 of 3 members connected\n"));
    operator.partition("n1/n2,n3", Some(100)).await;
    assert!(supervisor.next().contains("faults are set"));
    // It ends by itself.
    assert!(supervisor.next().contains("; n2 of 3 members connected\n"));
    drop(node);
    assert!(supervisor.next().contains("no member of 3 connected"));
    relay.signal("TERM");
    assert!(supervisor.next().contains("STOPPING=1"));
    assert!(supervisor.next().contains("STATUS=stopped as asked"));
    assert_eq!(relay.ended().code(), Some(0));
}

#[test]
fn an_idle_relay_feeds_the_watchdog_and_nothing_does_while_it_hangs() {
    let supervisor = Supervisor::new();
    let interval = WATCHDOG.as_micros().to_string();
    let socket = supervisor.path.to_str().unwrap();
    let relay = Relay::start_with("", &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", &interval)]);
    assert!(supervisor.next().contains("READY=1"));
    for _ in 0..6 {
        assert_eq!(supervisor.next(), "WATCHDOG=1\n");
    }
    relay.signal("STOP");
    relay.until_stopped();
    assert!(supervisor.silent(3 * WATCHDOG), "a stopped process has fed the watchdog");
    relay.signal("CONT");
    for _ in 0..3 {
        assert_eq!(supervisor.next(), "WATCHDOG=1\n");
    }
}
