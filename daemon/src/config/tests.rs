use std::path::Path;

use super::{Config, ConfigError, ENV_PREFIX, service};

const GOOD: &str = r#"
[node]
id = "n1"
data_dir = "data/n1"
genesis = "genesis.toml"
socket = "n1.sock"
[relay]
address = "127.0.0.1:7400"
"#;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).expect("written");
    load_file(&path, variables)
}

fn load_file(path: &Path, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    service::load_from::<Config>(path, ENV_PREFIX, &[], variables)?.checked(path)
}

/// The message of the error, which must name the file and each of `words`.
fn refused(text: &str, variables: &[(&str, &str)], words: &[&str]) {
    let message = load(text, variables).expect_err("must be refused").to_string();
    for word in words.iter().chain(&["node.toml"]) {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
    assert!(!message.contains('\n'), "one line: {message:?}");
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = load(GOOD, &[]).expect("valid");
    assert_eq!((config.timers.tick_ms, config.timers.heartbeat_ms), (10, 50));
    assert_eq!((config.timers.election_min_ms, config.timers.election_max_ms), (150, 300));
    assert_eq!((config.batch.requests_max, config.batch.bytes_max), (8192, 1 << 20));
    assert_eq!((config.log.level.as_str(), config.log.dir()), ("info", None));
    let ticks = config.timers.ticks();
    assert_eq!((ticks.heartbeat_ticks, ticks.election_ticks_min, ticks.election_ticks_max), (5, 15, 30));
}

#[test]
fn the_shipped_sample_is_valid() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/raftbankd.toml");
    load_file(&sample, &[]).expect("valid");
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        GOOD,
        &[
            ("RAFTBANKD_NODE__ID", "n2"),
            ("RAFTBANKD_NODE__DATA_DIR", "elsewhere"),
            ("RAFTBANKD_TIMERS__ELECTION_MAX_MS", "900"),
            ("RAFTBANKD_LOG__LEVEL", "debug"),
            ("UNRELATED", "x"),
        ],
    )
    .expect("valid");
    assert_eq!(config.node.id, "n2");
    assert_eq!(config.node.data_dir, Path::new("elsewhere"));
    assert_eq!(config.timers.election_max_ms, 900);
    assert_eq!(config.log.level, "debug");
    // A name of digits stays the name it is.
    assert_eq!(load(GOOD, &[("RAFTBANKD_NODE__ID", "007")]).expect("valid").node.id, "007");
}

#[test]
fn the_environment_can_supply_what_the_file_leaves_out() {
    let text = GOOD.replace("id = \"n1\"", "");
    refused(&text, &[], &["node.id"]);
    assert_eq!(load(&text, &[("RAFTBANKD_NODE__ID", "n3")]).expect("valid").node.id, "n3");
}

#[test]
fn unknown_keys_are_errors_wherever_they_stand() {
    refused(&GOOD.replace("id =", "idd ="), &[], &["idd"]);
    refused(&format!("{GOOD}\n[timers]\nhartbeat_ms = 5\n"), &[], &["hartbeat_ms"]);
    refused(&format!("{GOOD}\n[bach]\n"), &[], &["bach"]);
    refused(&format!("peers = [\"n2\"]\n{GOOD}"), &[], &["peers"]);
    refused(GOOD, &[("RAFTBANKD_NODE__NAME", "n1")], &["name"]);
}

#[test]
fn missing_keys_are_named() {
    refused(&GOOD.replace("address = \"127.0.0.1:7400\"", ""), &[], &["address"]);
    refused(&GOOD.replace("genesis = \"genesis.toml\"", ""), &[], &["genesis"]);
}

#[test]
fn what_is_not_toml_or_not_a_number_is_refused() {
    refused("[node\nid = 1", &[], &[]);
    refused(&format!("{GOOD}\n[timers]\ntick_ms = \"soon\"\n"), &[], &["tick_ms", "soon"]);
    refused(&format!("{GOOD}\n[timers]\ntick_ms = -1\n"), &[], &["tick_ms"]);
    let missing = Config::load(Path::new("/nonexistent/node.toml")).expect_err("missing").to_string();
    assert!(missing.contains("/nonexistent/node.toml"), "{missing}");
}

#[test]
fn bad_addresses_are_refused() {
    for bad in ["", "relay", "relay:", ":7400", "relay:0", "relay:65536", "relay:+80", "re lay:80", "::1:7400", "[x]:1"]
    {
        refused(GOOD, &[("RAFTBANKD_RELAY__ADDRESS", bad)], &["relay.address", bad]);
    }
    for good in ["relay:7400", "bank-relay.example:1", "10.0.0.1:65535", "[::1]:7400"] {
        load(GOOD, &[("RAFTBANKD_RELAY__ADDRESS", good)]).expect(good);
    }
}

#[test]
fn bad_names_paths_and_levels_are_refused() {
    for bad in ["", "n 1", "n/1", &"n".repeat(33)] {
        refused(GOOD, &[("RAFTBANKD_NODE__ID", bad)], &["node.id"]);
    }
    refused(GOOD, &[("RAFTBANKD_NODE__DATA_DIR", "")], &["node.data_dir"]);
    refused(GOOD, &[("RAFTBANKD_NODE__SOCKET", &"s".repeat(108))], &["node.socket", "108"]);
    refused(GOOD, &[("RAFTBANKD_LOG__LEVEL", "loud")], &["log.level", "loud"]);
}

#[test]
fn timers_keep_their_order() {
    for (timers, key) in [
        ("tick_ms = 0", "tick_ms"),
        ("tick_ms = 1001", "tick_ms"),
        ("heartbeat_ms = 9", "heartbeat_ms"),
        ("heartbeat_ms = 150", "election_min_ms"),
        ("election_min_ms = 300", "election_max_ms"),
        ("election_max_ms = 600001", "election_max_ms"),
        // In order in milliseconds, but the same number of ticks.
        ("tick_ms = 100\nheartbeat_ms = 110", "election_min_ms"),
        ("election_min_ms = 295", "election_max_ms"),
    ] {
        refused(&format!("{GOOD}\n[timers]\n{timers}\n"), &[], &[key]);
    }
    load(&format!("{GOOD}\n[timers]\ntick_ms = 1\nheartbeat_ms = 1\nelection_min_ms = 2\nelection_max_ms = 3\n"), &[])
        .expect("the shortest timers");
}

#[test]
fn checkpoints_may_be_off_and_not_too_rare() {
    assert_eq!(load(GOOD, &[]).expect("valid").checkpoints.interval_ms, 100);
    for good in [0, 1, 60_000] {
        let text = format!("{GOOD}\n[checkpoints]\ninterval_ms = {good}\n");
        assert_eq!(load(&text, &[]).expect("valid").checkpoints.interval_ms, good);
    }
    refused(&format!("{GOOD}\n[checkpoints]\ninterval_ms = 60001\n"), &[], &["checkpoints.interval_ms", "60001"]);
    refused(&format!("{GOOD}\n[checkpoints]\nevery_ms = 1\n"), &[], &["every_ms"]);
}

#[test]
fn batches_are_bounded() {
    for (batch, key) in [
        ("requests_max = 0", "requests_max"),
        ("requests_max = 16385", "requests_max"),
        ("bytes_max = 1000", "bytes_max"),
        ("bytes_max = 4194304", "bytes_max"),
    ] {
        refused(&format!("{GOOD}\n[batch]\n{batch}\n"), &[], &[key]);
    }
}
