//! `verify`: every block is executed again from genesis on and compared, on a running node or in a stopped one's folder.

use std::path::Path;
use std::process::Command;

use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use serde_json::json;

use super::Context;
use super::writes::unexpected;
use crate::dev::binary;
use crate::failure::Failure;
use crate::output::{SCHEMA, bytes, hex, line};
use crate::stream::Stream;

/// `verify` of a running node.
///
/// # Errors
/// Corruption, or no answer.
pub async fn run(context: &mut Context) -> Result<(), Failure> {
    let mut stream = Stream::open(&mut context.node, ApiRequest::Verify).await?;
    match stream.last("blocks").await? {
        ApiReply::Verified { ok, height, head, blocks, transactions, uncommitted, problem } => {
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
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// `verify --data-dir`: `raftbankd` knows the store, so it does the work.
///
/// # Errors
/// `raftbankd` cannot be started.
pub fn folder(context: &Context, dir: &Path) -> Result<u8, Failure> {
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
