//! What a supervisor such as systemd is told by a node, and when.

mod common;

use std::process::{Child, Stdio};
use std::time::Duration;

use common::{Bank, Supervisor, transfer, until_stopped};
use raftbank_ledger::{Request, RequestId};
use raftbank_wire::api::ApiRequest;

/// The supervisor's interval: three words are due in it.
const WATCHDOG: Duration = Duration::from_millis(600);

#[tokio::test]
async fn the_supervisor_is_told_when_the_node_is_ready_what_it_is_and_that_it_stops() {
    let mut bank = Bank::new(1);
    let supervisor = Supervisor::new(bank.dir.path());
    bank.start_with(1, &[("NOTIFY_SOCKET", supervisor.path.to_str().expect("text"))]);
    let loading = supervisor.next();
    assert!(loading.contains("EXTEND_TIMEOUT_USEC=3") && loading.contains("STATUS=loading: opening "), "{loading}");
    let ready = supervisor.heard("READY=1");
    assert!(ready.contains("STATUS=leader, term ") && ready.contains(", height 0"), "{ready}");
    bank.write(1, "s-1", transfer("alice", "bob", 1)).await;
    let status = supervisor.heard(", height 1");
    assert!(status.contains("STATUS=leader, term "), "{status}");
    bank.signal(1, "TERM");
    supervisor.heard("STOPPING=1");
    supervisor.heard("STATUS=stopped as asked");
    assert_eq!(bank.ended(1).await, 0);
}

#[tokio::test]
async fn a_node_without_a_leader_says_what_it_waits_for_and_is_ready_with_it() {
    let mut bank = Bank::new(3);
    let supervisor = Supervisor::new(bank.dir.path());
    bank.start_with(1, &[("NOTIFY_SOCKET", supervisor.path.to_str().expect("text"))]);
    let ready = supervisor.heard("READY=1");
    assert!(ready.contains("waiting for a leader"), "{ready}");
    assert!(bank.log(1).contains("no leader yet"), "{}", bank.log(1));
    bank.start(2, &[]);
    supervisor.heard("STATUS=");
    let leader = bank.leader(1).await;
    supervisor.heard(if leader == 1 { "STATUS=leader, term" } else { "STATUS=follower of n2, term" });
}

#[tokio::test]
async fn the_loop_feeds_the_watchdog_and_nothing_does_while_it_hangs() {
    let mut bank = Bank::new(1);
    let supervisor = Supervisor::new(bank.dir.path());
    let interval = WATCHDOG.as_micros().to_string();
    let socket = supervisor.path.to_str().expect("text");
    bank.start_with(1, &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", &interval)]);
    supervisor.heard("READY=1");
    for _ in 0..6 {
        supervisor.heard("WATCHDOG=1");
    }
    bank.signal(1, "STOP");
    until_stopped(bank.pid(1));
    assert!(supervisor.silent(3 * WATCHDOG), "a stopped process has fed the watchdog");
    bank.signal(1, "CONT");
    for _ in 0..3 {
        supervisor.heard("WATCHDOG=1");
    }
    bank.stop(1).await;

    // Meant for another process: nothing is fed.
    bank.start_with(1, &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", &interval), ("WATCHDOG_PID", "1")]);
    supervisor.heard("READY=1");
    assert!(supervisor.silent(3 * WATCHDOG), "an idle leader had something to say");
}

/// Ends a process, however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_loop_that_hangs_alone_is_not_fed_by_another_thread() {
    let bank = Bank::new(1);
    let supervisor = Supervisor::new(bank.dir.path());
    let mut command = bank.command(1);
    command.env("NOTIFY_SOCKET", &supervisor.path).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    command.stderr(Stdio::piped());
    let mut node = Killed(command.spawn().expect("started"));
    let mut stderr = node.0.stderr.take().expect("piped");
    let client = bank.client(1).await;
    // Nobody reads what the loop logs: once the pipe is full, it hangs in a write, and only it.
    let mut hangs = false;
    for number in 0..5_000 {
        let id = RequestId::parse(&format!("w-{number}")).expect("valid");
        let request = Request { id, operation: transfer("alice", "bob", 1) }.encode();
        if client.call(ApiRequest::Write { request, timeout_ms: 30_000 }, 2 * WATCHDOG).await.is_err() {
            hangs = true;
            break;
        }
    }
    assert!(hangs, "the loop never hung");
    assert!(supervisor.silent(3 * WATCHDOG), "the watchdog was fed while the loop hung");
    // Somebody reads again.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    for _ in 0..3 {
        supervisor.heard("WATCHDOG=1");
    }
}
