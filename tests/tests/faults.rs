//! Partitions, cut links and frozen leaders, with real processes and a real relay.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use raftbank_ledger::Block;
use raftbank_tests::ask::{TIMEOUT, balance, clear, cut, heal, partition};
use raftbank_tests::cluster::{Cluster, PATIENCE, Plan, name};
use raftbank_tests::history::{self, History};
use raftbank_tests::load::{Attempt, Fate, Load, LoadPlan, moment, transfer, write};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};

/// Long enough for a node to notice that nobody hears it, short enough to wait for.
const SHORT: Duration = Duration::from_secs(1);
/// Timers for tests about who leads: a busy machine shall depose nobody.
const PATIENT: [u64; 3] = [100, 1_000, 2_000];

async fn cluster(nodes: usize) -> Cluster {
    Cluster::start(Plan::new(nodes).unwrap()).await.unwrap()
}

fn others(cluster: &Cluster, node: usize) -> Vec<usize> {
    (0..cluster.size()).filter(|&other| other != node).collect()
}

fn load(cluster: &Cluster, clients: usize, prefix: &str) -> Load {
    Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients,
        seed: 1,
        accounts: 4,
        amount_max: 10,
        prefix: prefix.to_owned(),
        timeout: Duration::from_secs(3),
        mixed: true,
        reads: 0.3,
        rest: Duration::ZERO,
    })
}

/// Sends one transfer of `amount` from a0 to a1 at `node`.
async fn pay(cluster: &Cluster, node: usize, id: &str, amount: u64, timeout: Duration) -> Attempt {
    let client = cluster.client(node).await.unwrap();
    let sent = moment();
    let fate = write(&client, &transfer(id, "a0", "a1", amount).unwrap(), timeout).await;
    Attempt { id: id.to_owned(), sent, known: moment(), tries: 1, fate }
}

async fn must_pay(cluster: &Cluster, node: usize, id: &str, amount: u64) -> Attempt {
    let attempt = pay(cluster, node, id, amount, TIMEOUT).await;
    let is_committed = matches!(&attempt.fate, Fate::Acknowledged { outcome, .. } if outcome == "committed");
    assert!(is_committed, "at {}: {attempt:?}\n{}", name(node), cluster.logs());
    attempt
}

#[tokio::test]
async fn a_leader_alone_refuses_and_the_majority_goes_on() {
    let mut cluster = cluster(3).await;
    let old = cluster.leader().await.unwrap();
    let majority = others(&cluster, old);
    let mut attempts = vec![must_pay(&cluster, old, "before", 1).await];
    partition(&cluster, &[&[old], &majority]).await.unwrap();

    // Both a write and a read at the lonely leader end, within their timeout, without an effect that anyone can see.
    let mut minority = Vec::new();
    for round in 0..3 {
        let id = format!("minority-{round}");
        let client = cluster.client(old).await.unwrap();
        let request = transfer(&id, "a0", "a1", 100).unwrap().encode();
        let timeout_ms = u32::try_from(SHORT.as_millis()).unwrap();
        let reply = client.call(ApiRequest::Write { request, timeout_ms }, PATIENCE).await.unwrap();
        let ApiReply::Failed { kind: kind @ (FailKind::NotExecuted | FailKind::Unknown), .. } = reply else {
            panic!("a minority answered {reply:?}");
        };
        minority.push((id, kind));
        let asked = ApiRequest::Balance { account: "a1".to_owned(), local: false, timeout_ms };
        let reply = client.call(asked, PATIENCE).await.unwrap();
        assert!(
            matches!(reply, ApiReply::Failed { kind: FailKind::NotExecuted | FailKind::Unknown, .. }),
            "a minority answered {reply:?}"
        );
    }
    let new = cluster.leader_among(&majority).await.unwrap();
    assert_ne!(new, old);
    for round in 0..5 {
        attempts.push(must_pay(&cluster, majority[round % 2], &format!("majority-{round}"), 1).await);
    }

    heal(&cluster).await.unwrap();
    cluster.converged().await.unwrap();
    assert_eq!(balance(&cluster.client(old).await.unwrap(), "a1", TIMEOUT).await.unwrap(), 1_000_006);
    // What was unknown is resolved by its id; what was not executed never was.
    let now = moment();
    for (id, kind) in minority {
        if kind == FailKind::Unknown {
            attempts.push(must_pay(&cluster, old, &id, 100).await);
        } else {
            attempts.push(Attempt { id, sent: now, known: now, tries: 1, fate: Fate::NotExecuted });
        }
    }
    history::check(&mut cluster, &attempts.into()).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_slept_never_answers_with_the_old_value() {
    let mut cluster = cluster(3).await;
    let mut paid = 0;
    let mut answers = 0;
    for round in 0..5 {
        let old = cluster.leader().await.unwrap();
        let awake = others(&cluster, old);
        let client = cluster.client(old).await.unwrap();
        cluster.freeze(old).unwrap();
        cluster.leader_among(&awake).await.unwrap();
        must_pay(&cluster, awake[0], &format!("asleep-{round}"), 1).await;
        paid += 1;
        // Some reads wait for the sleeper before it wakes, others come afterwards; all began after the write was known.
        let reads: Vec<_> = (0..40_u64)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(number.saturating_sub(20) * 10)).await;
                    balance(&client, "a1", Duration::from_secs(2)).await
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.thaw(old).unwrap();
        for read in reads {
            // A refusal is no lie.
            if let Ok(balance) = read.await.unwrap() {
                assert_eq!(balance, 1_000_000 + paid, "round {round}: a stale read\n{}", cluster.logs());
                answers += 1;
            }
        }
    }
    let read = balance(&cluster.client(0).await.unwrap(), "a1", TIMEOUT).await.unwrap();
    assert_eq!(read, 1_000_005);
    println!("{answers} of 200 reads were answered");
    assert!(answers > 0, "nothing was tested");
}

#[tokio::test]
async fn many_clients_share_blocks() {
    let mut cluster = cluster(3).await;
    cluster.leader().await.unwrap();
    let load = load(&cluster, 64, "share");
    assert!(load.progress(3_000, PATIENCE * 2).await, "no progress\n{}", cluster.logs());
    let attempts = load.finish().await.unwrap();
    history::check(&mut cluster, &attempts).await.unwrap();
    let chain = history::blocks(&cluster.client(0).await.unwrap()).await.unwrap();
    let requests: usize = chain.iter().skip(1).map(|bytes| Block::decode(bytes).unwrap().entries.len()).sum();
    let mean = requests as f64 / (chain.len() - 1) as f64;
    println!("{requests} requests in {} blocks: {mean:.1} a block", chain.len() - 1);
    assert!(mean >= 8.0, "{mean} requests a block");
}

#[tokio::test]
async fn a_retry_after_a_lost_reply_gets_the_first_place() {
    let mut cluster = cluster(3).await;
    for round in 0..20 {
        let leader = cluster.leader().await.unwrap();
        let asked = others(&cluster, leader)[0];
        // The leader hears the node that is asked, and its answers are dropped.
        cut(&cluster, leader, asked, true).await.unwrap();
        let id = format!("lost-{round}");
        let lost = pay(&cluster, asked, &id, 1, SHORT).await;
        clear(&cluster).await.unwrap();
        cluster.converged().await.unwrap();
        let chain = history::blocks(&cluster.client(asked).await.unwrap()).await.unwrap();
        let place = chain.iter().enumerate().find_map(|(height, bytes)| {
            let entries = Block::decode(bytes).unwrap().entries;
            entries.iter().position(|entry| entry.request.id.as_str() == id).map(|index| (height, index))
        });
        let (Fate::Unknown, Some((height, index))) = (&lost.fate, place) else {
            // The node had noticed too early, or was answered after all.
            continue;
        };
        let expected = Fate::Acknowledged {
            height: height as u64,
            index: u32::try_from(index).unwrap(),
            outcome: "committed".to_owned(),
            duplicate: true,
        };
        for node in 0..3 {
            assert_eq!(pay(&cluster, node, &id, 1, TIMEOUT).await.fate, expected, "at {}", name(node));
        }
        // The same id with other content is refused, and changes nothing.
        let other = pay(&cluster, asked, &id, 2, TIMEOUT).await.fate;
        assert!(matches!(&other, Fate::Surprise(reply) if reply.contains("id_reused")), "{other:?}");
        history::check(&mut cluster, &vec![lost].into()).await.unwrap();
        return;
    }
    panic!("no reply was lost after its commit in 20 rounds\n{}", cluster.logs());
}

#[tokio::test]
async fn five_nodes_serve_through_one_hub() {
    let mut cluster = cluster(5).await;
    let first = cluster.leader().await.unwrap();
    must_pay(&cluster, first, "first", 1).await;
    cluster.converged().await.unwrap();
    for (round, hub) in [first, (first + 1) % 5, (first + 3) % 5].into_iter().enumerate() {
        cluster.converged().await.unwrap();
        let leaves = others(&cluster, hub);
        for (place, &a) in leaves.iter().enumerate() {
            for &b in &leaves[place + 1..] {
                cut(&cluster, a, b, false).await.unwrap();
            }
        }
        // Only the hub reaches a majority. An old leader keeps its role until it has noticed that.
        let deadline = Instant::now() + PATIENCE;
        while cluster.leader().await.unwrap() != hub {
            assert!(Instant::now() < deadline, "{} does not lead\n{}", name(hub), cluster.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for &node in [hub].iter().chain(&leaves) {
            must_pay(&cluster, node, &format!("hub-{round}-{node}"), 1).await;
        }
        clear(&cluster).await.unwrap();
    }
    let status = cluster.converged().await.unwrap();
    println!("term {} after three hubs", status.term);
    history::check(&mut cluster, &History::default()).await.unwrap();
}

#[tokio::test]
async fn a_node_behind_a_one_way_cut_disturbs_nobody() {
    let mut plan = Plan::new(3).unwrap();
    plan.timers = Some(PATIENT);
    let mut cluster = Cluster::start(plan).await.unwrap();
    for (round, hears) in [false, true].into_iter().enumerate() {
        cluster.converged().await.unwrap();
        let leader = cluster.leader().await.unwrap();
        let outcast = others(&cluster, leader)[0];
        for node in others(&cluster, outcast) {
            let (from, to) = if hears { (outcast, node) } else { (node, outcast) };
            cut(&cluster, from, to, true).await.unwrap();
        }
        // It misses its leader, or nobody hears it: several election timeouts pass, and nothing may come of them.
        let before = cluster.status(leader).await.unwrap();
        let load = load(&cluster, 3, &format!("oneway-{round}"));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(6) {
            assert!(load.progress(1, PATIENCE).await, "no progress\n{}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let after = cluster.status(leader).await.unwrap();
        assert_eq!((after.term, &after.leader), (before.term, &before.leader), "deposed\n{}", cluster.logs());
        clear(&cluster).await.unwrap();
        let attempts = load.finish().await.unwrap();
        let healed = cluster.converged().await.unwrap();
        println!("hears: {hears}: term {} before, {} healed", before.term, healed.term);
        history::check(&mut cluster, &attempts).await.unwrap();
    }
}
