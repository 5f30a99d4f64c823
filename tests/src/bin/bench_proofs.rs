//! What the trees, proofs and signatures cost, and how fast a chain is verified, beside this machine's raw SHA-256.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use raftbank_ledger::{Hash, LogTree, Smt, Verifier, merkle};
use raftbank_proofs::{Keys, Receipt};
use raftbank_tests::cluster::{Cluster, Plan};
use raftbank_tests::load::{Attempt, Load, LoadPlan};
use raftbank_tests::vectors::Bank;

/// Measure trees, proofs, signatures and verification. Build with --release.
#[derive(Parser)]
struct Args {
    /// Seconds of each load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often the load runs with signed heads, and how often without; 0: not at all.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.seconds > 0, "--seconds must be 1 or more");
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say little");
    }
    let node = sha256();
    trees(node);
    proofs()?;
    if args.pairs > 0 {
        load(&args, node).await?;
    }
    Ok(())
}

/// Runs `work` until it has taken a while; the time of one run.
fn time(mut work: impl FnMut()) -> Duration {
    let mut runs = 1_u32;
    loop {
        let begun = Instant::now();
        (0..runs).for_each(|_| work());
        let took = begun.elapsed();
        if took >= Duration::from_millis(200) {
            return took / runs;
        }
        runs = runs.saturating_mul(2);
    }
}

fn micros(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}

/// Raw SHA-256; returns what hashing a node of a tree takes.
fn sha256() -> Duration {
    let block = vec![7_u8; 1 << 20];
    let bulk = time(|| {
        black_box(Hash::of(&[&block]));
    });
    let (left, right) = (Hash([1; 32]), Hash([2; 32]));
    let node = time(|| {
        black_box(merkle::node_hash(black_box(&left), &right));
    });
    println!("SHA-256 of 1 MiB                    {:>10.0} MiB/s", 1.0 / bulk.as_secs_f64());
    println!("SHA-256 of a tree's node, 65 bytes  {:>10}", micros(node));
    node
}

/// What a block's changes cost in trees of different sizes.
fn trees(node: Duration) {
    println!(
        "\n{:<28} {:>12} {:>14} {:>14}",
        "keys or blocks in the tree", "state, 100 keys", "node hashes", "log, one block"
    );
    for size in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let key = |number: u64| Hash::of(&[&number.to_be_bytes()]);
        let mut tree = Smt::default();
        tree.set((0..size).map(|number| (key(number), key(number))).collect());
        let changes: Vec<(Hash, Hash)> = (0..100).map(|number| (key(number * (size / 100)), Hash([9; 32]))).collect();
        let state = time(|| drop(black_box(tree.plan(&[], changes.clone()))));
        let mut log = LogTree::default();
        for number in 0..size {
            log.push(key(number));
        }
        let push = time(|| drop(black_box(log.clone().push(Hash([3; 32])))));
        let hashes = state.as_secs_f64() / node.as_secs_f64();
        println!("{size:<28} {:>15} {hashes:>14.0} {:>14}", micros(state), micros(push));
    }
}

fn proofs() -> Result<()> {
    let mut bank = Bank::new("pepper")?;
    bank.grow(500)?;
    let size = bank.blocks.len();
    let keys: Keys = bank.keys()?;
    let text = bank.head(size).text();
    let (signer, public) = (&bank.signers[0], bank.signers[0].verifier());
    let signature = signer.sign(&text, 0);
    println!("\nsign a head                         {:>10}", micros(time(|| drop(black_box(signer.sign(&text, 0))))));
    println!("verify a signature                  {:>10}", micros(time(|| assert!(public.verify(&text, &signature)))));
    let receipt = bank.receipt(300, 0, size).to_string();
    let check = time(|| {
        let receipt = Receipt::parse(&receipt).expect("a receipt");
        receipt.check(None, Some(&keys)).expect("a good one");
    });
    println!("check a receipt of {} bytes       {:>10}", receipt.len(), micros(check));
    let bytes: Vec<Vec<u8>> = bank.blocks.iter().map(|block| block.encode()).collect();
    let begun = Instant::now();
    let mut verifier = Verifier::new(&bytes[0])?;
    for block in &bytes[1..] {
        verifier.push(block)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let (blocks, requests) = (verifier.blocks() as f64, verifier.transactions() as f64);
    println!(
        "verify a small chain in memory      {:>10.0} blocks/s {:>10.0} requests/s",
        blocks / took,
        requests / took
    );
    Ok(())
}

/// The same load with and without signed heads, in turn; then the chain that it left is verified.
async fn load(args: &Args, node: Duration) -> Result<()> {
    println!("\n{:<12} {:>16} {:>16}", "64 clients", "with heads /s", "without /s");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..args.pairs {
        // Whoever is first alternates: the machine's moods fall on both.
        let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
        for heads in order {
            let rate = run(args, heads, pair + 1 == args.pairs && heads, node).await?;
            if heads { with.push(rate) } else { without.push(rate) }
        }
        println!("{:<12} {:>16.0} {:>16.0}", pair + 1, with[pair], without[pair]);
    }
    let mut ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "with : without, median of {} pairs {:.3} (from {:.3} to {:.3})",
        ratios.len(),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
    Ok(())
}

async fn run(args: &Args, heads: bool, verify: bool, node: Duration) -> Result<f64> {
    let mut plan = Plan::new(3)?;
    let interval = if heads { "100" } else { "0" };
    plan.environment.push(("RAFTBANKD_CHECKPOINTS__INTERVAL_MS".to_owned(), interval.to_owned()));
    let mut cluster = Cluster::start(plan).await?;
    cluster.leader().await?;
    let load = Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients: 64,
        seed: 1,
        accounts: 4,
        amount_max: 10,
        prefix: "load".to_owned(),
        timeout: Duration::from_secs(30),
        mixed: false,
        reads: 0.0,
        rest: Duration::ZERO,
    });
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let attempts = load.finish().await?.attempts;
    ensure!(attempts.iter().all(Attempt::is_acknowledged), "some were not acknowledged\n{}", cluster.logs());
    if verify {
        cluster.converged().await?;
        for node in 0..3 {
            cluster.stop_node(node).await?;
        }
        verified(&cluster, node)?;
    }
    Ok(attempts.len() as f64 / args.seconds as f64)
}

/// `raftbankd --verify` of a stopped node's folder, as a process.
fn verified(cluster: &Cluster, node: Duration) -> Result<()> {
    let program = Plan::new(3)?.binaries.node;
    let begun = Instant::now();
    let output = Command::new(program).arg("--verify").arg(cluster.data(0)).args(["-o", "json"]).output()?;
    let took = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| report[name].as_u64().map(|number| number as f64).context("a figure");
    let (blocks, requests) = (figure("blocks")?, figure("transactions")?);
    println!(
        "raftbankd --verify: {blocks:.0} blocks, {requests:.0} requests in {took:.1} s: {:.0} blocks/s, {:.0} requests/s, \
         {:.0} node hashes of time for each request",
        blocks / took,
        requests / took,
        took / requests / node.as_secs_f64()
    );
    Ok(())
}
