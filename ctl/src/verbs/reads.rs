//! The reading verbs: balance, accounts, get, status, watch.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use raftbank_wire::api::{ApiReply, ApiRequest, StatusReply, WatchEvent};
use serde_json::{Value, json};

use super::Context;
use super::writes::{account, unexpected};
use crate::batch::is_before_0_2;
use crate::failure::Failure;
use crate::local::absent;
use crate::output::{SCHEMA, bytes, hex, line, note, table};
use crate::session::unfailed;

/// A look at this machine has at least so long, even if the timeout has passed while the node was asked.
const LOOK_LEAST: Duration = Duration::from_millis(100);

/// `balance`.
///
/// # Errors
/// No such account, or no answer.
pub async fn balance(context: &mut Context, name: &str, local: bool) -> Result<(), Failure> {
    let account = account(name)?.as_str().to_owned();
    let timeout_ms = context.node.timeout_ms();
    let asked = if is_before_0_2(context.node.client().await?.server()) {
        ApiRequest::Balance { account, local, timeout_ms }
    } else {
        ApiRequest::Funds { account, local, timeout_ms }
    };
    let (account, balance, held, pending, height, local) = match context.node.ask(asked).await? {
        ApiReply::Balance { account, balance, pending, height, local } => {
            (account, balance, None, pending, height, local)
        }
        ApiReply::Funds { account, balance, held, pending, height, local } => {
            (account, balance, Some(held), pending, height, local)
        }
        other => return Err(unexpected(&other)),
    };
    let mut object = json!({
        "schema": SCHEMA, "account": account, "balance": balance.to_string(), "height": height,
        "pending": pending.to_string(), "local": local,
    });
    if let Some(held) = held {
        object["held"] = json!(held.to_string());
        object["available"] = json!(balance.saturating_sub(held).to_string());
    }
    context.out.result(&object, || {
        let pending = if pending == 0 { String::new() } else { format!("  pending {pending:+}") };
        let held = match held {
            Some(held @ 1..) => format!("  held {held}, available {}", balance.saturating_sub(held)),
            _ => String::new(),
        };
        let local = if local { format!("  (this node, at height {height})") } else { String::new() };
        format!("{account}  {balance}{held}{pending}{local}")
    });
    Ok(())
}

/// `accounts`.
///
/// # Errors
/// No answer.
pub async fn accounts(context: &mut Context, local: bool) -> Result<(), Failure> {
    let timeout_ms = context.node.timeout_ms();
    match context.node.ask(ApiRequest::Accounts { local, timeout_ms }).await? {
        ApiReply::Accounts { height, mut accounts } => {
            if accounts.iter().all(|(name, _)| name != "world") {
                accounts.push(("world".to_owned(), 0));
            }
            let sum: i128 = accounts.iter().map(|(_, balance)| balance).sum();
            let rows: Vec<Value> = accounts
                .iter()
                .map(|(name, balance)| json!({ "account": name, "balance": balance.to_string() }))
                .collect();
            let object = json!({ "schema": SCHEMA, "height": height, "accounts": rows, "sum": sum.to_string() });
            context.out.result(&object, || {
                let mut rows: Vec<Vec<String>> =
                    accounts.into_iter().map(|(name, balance)| vec![name, balance.to_string()]).collect();
                rows.push(vec!["sum".to_owned(), sum.to_string()]);
                table(&["ACCOUNT", "BALANCE"], &rows, &[false, true])
            });
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// `get`.
///
/// # Errors
/// No such key, or no answer.
pub async fn get(context: &mut Context, key: &str, local: bool) -> Result<(), Failure> {
    if key.is_empty() || key.len() > raftbank_ledger::KEY_BYTES_MAX {
        let message = format!("a key has 1 to {} bytes; this one has {}", raftbank_ledger::KEY_BYTES_MAX, key.len());
        return Err(Failure::usage("bad_key", message));
    }
    let timeout_ms = context.node.timeout_ms();
    match context.node.ask(ApiRequest::Get { key: key.as_bytes().to_vec(), local, timeout_ms }).await? {
        ApiReply::Value { value, height, .. } => {
            if context.out.is_json() {
                let object =
                    json!({ "schema": SCHEMA, "key": key, "value_base64": STANDARD.encode(&value), "height": height });
                line(&object.to_string());
            } else {
                bytes(&value);
                if std::io::IsTerminal::is_terminal(&std::io::stdout()) && !value.ends_with(b"\n") {
                    bytes(b"\n");
                }
            }
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// `status`. Where nobody answers, what can be seen on this machine says why.
///
/// # Errors
/// No answer.
pub async fn status(context: &mut Context) -> Result<(), Failure> {
    let begun = Instant::now();
    let reply = match context.node.ask(ApiRequest::Status).await {
        Err(failure) if failure.code == "unreachable" => {
            let left = context.timeout.saturating_sub(begun.elapsed()).max(LOOK_LEAST);
            let why = absent::look(context.node.path(), Path::new("/"), left).await;
            let socket = context.node.path().display();
            let message = match why.code {
                "silent" => format!("{}: {}", failure.message, why.message),
                _ => format!("no node answers at {socket}: {}", why.message),
            };
            return Err(Failure { next: why.next, ..Failure::new(failure.kind, why.code, message) });
        }
        reply => reply?,
    };
    match reply {
        ApiReply::Status(status) => {
            context.out.result(&status_json(&status), || status_text(context, &status));
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// The object of `status`.
pub fn status_json(status: &StatusReply) -> Value {
    let members: Vec<Value> = status
        .members
        .iter()
        .map(|member| json!({ "id": member.id, "reachable": member.reachable, "height": member.height }))
        .collect();
    json!({
        "schema": SCHEMA, "node": status.node, "role": status.role.as_str(), "leader": status.leader,
        "term": status.term, "height": status.height, "head": hex(&status.head), "members": members,
        "condition": status.condition, "cluster": hex(&status.cluster_id), "pending": status.pending,
        "applied_index": status.applied_index, "commit_index": status.commit_index, "last_index": status.last_index,
        "uptime_ms": status.uptime_ms, "software": status.software,
    })
}

fn status_text(context: &Context, status: &StatusReply) -> String {
    let out = &context.out;
    let leader = status.leader.clone().unwrap_or_else(|| out.red("none"));
    let mut lines = vec![
        format!("node     {} ({})", out.bold(&status.node), status.role.as_str()),
        format!("leader   {leader}, term {}", status.term),
        format!("head     height {}, {}", status.height, hex(&status.head)),
        format!("cluster  {}", hex(&status.cluster_id)),
        format!("software {}, up {} s", status.software, status.uptime_ms / 1_000),
    ];
    if status.pending > 0 {
        lines.push(format!("pending  {} requests", status.pending));
    }
    if let Some(condition) = &status.condition {
        lines.push(format!("{} {condition}: {}", out.red("trouble "), remedy(condition)));
    }
    let rows: Vec<Vec<String>> = status
        .members
        .iter()
        .map(|member| {
            let reachable = if member.reachable { "yes" } else { "no" };
            vec![member.id.clone(), reachable.to_owned(), member.height.to_string()]
        })
        .collect();
    lines.push(String::new());
    lines.push(table(&["MEMBER", "REACHABLE", "HEIGHT"], &rows, &[false, false, true]));
    lines.join("\n")
}

fn remedy(condition: &str) -> &'static str {
    match condition {
        "clock_skew" => "set this machine's clock; the node does not lead until then",
        "no_relay" => "the relay is not reached; look at: systemctl status raftbank-relayd",
        "rejoining" => "the node catches up and does not vote yet; every other member must be up",
        _ => "see the node's log",
    }
}

/// `watch`, until the daemon ends or Ctrl-C.
///
/// # Errors
/// No answer.
pub async fn watch(context: &mut Context) -> Result<(), Failure> {
    let client = context.node.client().await?;
    let mut events = client.stream(ApiRequest::Watch).await;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let reply = tokio::select! {
            reply = events.recv() => reply,
            _ = &mut interrupted => return Ok(()),
        };
        match reply {
            Some(ApiReply::Event(event)) => context.out.result(&event_json(&event), || event_text(&event)),
            Some(other) => return Err(unfailed(other).map_or_else(|failure| failure, |other| unexpected(&other))),
            None => {
                note("the node has ended the watch");
                return Ok(());
            }
        }
    }
}

fn event_json(event: &WatchEvent) -> Value {
    match event {
        WatchEvent::Role { role, leader, term } => {
            json!({ "schema": SCHEMA, "event": "role", "role": role.as_str(), "leader": leader, "term": term })
        }
        WatchEvent::Block { height, hash, requests } => {
            json!({ "schema": SCHEMA, "event": "block", "height": height, "hash": hex(hash), "requests": requests })
        }
        WatchEvent::Balance { account, balance, height } => json!({
            "schema": SCHEMA, "event": "balance", "account": account, "balance": balance.to_string(), "height": height,
        }),
    }
}

fn event_text(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Role { role, leader, term } => {
            let leader = leader.as_deref().unwrap_or("none");
            format!("role     {}  leader {leader}  term {term}", role.as_str())
        }
        WatchEvent::Block { height, hash, requests } => {
            let short: String = hex(hash).chars().take(16).collect();
            format!("block    {height}  {short}…  {requests} requests")
        }
        WatchEvent::Balance { account, balance, height } => format!("balance  {account}  {balance}  height {height}"),
    }
}
