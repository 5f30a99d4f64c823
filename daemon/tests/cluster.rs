//! Three real nodes: transfers, reads, streams, clean stops, `kill -9`, and a lost disk.

mod common;

use std::time::Duration;

use common::{Bank, PATIENCE, text, transfer};
use raftbank_ledger::{Block, Request, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, WatchEvent, WriteOutcome};

#[tokio::test]
async fn a_transfer_is_there_everywhere_and_after_a_clean_stop() {
    let mut bank = Bank::running(3);
    let leader = bank.leader(1).await;
    let follower = if leader == 1 { 2 } else { 1 };

    // Through a follower: it forwards to the leader.
    let ApiReply::Written { outcome, height, index, duplicate, .. } =
        bank.write(follower, "t-1", transfer("alice", "bob", 30)).await
    else {
        panic!("not written")
    };
    assert_eq!((outcome, height, index, duplicate), (WriteOutcome::Committed, 1, 0, false));
    for number in 1..=3 {
        assert_eq!(bank.balance(number, "alice").await, 70);
        assert_eq!(bank.balance(number, "bob").await, 30);
    }
    assert_eq!(bank.agreed(&[1, 2, 3]).await, 1);

    for number in 1..=3 {
        bank.stop(number).await;
        let output = bank.output(number, &["--version"]);
        assert!(output.status.success());
        let dir = bank.data_dir(number);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_raftbankd"))
            .args(["-o", "json", "--verify"])
            .arg(&dir)
            .output()
            .expect("run");
        assert!(output.status.success(), "{}", text(&output));
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&object["ok"], &object["height"], &object["blocks"]), (&true.into(), &1.into(), &2.into()));
    }
    for number in 1..=3 {
        bank.start(number, &[]);
    }
    assert_eq!(bank.balance(2, "bob").await, 30);
    // The same id again: the first outcome, at its first place.
    let again = bank.write(3, "t-1", transfer("alice", "bob", 30)).await;
    assert!(matches!(again, ApiReply::Written { height: 1, index: 0, duplicate: true, .. }), "{again:?}");
    assert_eq!(bank.balance(1, "bob").await, 30);
}

#[tokio::test]
async fn killed_nodes_lose_nothing_that_was_acknowledged() {
    let mut bank = Bank::running(3);
    let mut sent = 0;
    for round in 0..3 {
        let at = 1 + round % 3;
        for step in 0..5 {
            let reply = bank.write(at, &format!("k-{round}-{step}"), transfer("alice", "bob", 1)).await;
            assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
            sent += 1;
        }
        let leader = bank.leader(at).await;
        bank.kill(leader);
        let survivor = 1 + leader % 3;
        let reply = bank.write(survivor, &format!("s-{round}"), transfer("alice", "bob", 1)).await;
        assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
        sent += 1;
        bank.start(leader, &[]);
    }
    for number in 1..=3 {
        bank.kill(number);
    }
    for number in 1..=3 {
        bank.start(number, &[]);
    }
    for number in 1..=3 {
        assert_eq!(bank.balance(number, "bob").await, sent);
    }
    bank.agreed(&[1, 2, 3]).await;
    for number in 1..=3 {
        let client = bank.client(number).await;
        let mut stream = client.stream(ApiRequest::Verify).await;
        let mut last = None;
        while let Some(item) = stream.recv().await {
            last = Some(item);
        }
        assert!(matches!(last, Some(ApiReply::Verified { ok: true, uncommitted: 0, .. })), "{last:?}");
    }
}

#[tokio::test]
async fn blocks_and_events_are_streamed() {
    let bank = Bank::running(3);
    let watcher = bank.client(1).await;
    let mut events = watcher.stream(ApiRequest::Watch).await;
    for number in 0..5 {
        bank.write(2, &format!("b-{number}"), transfer("alice", "bob", 1)).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 5 {
        match tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("no end") {
            ApiReply::Event(WatchEvent::Balance { account, balance, .. }) if account == "bob" => seen.push(balance),
            ApiReply::Event(_) => {}
            other => panic!("not an event: {other:?}"),
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);

    let client = bank.client(1).await;
    let mut stream = client.stream(ApiRequest::Blocks { from: 1, to: None }).await;
    let mut previous = None;
    let mut count = 0;
    while let Some(item) = stream.recv().await {
        match item {
            ApiReply::Block { bytes } => {
                let block = Block::decode(&bytes).expect("canonical");
                assert!(previous.is_none_or(|previous| previous == block.header.previous), "the chain is one");
                previous = Some(block.hash());
                count += 1;
            }
            ApiReply::End { count: said } => assert_eq!(said, count),
            other => panic!("not a block: {other:?}"),
        }
    }
    assert_eq!(count, 5);

    let none = bank.call(1, ApiRequest::Block { height: 1000 }).await;
    assert!(matches!(none, ApiReply::Failed { ref code, .. } if code == "unknown_block"), "{none:?}");
    let reversed = bank.call(1, ApiRequest::Blocks { from: 3, to: Some(2) }).await;
    assert!(matches!(reversed, ApiReply::Failed { ref code, .. } if code == "bad_range"), "{reversed:?}");
}

#[tokio::test]
async fn a_node_that_lost_its_disk_rejoins_and_counts_again() {
    let mut bank = Bank::running(3);
    bank.write(1, "r-1", transfer("alice", "bob", 10)).await;
    bank.kill(3);
    std::fs::remove_dir_all(bank.data_dir(3)).expect("removed");

    let output = bank.output(3, &[]);
    assert_eq!(output.status.code(), Some(2), "a missing folder is no fresh start: {}", text(&output));
    // Made first, as often as asked, so that a plain start, such as a supervisor's, goes on from there.
    for word in ["made, to catch up", "left as it is"] {
        let output = bank.output(3, &["--init", "--rejoin"]);
        assert!(output.status.success() && text(&output).contains(word), "{}", text(&output));
    }
    bank.start(3, &[]);
    let started = std::time::Instant::now();
    while bank.status(3).await.height < 1 || !bank.log(3).contains("this node has rejoined") {
        assert!(started.elapsed() < PATIENCE, "{}", bank.log(3));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It counts: with one of the others gone it is half of the majority.
    bank.kill(1);
    let reply = bank.write(3, "r-2", transfer("alice", "bob", 5)).await;
    assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
    assert_eq!(bank.balance(3, "bob").await, 15);

    bank.stop(3).await;
    for arguments in [&["--rejoin"][..], &["--init", "--rejoin"]] {
        let output = bank.output(3, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("move it away"), "{}", text(&output));
    }
}

#[tokio::test]
async fn leaders_that_are_terminated_one_after_the_other_fail_no_request() {
    let mut bank = Bank::running(3);
    for round in 0..3 {
        let leader = bank.leader(1).await;
        let at = leader % 3 + 1;
        let client = bank.client(at).await;
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::spawn(async move {
            let mut number = 0;
            while stopped.try_recv().is_err() {
                number += 1;
                let id = RequestId::parse(&format!("r-{round}-{number}")).expect("valid");
                let request = Request { id, operation: transfer("alice", "bob", 1) }.encode();
                let reply = client.call(ApiRequest::Write { request, timeout_ms: 30_000 }, PATIENCE).await;
                // Alice may have nothing left; that is an answer of the bank as good as the other.
                assert!(matches!(reply, Ok(ApiReply::Written { .. })), "write {number}: {reply:?}");
            }
            number
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        bank.stop(leader).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.send(()).expect("it writes");
        assert!(writer.await.expect("no failed write") > 0);
        assert!(bank.log(leader).contains("handing the leadership over"), "{}", bank.log(leader));
        bank.start(leader, &[]);
        bank.agreed(&[1, 2, 3]).await;
    }
}
