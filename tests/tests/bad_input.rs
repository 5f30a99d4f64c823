//! What people can get wrong, through `bankctl` and the daemons' own configuration: each ends with the exit code of the
//! contract and a sentence, in both output formats, and changes nothing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use raftbank_ledger::{Account, Amount, Operation, Request, RequestId};
use raftbank_tests::ask::{TIMEOUT, balance};
use raftbank_tests::binaries::{Binaries, program};
use raftbank_tests::cluster::{Cluster, Plan};
use raftbank_tests::history::{self, History};
use raftbank_tests::load::{Fate, transfer, write};

/// One command that must fail.
struct Case {
    arguments: Vec<String>,
    exit_code: i32,
    /// Stands in the message.
    word: &'static str,
}

fn case(exit_code: i32, arguments: &[&str], word: &'static str) -> Case {
    Case { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), exit_code, word }
}

fn bankctl(cluster: &Cluster, arguments: &[String], format: &str) -> Output {
    Command::new(program("bankctl").unwrap())
        .arg("--socket")
        .arg(cluster.socket(0))
        .arg("--relay-socket")
        .arg(cluster.relay_socket())
        .args(["-o", format])
        .args(arguments)
        .output()
        .unwrap()
}

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

/// The object on standard output.
fn object(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn must(cluster: &Cluster, arguments: &[&str]) -> serde_json::Value {
    let output = bankctl(cluster, &strings(arguments), "json");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}\n{}", cluster.logs());
    object(&output)
}

/// Runs each case in both formats; tells all that are wrong.
fn refuses(cluster: &Cluster, cases: &[Case]) {
    let wrong: Vec<String> = cases.iter().flat_map(|case| faults(cluster, case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn faults(cluster: &Cluster, Case { arguments, exit_code, word }: &Case) -> Vec<String> {
    let table = bankctl(cluster, arguments, "table");
    let text = String::from_utf8_lossy(&table.stderr).into_owned();
    let json = bankctl(cluster, arguments, "json");
    let object = object(&json);
    let message = object["error"]["message"].as_str().unwrap_or_default().to_owned();
    let has_word = |text: &str| text.to_lowercase().contains(&word.to_lowercase());
    [
        (table.status.code() == Some(*exit_code), "exit code"),
        (json.status.code() == Some(*exit_code), "exit code with -o json"),
        (has_word(&text) && has_word(&message), "the word"),
        // A sentence, of which a person can make something.
        (text.split_whitespace().count() > 4 && message.split_whitespace().count() >= 3, "a sentence"),
        (!text.contains("panicked"), "no panic"),
        (object["schema"] == 1 && object["error"]["code"].as_str().is_some_and(|code| !code.is_empty()), "the object"),
        (table.stdout.is_empty(), "nothing on standard output"),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, what)| {
        format!("{arguments:?}: not {what} ({exit_code}, \"{word}\"): {:?} {text} {object}", table.status.code())
    })
    .collect()
}

#[tokio::test]
async fn commands_that_make_no_sense() {
    let mut cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let before = must(&cluster, &["accounts"]);
    let long = "x".repeat(65);
    let memo = "x".repeat(257);
    let key = "k".repeat(257);

    let mut cases = Vec::new();
    for amount in ["0", "-50", "1.5", "abc", "", "1e3", "+5", " 5", "9223372036854775808", "18446744073709551616"] {
        cases.push(case(2, &["transfer", "a0", "a1", amount], ""));
        cases.push(case(2, &["credit", "a0", amount], ""));
        cases.push(case(2, &["debit", "a0", amount], ""));
    }
    for name in ["", long.as_str(), "a b", "ä", "a/b", "a\n"] {
        cases.push(case(2, &["open", name], "account"));
        cases.push(case(2, &["balance", name], "account"));
        cases.push(case(2, &["transfer", name, "a1", "5"], "account"));
        cases.push(case(2, &["transfer", "a0", name, "5"], "account"));
    }
    for id in ["", long.as_str(), "a b", "ü"] {
        cases.push(case(2, &["transfer", "a0", "a1", "5", "--id", id], "id"));
    }
    cases.push(case(2, &["transfer", "a0", "a1", "5", "--memo", &memo], "memo"));
    cases.push(case(2, &["put", &key, "value"], "key"));
    cases.push(case(2, &["put", "", "value"], "key"));
    cases.push(case(2, &["get", ""], "key"));
    cases.push(case(3, &["get", "nothing"], "key"));
    cases.push(case(3, &["balance", "nobody"], "account"));
    cases.push(case(2, &["transfer", "a0", "a1"], "amount"));
    cases.push(case(2, &["transfer", "a0", "a1", "5", "--timeout", "soon"], "timeout"));
    cases.push(case(2, &["transferr", "a0"], "transferr"));
    cases.push(case(2, &["block", "minus"], "minus"));
    refuses(&cluster, &cases);

    let after = must(&cluster, &["accounts"]);
    assert_eq!(before, after, "something changed");
    history::check(&mut cluster, &History::default()).await.unwrap();
}

#[tokio::test]
async fn requests_that_the_bank_refuses() {
    let mut cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let first = must(&cluster, &["transfer", "a0", "a1", "5", "--id", "once"]);
    assert_eq!((&first["outcome"], &first["duplicate"]), (&"committed".into(), &false.into()));
    refuses(
        &cluster,
        &[
            case(3, &["transfer", "a0", "nobody", "5"], "account"),
            case(3, &["transfer", "nobody", "a0", "5"], "account"),
            case(3, &["transfer", "a0", "a0", "5"], "account"),
            case(3, &["open", "a0"], "account"),
            case(3, &["open", "world"], "account"),
            case(3, &["transfer", "a0", "a1", "999996"], ""),
            case(3, &["debit", "a0", "999996"], ""),
            case(3, &["credit", "a0", "9223372036854775807"], ""),
            case(3, &["transfer", "a0", "a1", "6", "--id", "once"], "id"),
            case(3, &["transfer", "a1", "a0", "5", "--id", "once"], "id"),
            case(3, &["open", "fresh", "--id", "once"], "id"),
        ],
    );
    // Refusals are told by their codes.
    for (arguments, code) in [
        (["transfer", "a0", "nobody", "5"], "unknown_account"),
        (["transfer", "a0", "a0", "5"], "same_account"),
        (["transfer", "a0", "a1", "999996"], "insufficient_funds"),
    ] {
        let refusal = object(&bankctl(&cluster, &strings(&arguments), "json"));
        assert_eq!(refusal["error"]["code"], code, "{refusal}");
        assert!(refusal["height"].is_u64() && refusal["id"].is_string(), "recorded: {refusal}");
    }
    let again = must(&cluster, &["transfer", "a0", "a1", "5", "--id", "once"]);
    assert_eq!(
        (&again["height"], &again["index"], &again["duplicate"]),
        (&first["height"], &first["index"], &true.into())
    );
    // To the last unit, and not one more.
    must(&cluster, &["transfer", "a0", "a1", "999995"]);
    refuses(&cluster, &[case(3, &["transfer", "a0", "a1", "1"], "")]);
    let client = cluster.client(1).await.unwrap();
    assert_eq!(balance(&client, "a0", TIMEOUT).await.unwrap(), 0);
    assert_eq!(balance(&client, "a1", TIMEOUT).await.unwrap(), 2_000_000);
    history::check(&mut cluster, &History::default()).await.unwrap();
}

#[tokio::test]
async fn no_overdraft_with_many_transfers_in_flight() {
    let mut plan = Plan::new(3).unwrap();
    plan.balance = 1_000;
    let mut cluster = Cluster::start(plan).await.unwrap();
    cluster.leader().await.unwrap();
    let mut under_way = Vec::new();
    for number in 0..100 {
        let client = cluster.client(number % 3).await.unwrap();
        under_way.push(tokio::spawn(async move {
            let request = transfer(&format!("many-{number}"), "a0", "a1", 30).unwrap();
            write(&client, &request, TIMEOUT).await
        }));
    }
    let (mut paid, mut refused) = (0, 0);
    for one in under_way {
        match one.await.unwrap() {
            Fate::Acknowledged { outcome, .. } if outcome == "committed" => paid += 1,
            Fate::Acknowledged { outcome, .. } if outcome == "insufficient_funds" => refused += 1,
            other => panic!("{other:?}\n{}", cluster.logs()),
        }
    }
    assert_eq!((paid, refused), (33, 67), "1000 is 33 times 30");
    assert_eq!(balance(&cluster.client(0).await.unwrap(), "a0", TIMEOUT).await.unwrap(), 10);
    history::check(&mut cluster, &History::default()).await.unwrap();
}

#[tokio::test]
async fn malformed_requests_from_another_client_reach_no_block() {
    let mut cluster = Cluster::start(Plan::new(1).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let client = cluster.client(0).await.unwrap();
    let operation = Operation::Credit { account: Account::parse("a0").unwrap(), amount: Amount::new(5).unwrap() };
    let good = Request::new(RequestId::parse("fine").unwrap(), operation).unwrap().encode();
    let mut bad = vec![Vec::new(), vec![0; 100], vec![0xff; 100], [&good[..], &[0]].concat()];
    bad.extend((0..good.len()).map(|length| good[..length].to_vec()));
    for bytes in bad {
        let asked = raftbank_wire::api::ApiRequest::Write { request: bytes.clone(), timeout_ms: 5_000 };
        let reply = client.call(asked, Duration::from_secs(10)).await.unwrap();
        assert!(
            matches!(&reply, raftbank_wire::api::ApiReply::Failed { kind: raftbank_wire::api::FailKind::Usage, .. }),
            "{bytes:?} got {reply:?}"
        );
    }
    assert_eq!(cluster.converged().await.unwrap().height, 0);
    assert_eq!(cluster.casualties(), Vec::<String>::new());
}

#[tokio::test]
async fn partitions_with_a_mistake_change_nothing() {
    let cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    must(&cluster, &["partition", "set", "n1,n2/n3"]);
    let before = must(&cluster, &["partition"]);
    assert_eq!(before["groups"], serde_json::json!([["n1", "n2"], ["n3"]]));
    refuses(
        &cluster,
        &[
            case(2, &["partition", "set", "n1,n2,n1/n3"], "n1"),
            case(2, &["partition", "set", "n1,n2/n2,n3"], "n2"),
            case(2, &["partition", "set", "n1/n3"], "n2"),
            case(2, &["partition", "set", "n1,n2/n4"], "n4"),
            case(2, &["partition", "set", "n1,n2/n3,n4"], "n4"),
            case(2, &["partition", "set", "n1,n2/"], ""),
            case(2, &["partition", "set", "n1,,n2/n3"], ""),
            case(2, &["partition", "set", "n1 n2/n3"], ""),
            case(2, &["partition", "set", "N1,n2/n3"], "N1"),
            case(2, &["partition", "set", ""], ""),
            case(2, &["partition", "set", "n1,n2/n3", "--for", "ever"], "ever"),
            case(2, &["partition", "sett", "n1,n2/n3"], "sett"),
            case(2, &["link", "cut", "n1", "n9"], "n9"),
            case(2, &["link", "cut", "n1", "n1"], "n1"),
            case(2, &["link", "loss", "101"], ""),
            case(2, &["link", "loss", "-1"], ""),
            case(2, &["link", "loss", "many"], "many"),
            case(2, &["link", "delay", "5s..1s"], ""),
            case(2, &["link", "delay", "later"], "later"),
        ],
    );
    assert_eq!(must(&cluster, &["partition"]), before, "a mistake changed the partition");
    let links = must(&cluster, &["link"]);
    assert_eq!(links["cuts"], serde_json::json!([]));
    assert_eq!(links["delay_ms"], serde_json::json!([0, 0]));
}

#[tokio::test]
async fn nobody_is_there() {
    let mut cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    cluster.kill_node(0).unwrap();
    // A socket that its owner left behind, then none at all.
    for _ in 0..2 {
        refuses(
            &cluster,
            &[
                case(4, &["transfer", "a0", "a1", "5"], "n1.sock"),
                case(4, &["balance", "a0"], "n1.sock"),
                case(4, &["status"], "n1.sock"),
            ],
        );
        let _ = fs::remove_file(cluster.socket(0));
    }
    cluster.kill_relay().unwrap();
    refuses(&cluster, &[case(4, &["partition"], "relay.sock"), case(4, &["link"], "relay.sock")]);
}

fn check(program: &Path, config: &Path) -> (Option<i32>, String) {
    let output = Command::new(program).arg("--config").arg(config).arg("--check-config").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn configurations_with_a_mistake() {
    let binaries = Binaries::get().unwrap();
    let cluster = Cluster::make(Plan::new(3).unwrap()).unwrap();
    let node = fs::read_to_string(cluster.config(0)).unwrap();
    let relay = fs::read_to_string(cluster.file("relayd.toml")).unwrap();
    let genesis = fs::read_to_string(cluster.file("genesis.toml")).unwrap();
    assert_eq!(check(&binaries.node, &cluster.config(0)).0, Some(0));
    assert_eq!(check(&binaries.relay, &cluster.file("relayd.toml")).0, Some(0));

    let address = cluster.listen().to_string();
    for (text, word) in [
        (node.replace("[relay]", "[relay]\nadress = \"x\""), "adress"),
        (node.replace("[node]", "[node]\ncolour = 1"), "colour"),
        (node.replace(&address, "127.0.0.1"), "relay.address"),
        (node.replace(&address, "127.0.0.1:99999"), "relay.address"),
        (node.replace(&address, "127.0.0.1:http"), "relay.address"),
        (node.replace(&address, ""), "relay.address"),
        (node.replace("id = \"n1\"", "id = \"n9\""), "n9"),
        (node.replace("id = \"n1\"", "id = \"n 1\""), "node.id"),
        (node.replace("id = \"n1\"\n", ""), "id"),
        (node.replace("genesis.toml", "nothing.toml"), "nothing.toml"),
        (node.replace("[relay]", "[relay"), ""),
        (String::new(), "node"),
    ] {
        fs::write(cluster.file("bad.toml"), &text).unwrap();
        let (code, message) = check(&binaries.node, &cluster.file("bad.toml"));
        assert!(code == Some(2) && message.contains(word), "{text}\n{code:?}: no \"{word}\" in {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
    for (text, word) in [
        (relay.replace("[relay]", "[relay]\nlisten_on = 1"), "listen_on"),
        (relay.replace("\"n2\", ", "\"n1\", "), "n1"),
        (relay.replace(&address, "127.0.0.1"), "listen"),
        (relay.replace(&address, "localhost:x"), "listen"),
        (relay.replace("members = [\"n1\", \"n2\", \"n3\"]\n", ""), "members"),
        (String::new(), "relay"),
    ] {
        fs::write(cluster.file("bad.toml"), &text).unwrap();
        let (code, message) = check(&binaries.relay, &cluster.file("bad.toml"));
        assert!(code == Some(2) && message.contains(word), "{text}\n{code:?}: no \"{word}\" in {message}");
    }
    for (text, word) in [
        (genesis.replace("\"n2\", ", ""), ""),
        (genesis.replace("\"n2\"", "\"n1\""), "n1"),
        (genesis.replace("members = [\"n1\", \"n2\", \"n3\"]", "members = []"), "member"),
        (genesis.replace("difficulty = 8", "difficulty = 25"), "difficulty"),
        (genesis.replace("salt = ", "slat = "), "slat"),
        (genesis.replace("balance = 1000000", "balance = -1"), ""),
    ] {
        fs::write(cluster.file("bad-genesis.toml"), &text).unwrap();
        fs::write(cluster.file("bad.toml"), node.replace("genesis.toml", "bad-genesis.toml")).unwrap();
        let (code, message) = check(&binaries.node, &cluster.file("bad.toml"));
        // A bank of two nodes is valid, and n1's folder is not of it: that is found at the start, not here.
        let is_two = text.contains("[\"n1\", \"n3\"]");
        assert_eq!(code, Some(if is_two { 0 } else { 2 }), "{text}\n{message}");
        assert!(is_two || (message.contains("bad-genesis.toml") && message.contains(word)), "{message}");
        let output = Command::new(&binaries.node).arg("--config").arg(cluster.file("bad.toml")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}\n{output:?}");
    }
}
