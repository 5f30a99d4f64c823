//! What a supervisor such as systemd is told by a node, and when.

mod common;

use std::time::Duration;

use common::{Bank, Supervisor, until_stopped};

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
    bank.write(1, "s-1", common::transfer("alice", "bob", 1)).await;
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
