//! Checkpoints and proofs with real processes: what a majority has signed, after a leader was killed and while a node
//! is alone; and that every answer proves what it says to somebody who has the keys file only.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use raftbank_ledger::{Block, Hash, NodeName, merkle};
use raftbank_proofs::{
    BalanceProof, Checkpoint, ConsistencyProof, Head, KeyKind, Keys, LogProof, VerifierKey, node_key_name,
};
use raftbank_tests::ask::{TIMEOUT, heal, partition};
use raftbank_tests::cluster::{Cluster, PATIENCE, Plan, name};
use raftbank_tests::load::{Fate, transfer, write};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::client::Client;

/// How long a lonely node may wait for a checkpoint that does not come.
const SHORT_MS: u32 = 1_000;

/// A client of a node that may have been started a moment ago.
async fn client(cluster: &Cluster, node: usize) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match cluster.client(node).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error:#}\n{}", name(node), cluster.logs()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(cluster: &Cluster, node: usize, request: ApiRequest) -> ApiReply {
    client(cluster, node).await.call(request, PATIENCE).await.unwrap()
}

/// All replies of a stream.
async fn stream(cluster: &Cluster, node: usize, request: ApiRequest) -> Vec<ApiReply> {
    let client = client(cluster, node).await;
    let mut stream = client.stream(request).await;
    let mut replies = Vec::new();
    while let Some(reply) = tokio::time::timeout(PATIENCE, stream.recv()).await.unwrap() {
        replies.push(reply);
    }
    replies
}

/// Pays at a node; returns the height of the block.
async fn pay(cluster: &Cluster, node: usize, id: &str) -> u64 {
    let client = client(cluster, node).await;
    let fate = write(&client, &transfer(id, "a0", "a1", 1).unwrap(), TIMEOUT).await;
    let Fate::Acknowledged { height, .. } = fate else { panic!("{id}: {fate:?}\n{}", cluster.logs()) };
    height
}

async fn block(cluster: &Cluster, node: usize, height: u64) -> Block {
    let reply = ask(cluster, node, ApiRequest::Block { height }).await;
    let ApiReply::Block { bytes } = reply else { panic!("{reply:?}") };
    Block::decode(&bytes).unwrap()
}

/// The keys file that a node gives, once it has heard of all members.
async fn keys(cluster: &Cluster, node: usize) -> Keys {
    let cluster_id = block(cluster, node, 0).await.hash();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = ask(cluster, node, ApiRequest::Keys).await;
        let ApiReply::Keys { members } = reply else { panic!("{reply:?}") };
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, (0..cluster.size()).map(name).collect::<Vec<_>>());
        let known: Option<Vec<VerifierKey>> = members
            .iter()
            .map(|(name, public)| {
                let name = node_key_name(&cluster_id, &NodeName::parse(name).unwrap());
                public.map(|public| VerifierKey::new(&name, KeyKind::Node, &public).unwrap())
            })
            .collect();
        if let Some(known) = known {
            return Keys::new(known).unwrap();
        }
        assert!(Instant::now() < deadline, "{members:?}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A node's checkpoint of so many blocks, with signatures that count.
async fn checkpoint(cluster: &Cluster, node: usize, size_min: u64, keys: &Keys) -> Checkpoint {
    let reply = ask(cluster, node, ApiRequest::Checkpoint { size_min, timeout_ms: 20_000 }).await;
    let ApiReply::Checkpoint { note } = reply else { panic!("{}: {reply:?}\n{}", name(node), cluster.logs()) };
    let checkpoint = Checkpoint::parse(&note).unwrap();
    assert!(checkpoint.head.size >= size_min);
    assert_eq!(checkpoint.check(keys).unwrap().len(), keys.majority());
    checkpoint
}

async fn hashes(cluster: &Cluster, node: usize, request: ApiRequest) -> Vec<Hash> {
    let reply = ask(cluster, node, request).await;
    let ApiReply::Hashes { hashes } = reply else { panic!("{reply:?}") };
    hashes.into_iter().map(Hash).collect()
}

/// Everything that a node can prove about a checkpoint of its.
async fn proven(cluster: &Cluster, node: usize, checkpoint: &Checkpoint, old: &Head, keys: &Keys) {
    let Head { size, root, .. } = checkpoint.head;
    for height in [0, size / 2, size - 1] {
        let proof = hashes(cluster, node, ApiRequest::Inclusion { height, size }).await;
        let leaf = merkle::leaf_hash(&block(cluster, node, height).await.hash().0);
        assert_eq!(merkle::root_by_inclusion(leaf, height, size, &proof).unwrap(), root);
        for account in ["a0", "nobody", "world"] {
            let asked = ApiRequest::BalanceAt { account: account.to_owned(), height: Some(height) };
            let last = stream(cluster, node, asked).await.pop();
            let Some(ApiReply::BalanceAt { account, balance, height, other, siblings }) = last else {
                panic!("{last:?}")
            };
            let proof = BalanceProof {
                account: raftbank_ledger::Account::parse(&account).unwrap(),
                balance,
                header: block(cluster, node, height).await.header,
                other: other.map(|(key, value)| (Hash(key), Hash(value))),
                siblings: siblings.into_iter().map(Hash).collect(),
                log: LogProof { height, hashes: proof.clone(), checkpoint: checkpoint.clone() },
            };
            proof.check(Some(keys)).unwrap();
            assert_eq!(balance.is_some(), account != "nobody");
        }
    }
    let hashes = hashes(cluster, node, ApiRequest::Consistency { old: old.size, new: size }).await;
    let proof = ConsistencyProof { old_size: old.size, hashes, new: checkpoint.clone() };
    proof.check(old, Some(keys)).unwrap();
}

#[tokio::test]
async fn checkpoints_go_on_without_a_leader_that_died_and_not_without_a_majority() {
    let mut cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let keys = keys(&cluster, 0).await;
    let first = pay(&cluster, 0, "first").await;
    let mut heads = Vec::new();
    for node in 0..3 {
        assert_eq!(self::keys(&cluster, node).await, keys);
        let checkpoint = checkpoint(&cluster, node, first + 1, &keys).await;
        proven(&cluster, node, &checkpoint, &checkpoint.head, &keys).await;
        heads.push(checkpoint.head);
        let found = ask(&cluster, node, ApiRequest::Find { id: "first".to_owned() }).await;
        assert_eq!(found, ApiReply::Found { height: first, index: 0 });
    }

    // The leader dies: the others go on, and prove that they do with the same chain.
    let dead = cluster.leader().await.unwrap();
    cluster.kill_node(dead).unwrap();
    let alive: Vec<usize> = (0..3).filter(|node| *node != dead).collect();
    cluster.leader_among(&alive).await.unwrap();
    let second = pay(&cluster, alive[0], "second").await;
    for node in &alive {
        let checkpoint = checkpoint(&cluster, *node, second + 1, &keys).await;
        for old in &heads {
            proven(&cluster, *node, &checkpoint, old, &keys).await;
        }
    }

    // It comes back with the same key, is told the newest head, and is cut off then.
    cluster.start_node(dead).unwrap();
    let back = checkpoint(&cluster, dead, second + 1, &keys).await;
    assert_eq!(self::keys(&cluster, dead).await, keys);
    cluster.converged().await.unwrap();
    let lonely = alive[1];
    let majority = [alive[0], dead];
    partition(&cluster, &[&[lonely], &majority]).await.unwrap();
    cluster.leader_among(&majority).await.unwrap();
    let third = pay(&cluster, dead, "third").await;
    let newer = checkpoint(&cluster, alive[0], third + 1, &keys).await;
    assert!(newer.head.size > back.head.size);
    let begun = Instant::now();
    let asked = ApiRequest::Checkpoint { size_min: third + 1, timeout_ms: SHORT_MS };
    let reply = ask(&cluster, lonely, asked).await;
    let ApiReply::Failed { kind: FailKind::NotExecuted, code, message } = &reply else { panic!("{reply:?}") };
    assert!(code == "no_checkpoint" && message.contains("chain has only"), "{reply:?}");
    assert!(begun.elapsed() >= Duration::from_millis(u64::from(SHORT_MS)) && begun.elapsed() < PATIENCE);
    // What it has is as good as ever.
    let old = checkpoint(&cluster, lonely, 1, &keys).await;
    assert!(old.head.size <= third);
    heal(&cluster).await.unwrap();
    let healed = checkpoint(&cluster, lonely, third + 1, &keys).await;
    proven(&cluster, lonely, &healed, &old.head, &keys).await;
}

#[tokio::test]
async fn a_lost_key_is_replaced_a_damaged_one_is_refused_and_neither_concerns_the_books() {
    let mut cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let before = keys(&cluster, 0).await;
    let first = pay(&cluster, 0, "first").await;
    checkpoint(&cluster, 0, first + 1, &before).await;
    let file = cluster.data(0).join("key");
    let secret = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // Damaged: exit code 6, each time, and nothing sticks.
    assert!(cluster.stop_node(0).await.unwrap().success());
    let mut damaged = secret.clone();
    damaged[70] ^= 1;
    fs::write(&file, &damaged).unwrap();
    cluster.start_node(0).unwrap();
    assert_eq!(cluster.ended(0).await.unwrap().code(), Some(6));
    assert!(cluster.log(0).contains("move only this file away"), "{}", cluster.log(0));
    fs::write(&file, &secret).unwrap();
    cluster.start_node(0).unwrap();
    assert_eq!(keys(&cluster, 0).await, before);

    // Moved away: another one, and everyone says so.
    assert!(cluster.stop_node(0).await.unwrap().success());
    fs::rename(&file, cluster.data(0).with_file_name("old-key")).unwrap();
    cluster.start_node(0).unwrap();
    cluster.leader().await.unwrap();
    let second = pay(&cluster, 1, "second").await;
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        let after = keys(&cluster, 1).await;
        if after != before {
            break after;
        }
        assert!(Instant::now() < deadline, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(keys(&cluster, 0).await, after);
    assert!(cluster.log(0).contains("this node had no private key"), "{}", cluster.log(0));
    assert!(cluster.log(1).contains("n1 signs with another key now"), "{}", cluster.log(1));
    let deadline = Instant::now() + PATIENCE;
    for node in 0..3 {
        // Until the last of them has heard of the key, some heads may still be signed with the old one.
        loop {
            let asked = ApiRequest::Checkpoint { size_min: second + 1, timeout_ms: 20_000 };
            let reply = ask(&cluster, node, asked).await;
            let ApiReply::Checkpoint { note } = &reply else { panic!("{reply:?}\n{}", cluster.logs()) };
            if Checkpoint::parse(note).unwrap().check(&after).is_ok() {
                break;
            }
            assert!(Instant::now() < deadline, "{note}\n{}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_and_the_node_lives_on() {
    let mut cluster = Cluster::start(Plan::new(1).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let keys = keys(&cluster, 0).await;
    let height = pay(&cluster, 0, "first").await;
    let head = checkpoint(&cluster, 0, height + 1, &keys).await.head;
    let max = u64::MAX;
    let account = || "a0".to_owned();
    let requests = [
        ApiRequest::Inclusion { height: 0, size: 0 },
        ApiRequest::Inclusion { height: max, size: max },
        ApiRequest::Inclusion { height: 0, size: max },
        ApiRequest::Consistency { old: 0, new: 1 },
        ApiRequest::Consistency { old: 1, new: max },
        ApiRequest::Consistency { old: max, new: max },
        ApiRequest::BalanceAt { account: account(), height: Some(max) },
        ApiRequest::BalanceAt { account: "No Name".to_owned(), height: None },
        ApiRequest::BalanceAt { account: "x".repeat(10_000), height: Some(0) },
        ApiRequest::Find { id: String::new() },
        ApiRequest::Find { id: "x".repeat(100_000) },
        ApiRequest::Checkpoint { size_min: max, timeout_ms: 0 },
        ApiRequest::Checkpoint { size_min: max, timeout_ms: 50 },
    ];
    for request in requests {
        let reply = ask(&cluster, 0, request.clone()).await;
        assert!(matches!(reply, ApiReply::Failed { .. }), "{request:?}: {reply:?}");
    }
    // A head that is none of this chain: said to the client, and nothing else follows from it.
    for (size, root, fits) in [
        (head.size, head.root, true),
        (head.size, Hash([1; 32]), false),
        (max, head.root, false),
        (0, head.root, false),
    ] {
        let last = stream(&cluster, 0, ApiRequest::VerifyAgainst { size, root: root.0 }).await.pop();
        let Some(ApiReply::Verified { ok, problem, .. }) = last else { panic!("{last:?}") };
        assert_eq!((ok, problem.is_none()), (fits, fits), "{size}: {problem:?}");
    }
    let (mut accounts, mut count) = (Vec::new(), 0);
    for reply in stream(&cluster, 0, ApiRequest::Rows).await {
        match reply {
            ApiReply::Rows { accounts: some, values, .. } => {
                count += (some.len() + values.len()) as u64;
                accounts.extend(some);
            }
            other => assert_eq!(other, ApiReply::End { count }),
        }
    }
    assert_eq!(accounts.iter().map(|(_, balance)| balance).sum::<i128>(), 0);
    pay(&cluster, 0, "later").await;
    assert_eq!(cluster.casualties(), Vec::<String>::new());
}
