//! The program as the supervisor and the operator see it: flags, exit codes, signals, logs.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use common::{Relay, configure, exchange, program};
use raftbank_wire::api::LinkCommand;

fn run(command: &mut std::process::Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn help_and_version() {
    let (code, text) = run(program().arg("--help"));
    assert!(code == 0 && text.contains("Examples:"), "{text}");
    let (code, text) = run(program().arg("--version"));
    assert!(code == 0 && text.starts_with("raftbank-relayd "), "{text}");
    let (code, _) = run(program().arg("--bogus"));
    assert_eq!(code, 2);
}

#[test]
fn a_configuration_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = configure(dir.path(), "");
    let (code, text) = run(program().arg("--check-config").arg("--config").arg(&path));
    assert!(code == 0 && text.contains("n1, n2, n3"), "{text}");
    let (code, text) =
        run(program().env("RAFTBANK_RELAYD_RELAY__MEMBERS", "a,b").arg("--check-config").arg("--config").arg(&path));
    assert!(code == 0 && text.contains("a, b"), "{text}");
    for (name, value, word) in [
        ("RAFTBANK_RELAYD_RELAY__LISEN", "127.0.0.1:1", "lisen"),
        ("RAFTBANK_RELAYD_LOG__LEVEL", "loud", "log.level"),
        ("RAFTBANK_RELAYD_RELAY__MEMBERS", "a,a", "twice"),
    ] {
        for check in [true, false] {
            let mut command = program();
            command.env(name, value).args(check.then_some("--check-config")).arg("--config").arg(&path);
            let (code, text) = run(&mut command);
            assert!(code == 2 && text.contains(word) && text.contains("relayd.toml"), "{code}: {text}");
        }
    }
    let (code, text) = run(program().arg("--config").arg(dir.path().join("none.toml")));
    assert!(code == 2 && text.contains("none.toml"), "{text}");
    assert!(!dir.path().join("relay.sock").exists());
}

#[tokio::test]
async fn a_second_relay_is_refused_and_a_dead_one_replaced() {
    let relay = Relay::start();
    assert_eq!(std::fs::metadata(&relay.socket).unwrap().permissions().mode() & 0o777, 0o660);
    let (code, text) = run(program().arg("--config").arg(&relay.config));
    assert!(code == 2 && text.contains("served by another process"), "{code}: {text}");
    let (code, text) = run(program()
        .env("RAFTBANK_RELAYD_RELAY__LISTEN", relay.address.to_string())
        .env("RAFTBANK_RELAYD_RELAY__SOCKET", relay.socket.with_extension("other"))
        .arg("--config")
        .arg(&relay.config));
    assert!(code == 1 && text.contains("relay.listen"), "{code}: {text}");
    relay.operator().await.status().await;
    // Killed: the socket stays behind, and the next one takes it.
    let relay = relay.restart();
    relay.operator().await.status().await;
}

#[tokio::test]
async fn term_and_int_stop_cleanly() {
    for name in ["TERM", "INT"] {
        let mut relay = Relay::start();
        let operator = relay.operator().await;
        let nodes = relay.three().await;
        relay.signal(name);
        assert_eq!(relay.ended().code(), Some(0));
        relay.line("stopped as asked").await;
        assert!(!relay.socket.exists());
        drop((nodes, operator));
    }
}

#[tokio::test]
async fn messages_are_logged_with_their_fate_after_a_reload() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    exchange(&mut nodes, "not logged").await;
    configure(relay.config.parent().unwrap(), "messages = true");
    relay.signal("HUP");
    let line = relay.line("reloaded").await;
    assert!(line.contains("messages=true"), "{line}");

    nodes[0].send(1, "12345");
    let line = relay.line("n1 -> n2").await;
    assert!(line.contains("5 bytes: forwarded"), "{line}");
    operator.partition("n1/n2,n3", None).await;
    nodes[0].send(1, "12345");
    let line = relay.line("n1 -> n2").await;
    assert!(line.contains("dropped: partition"), "{line}");
    operator.heal().await;
    operator.link(LinkCommand::Delay { min_ms: 1, max_ms: 2, for_ms: None }).await;
    nodes[0].send(2, "123");
    let line = relay.line("n1 -> n3").await;
    assert!(line.contains("delayed by"), "{line}");
    relay.line("n1 -> n3, 3 bytes: forwarded").await;

    // A configuration that is wrong changes nothing.
    configure(relay.config.parent().unwrap(), "mesages = true");
    relay.signal("HUP");
    relay.line("not reloaded").await;
    nodes[2].send(0, "1");
    relay.line("n3 -> n1, 1 bytes").await;
}
