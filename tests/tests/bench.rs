//! `bankctl bench` on a real bank: what it prints adds up with what the chain says, stalls show, and errors decide the
//! exit code.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use raftbank_tests::binaries::program;
use raftbank_tests::cluster::{Cluster, Plan};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: [&str; 28] = [
    "accounts",
    "batch",
    "client_cpu_us_per_request",
    "clients",
    "connections",
    "error_codes",
    "errors",
    "interrupted",
    "max_us",
    "mode",
    "p50_us",
    "p90_us",
    "p999_us",
    "p99_us",
    "rate",
    "reads",
    "refused",
    "refused_codes",
    "requests",
    "run",
    "schema",
    "seconds",
    "skew",
    "sockets",
    "threads",
    "throughput",
    "transfers",
    "warm_up_seconds",
];

fn bankctl(cluster: &Cluster, nodes: &[usize], arguments: &str) -> Command {
    let mut command = Command::new(program("bankctl").unwrap());
    for node in nodes {
        command.arg("--socket").arg(cluster.socket(*node));
    }
    command.args(["-o", "json"]).args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

/// A bank that serves.
async fn bank(nodes: usize) -> Cluster {
    let mut cluster = Cluster::start(Plan::new(nodes).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    cluster
}

/// The exit code and the object.
fn end(output: &Output) -> (i32, Value) {
    let object = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap_or_else(|| panic!("{output:?}")), object)
}

fn bench(cluster: &Cluster, nodes: &[usize], arguments: &str) -> (i32, Value) {
    end(&bankctl(cluster, nodes, &format!("bench {arguments}")).output().unwrap())
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key} of {object}"))
}

/// A measurement whose clients are at work.
fn begin(cluster: &Cluster, nodes: &[usize], arguments: &str) -> Child {
    let mut command = bankctl(cluster, nodes, arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("for ever"), "{line}");
    // Only the clients have threads of their own.
    let tasks = format!("/proc/{}/task", child.id());
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_dir(&tasks).unwrap().count() < 2 {
        assert!(Instant::now() < deadline, "its clients do not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// All accounts: their sum, and the number of those of the bench.
fn books(cluster: &Cluster) -> (String, usize) {
    let (code, object) = end(&bankctl(cluster, &[0], "--timeout 20s accounts").output().unwrap());
    assert_eq!(code, 0, "{object}");
    let accounts = object["accounts"].as_array().unwrap();
    let own = accounts.iter().filter(|account| account["account"].as_str().unwrap().starts_with("bench:"));
    (object["sum"].as_str().unwrap().to_owned(), own.count())
}

/// Ids in the chain that begin so, and how many of them were committed.
fn ids(cluster: &Cluster, prefix: &str) -> (usize, usize) {
    let output = bankctl(cluster, &[0], "--timeout 20s export").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (mut all, mut committed) = (BTreeSet::new(), 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let block: Value = serde_json::from_str(line).unwrap();
        for request in block["requests"].as_array().unwrap() {
            let id = request["id"].as_str().unwrap();
            if id.starts_with(prefix) {
                assert!(all.insert(id.to_owned()), "{id} twice");
                committed += usize::from(request["outcome"] == "committed");
            }
        }
    }
    (all.len(), committed)
}

#[tokio::test]
async fn every_mode_counts_what_the_chain_says() {
    let cluster = bank(3).await;
    for (arguments, nodes) in [
        ("--accounts 50 --clients 6", &[0, 1, 2][..]),
        ("--accounts 50 --clients 3 --mode batch --batch 40 --skew hot", &[0, 1, 2]),
        ("--accounts 60 --clients 8 --mode read --skew zipf", &[0, 1]),
        ("--accounts 60 --clients 8 --rate 50 --skew zipf", &[2]),
        ("--accounts 2 --clients 2 --mode batch --batch 5 --rate 4", &[1, 2]),
    ] {
        let (code, object) = bench(&cluster, nodes, &format!("{arguments} --seconds 2 --timeout 30s"));
        assert_eq!((code, number(&object, "errors"), number(&object, "refused")), (0, 0, 0), "{object}");
        let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, KEYS, "{object}");
        assert_eq!(number(&object, "sockets"), nodes.len() as u64);
        let requests = number(&object, "requests");
        assert!(requests > 0, "{object}");
        let reads = object["mode"] == "read";
        let each = object["batch"].as_u64().unwrap_or(1);
        assert_eq!(number(&object, if reads { "reads" } else { "transfers" }), requests * each, "{object}");
        if let Some(rate) = object["rate"].as_f64() {
            assert_eq!(requests as f64, rate * 2.0, "{object}");
        }
        let seconds = object["seconds"].as_f64().unwrap();
        assert!(seconds >= 2.0, "{object}");
        let rate = (requests * each) as f64 / seconds;
        let shown = object["throughput"].as_f64().unwrap();
        assert!((rate - shown).abs() < 0.1 + rate / 1_000.0, "{object}");
        let latencies = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|key| number(&object, key));
        assert!(latencies.is_sorted() && latencies[0] > 0, "{object}");
        assert!(object["client_cpu_us_per_request"].as_f64().unwrap() > 0.0, "{object}");

        let (all, committed) = ids(&cluster, &format!("bench-{}-", object["run"].as_str().unwrap()));
        assert_eq!(all, committed, "{object}");
        if reads {
            assert_eq!(all, 0, "{object}");
        } else {
            // The warm-up is in the chain and not in the count.
            assert!(all as u64 > requests * each, "{all}: {object}");
        }
    }
    assert_eq!(books(&cluster), ("0".to_owned(), 60));
    // Accounts of an earlier run are used again.
    for prefix in ["bench-open-", "bench-credit-"] {
        assert_eq!(ids(&cluster, prefix), (60, 60));
    }
}

#[tokio::test]
async fn a_node_that_is_killed_makes_errors_and_the_worst_decides_the_exit_code() {
    let mut cluster = bank(3).await;
    assert_eq!(bench(&cluster, &[0], "--accounts 2 --seconds 1 --timeout 30s").0, 0);
    for (mode, exit_code, code) in [("single", 5, "outcome_unknown"), ("read", 4, "unreachable")] {
        cluster.converged().await.unwrap();
        let arguments = format!("--timeout 2s bench --accounts 2 --clients 40 --seconds 5 --mode {mode}");
        let child = begin(&cluster, &[1], &arguments);
        // After the warm-up.
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.kill_node(1).unwrap();
        let (ended, object) = end(&child.wait_with_output().unwrap());
        assert_eq!(ended, exit_code, "{object}");
        let codes = object["error_codes"].as_object().unwrap();
        assert!(codes[code].as_u64().unwrap() > 0, "{object}");
        assert_eq!(codes.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), number(&object, "errors"));
        assert!(number(&object, "requests") > 0, "what was done before is told: {object}");
        cluster.start_node(1).unwrap();
    }
    cluster.converged().await.unwrap();
    assert_eq!(books(&cluster), ("0".to_owned(), 2));
    cluster.kill_node(1).unwrap();
    let (code, object) = bench(&cluster, &[0, 1], "--seconds 1");
    assert_eq!((code, object["error"]["code"].as_str()), (4, Some("unreachable")), "{object}");
}

#[tokio::test]
async fn a_stall_is_in_the_latency_of_what_fell_due_in_it() {
    let mut cluster = bank(3).await;
    let leader = cluster.leader().await.unwrap();
    let node = (leader + 1) % 3;
    let arguments = "--timeout 30s bench --accounts 2 --clients 4 --rate 100 --seconds 8";
    let child = begin(&cluster, &[node], arguments);
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.freeze(node).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.thaw(node).unwrap();
    let (code, object) = end(&child.wait_with_output().unwrap());
    assert_eq!((code, number(&object, "requests")), (0, 800), "{object}");
    // Of 8 s, 2 are a stall: the last tenth of all requests waited for half of it. Four clients that ask one after the
    // other had only four slow answers.
    assert!(number(&object, "p90_us") > 800_000, "{object}");
    assert!(number(&object, "max_us") > 1_500_000, "{object}");
}

#[tokio::test]
async fn ctrl_c_prints_what_was_measured_so_far() {
    let cluster = bank(1).await;
    let child = begin(&cluster, &[0], "bench --accounts 2 --clients 2 --seconds 86400");
    tokio::time::sleep(Duration::from_secs(4)).await;
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let (code, object) = end(&child.wait_with_output().unwrap());
    assert_eq!((code, &object["interrupted"]), (0, &Value::from(true)), "{object}");
    assert!(number(&object, "transfers") > 0 && object["throughput"].as_f64().unwrap() > 0.0, "{object}");
}

#[tokio::test]
async fn accounts_that_were_left_half_set_up_are_finished_by_the_next_run() {
    let cluster = bank(1).await;
    let mut command = bankctl(&cluster, &[0], "bench --accounts 10000000 --timeout 30s");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Into the second of the chunks that are set up one after the other.
    while books(&cluster).1 < 5_000 {
        assert!(Instant::now() < deadline, "no accounts are opened");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let (code, object) = end(&child.wait_with_output().unwrap());
    assert_eq!((code, object["error"]["code"].as_str()), (4, Some("interrupted")), "{object}");
    // More than what may still be under way.
    let all = books(&cluster).1 + 5_000;
    let arguments = format!("--accounts {all} --seconds 1 --clients 8 --timeout 30s");
    let (code, object) = bench(&cluster, &[0], &arguments);
    assert_eq!((code, number(&object, "refused")), (0, 0), "{object}");
    assert_eq!(books(&cluster), ("0".to_owned(), all));
    for prefix in ["bench-open-", "bench-credit-"] {
        assert_eq!(ids(&cluster, prefix), (all, all));
    }
}

#[tokio::test]
async fn only_bench_takes_several_sockets_and_none_is_lost() {
    let cluster = bank(1).await;
    let (code, object) = end(&bankctl(&cluster, &[0, 0], "status").output().unwrap());
    assert_eq!((code, object["error"]["code"].as_str()), (2, Some("usage")), "{object}");
    let behind = format!("bench --seconds 1 --socket {}", cluster.socket(0).display());
    let (code, object) = end(&bankctl(&cluster, &[0], &behind).output().unwrap());
    assert_eq!((code, object["error"]["code"].as_str()), (2, Some("usage")), "{object}");
    let mut command = bankctl(&cluster, &[], "bench --accounts 2 --seconds 1");
    let (code, object) = end(&command.env("BANKCTL_SOCKET", cluster.socket(0)).output().unwrap());
    assert_eq!((code, number(&object, "sockets")), (0, 1), "{object}");
}
