//! Verbs about the chain: block, blocks, export, verify.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use raftbank_ledger::{Block, Operation};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Context;
use super::writes::unexpected;
use crate::dev::binary;
use crate::failure::Failure;
use crate::output::{SCHEMA, bytes, hex, line, table};
use crate::session::unfailed;

/// A block as JSON: everything that is hashed is in it.
pub fn block_json(block: &Block) -> Value {
    let header = &block.header;
    let requests: Vec<Value> = block
        .entries
        .iter()
        .map(|entry| {
            let mut object = json!({
                "id": entry.request.id.as_str(), "verb": entry.request.verb(), "outcome": entry.outcome.code(),
            });
            match &entry.request.operation {
                Operation::Open { account } => object["account"] = json!(account.as_str()),
                Operation::Transfer { from, to, amount, memo } => {
                    object["from"] = json!(from.as_str());
                    object["to"] = json!(to.as_str());
                    object["amount"] = json!(amount.to_string());
                    object["memo"] = json!(memo);
                }
                Operation::Credit { account, amount } | Operation::Debit { account, amount } => {
                    object["account"] = json!(account.as_str());
                    object["amount"] = json!(amount.to_string());
                }
                Operation::Put { key, value } => {
                    object["key_base64"] = json!(STANDARD.encode(key));
                    object["value_base64"] = json!(STANDARD.encode(value));
                    if let Ok(key) = std::str::from_utf8(key) {
                        object["key"] = json!(key);
                    }
                }
            }
            object
        })
        .collect();
    json!({
        "schema": SCHEMA, "height": header.height, "hash": block.hash().to_string(),
        "previous": header.previous.to_string(), "term": header.term, "proposer": header.proposer.as_str(),
        "time_ms": header.time_ms, "nonce": header.nonce, "difficulty": header.difficulty,
        "transaction_root": header.transaction_root.to_string(), "state_root": header.state_root.to_string(),
        "version": header.version, "cluster_id": header.cluster_id.to_string(), "requests": requests,
    })
}

fn decode(bytes: &[u8]) -> Result<Block, Failure> {
    Block::decode(bytes).map_err(|error| {
        Failure::new(FailKind::Corruption, "bad_block", format!("the node sent a block that is none: {error}"))
    })
}

/// `block`.
///
/// # Errors
/// No such block, or no answer.
pub async fn block(context: &mut Context, height: u64) -> Result<(), Failure> {
    match context.node.ask(ApiRequest::Block { height }).await? {
        ApiReply::Block { bytes } => {
            let block = decode(&bytes)?;
            context.out.result(&block_json(&block), || block_text(&block));
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

fn block_text(block: &Block) -> String {
    let header = &block.header;
    let time =
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_millis(header.time_ms));
    let mut lines = vec![
        format!("height      {}", header.height),
        format!("hash        {}", block.hash()),
        format!("previous    {}", header.previous),
        format!("term        {}, proposed by {}", header.term, header.proposer),
        format!("time        {time}"),
        format!("work        difficulty {} bits, nonce {}", header.difficulty, header.nonce),
        format!("requests in {}", header.transaction_root),
        format!("state after {}", header.state_root),
        String::new(),
    ];
    let rows: Vec<Vec<String>> = block
        .entries
        .iter()
        .map(|entry| {
            let what = match &entry.request.operation {
                Operation::Open { account } => account.to_string(),
                Operation::Transfer { from, to, amount, memo } if memo.is_empty() => {
                    format!("{from} -> {to}  {amount}")
                }
                Operation::Transfer { from, to, amount, memo } => format!("{from} -> {to}  {amount}  {memo:?}"),
                Operation::Credit { account, amount } | Operation::Debit { account, amount } => {
                    format!("{account}  {amount}")
                }
                Operation::Put { key, value } => format!("{:?}  {} bytes", String::from_utf8_lossy(key), value.len()),
            };
            vec![entry.request.id.to_string(), entry.request.verb().to_owned(), entry.outcome.code().to_owned(), what]
        })
        .collect();
    lines.push(table(&["ID", "VERB", "OUTCOME", "WHAT"], &rows, &[false; 4]));
    lines.join("\n")
}

/// `blocks` and `export`: one line a block.
///
/// # Errors
/// No answer, or a block that is none.
pub async fn blocks(context: &mut Context, from: u64, to: Option<u64>, export: bool) -> Result<(), Failure> {
    if to.is_some_and(|to| to < from) {
        return Err(Failure::usage("bad_range", format!("--to {} is before --from {from}", to.unwrap_or(0))));
    }
    let as_json = export || context.out.is_json();
    let client = context.node.client().await?;
    let mut stream = client.stream(ApiRequest::Blocks { from, to }).await;
    if !as_json {
        line(&format!("{:>8}  {:<16}  {:>6}  {:<8}  {:>8}", "HEIGHT", "HASH", "TERM", "PROPOSER", "REQUESTS"));
    }
    loop {
        let Ok(item) = timeout(context.timeout, stream.recv()).await else {
            return Err(Failure::new(FailKind::NotExecuted, "timeout", "the node stopped sending blocks"));
        };
        match item {
            Some(ApiReply::Block { bytes }) => {
                let block = decode(&bytes)?;
                if as_json {
                    line(&block_json(&block).to_string());
                } else {
                    let header = &block.header;
                    let hash: String = block.hash().to_string().chars().take(16).collect();
                    line(&format!(
                        "{:>8}  {hash:<16}  {:>6}  {:<8}  {:>8}",
                        header.height,
                        header.term,
                        header.proposer.as_str(),
                        header.request_count
                    ));
                }
            }
            Some(ApiReply::End { .. }) => return Ok(()),
            Some(other) => return Err(unfailed(other).map_or_else(|failure| failure, |other| unexpected(&other))),
            None => {
                return Err(Failure::new(FailKind::NotExecuted, "connection_lost", "the node stopped sending blocks"));
            }
        }
    }
}

/// `verify` of a running node.
///
/// # Errors
/// Corruption, or no answer.
pub async fn verify(context: &mut Context) -> Result<(), Failure> {
    let client = context.node.client().await?;
    let mut stream = client.stream(ApiRequest::Verify).await;
    let bar = progress_bar("blocks");
    loop {
        let Ok(item) = timeout(context.timeout, stream.recv()).await else {
            return Err(Failure::new(FailKind::NotExecuted, "timeout", "the node stopped telling how far it is"));
        };
        match item {
            Some(ApiReply::Progress { done, total }) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Some(ApiReply::Verified { ok, height, head, blocks, transactions, uncommitted, problem }) => {
                bar.finish_and_clear();
                let head = hex(&head);
                let mut object = json!({
                    "schema": SCHEMA, "ok": ok, "height": height, "head": head, "blocks": blocks,
                    "transactions": transactions, "uncommitted": uncommitted,
                });
                if let Some(problem) = problem {
                    if context.out.is_json() {
                        object["error"] = json!({ "code": "corruption", "message": problem });
                        line(&object.to_string());
                        return Err(Failure::new(FailKind::Corruption, "", ""));
                    }
                    return Err(Failure::new(FailKind::Corruption, "corruption", problem)
                        .hint("stop this node, move its data folder away, and start it with: raftbankd --rejoin"));
                }
                context.out.result(&object, || {
                    format!(
                        "{}: {blocks} blocks, {transactions} requests, height {height}\nhead {head}{}",
                        context.out.green("ok"),
                        if uncommitted > 0 {
                            format!("\n{uncommitted} records are not known to be committed")
                        } else {
                            String::new()
                        }
                    )
                });
                return Ok(());
            }
            Some(other) => return Err(unfailed(other).map_or_else(|failure| failure, |other| unexpected(&other))),
            None => return Err(Failure::new(FailKind::NotExecuted, "connection_lost", "the node is gone")),
        }
    }
}

/// `verify --data-dir`: `raftbankd` knows the store, so it does the work.
///
/// # Errors
/// `raftbankd` cannot be started.
pub fn verify_folder(context: &Context, dir: &Path) -> Result<u8, Failure> {
    let program = binary("raftbankd")?;
    let mut command = Command::new(&program);
    command.arg("--verify").arg(dir);
    let trouble =
        |error: std::io::Error| Failure::internal(format!("{} cannot be started: {error}", program.display()));
    let code = |status: std::process::ExitStatus| status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    if !context.out.is_json() {
        return command.args(["--output", "table"]).status().map(code).map_err(trouble);
    }
    let output = command.args(["--output", "json"]).output().map_err(trouble)?;
    if output.stdout.is_empty() && !output.status.success() {
        // It could not even begin, and says why in a sentence only.
        let text = String::from_utf8_lossy(&output.stderr);
        let kind = match code(output.status) {
            2 => FailKind::Usage,
            6 => FailKind::Corruption,
            _ => FailKind::Internal,
        };
        return Err(Failure::new(kind, "not_verified", text.trim().trim_start_matches("raftbankd: ")));
    }
    bytes(&output.stdout);
    Ok(code(output.status))
}

/// A progress bar on a terminal, nothing elsewhere.
pub fn progress_bar(unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}  {{eta}} left"))
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
