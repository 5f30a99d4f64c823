//! `verify`: every block is executed again from genesis on and compared: of a running node, in a stopped one's folder, or
//! in an export, which needs no server.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use raftbank_ledger::Hash;
use raftbank_proofs::{Checkpoint, Keys};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use serde_json::json;

use super::writes::unexpected;
use super::{Context, verify_export};
use crate::describe;
use crate::dev::binary;
use crate::failure::Failure;
use crate::files::{self, not_valid, unproven};
use crate::output::{Out, SCHEMA, bytes, line, note};
use crate::stream::Stream;

/// The command line of `verify`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A chain whose end was cut off is a chain: only a checkpoint that was kept shows it.

Examples:
  bankctl verify
  bankctl verify --checkpoint monday.txt               # and the chain must contain this head
  bankctl verify --data-dir /var/lib/raftbank          # of a stopped node; changes nothing
  bankctl export | bankctl verify --export -
  bankctl verify --export chain.jsonl --checkpoint monday.txt --keys keys.txt   # needs no server")]
pub struct VerifyArgs {
    /// A stopped node's data folder, instead of a running node.
    #[arg(long, value_name = "DIR", conflicts_with = "export")]
    pub data_dir: Option<PathBuf>,
    /// A complete export, instead of a running node; `-`: standard input. No server is asked.
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// A head that the chain must contain.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Who must have signed the checkpoint.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

/// A head that the chain must contain.
#[derive(Clone, Debug)]
pub struct Against {
    /// As it was read.
    pub checkpoint: Checkpoint,
    /// Names of the keys that signed it; `None` if nobody looked.
    pub signers: Option<Vec<String>>,
}

/// What a verification has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Height of the last block that was verified.
    pub height: u64,
    /// Its hash.
    pub head: Hash,
    /// The hash of block 0, if it was looked at here.
    pub cluster_id: Option<Hash>,
    /// The root of the log tree, if it was computed here.
    pub log_root: Option<Hash>,
    /// Blocks that were executed again, block 0 included.
    pub blocks: u64,
    /// Requests in them.
    pub transactions: u64,
    /// Entries that are not known to be committed; not verified.
    pub uncommitted: u64,
    /// What is wrong.
    pub problem: Option<String>,
}

/// `verify`.
///
/// # Errors
/// Corruption, no answer, or a file that cannot be used.
pub async fn run(context: &mut Context, args: &VerifyArgs) -> Result<u8, Failure> {
    let paths = [&args.export, &args.checkpoint, &args.keys];
    files::one_stdin(paths.into_iter().filter_map(|path| path.as_deref()))?;
    if args.keys.is_some() && args.checkpoint.is_none() && args.export.is_none() {
        return Err(Failure::usage(
            "bad_argument",
            "--keys says who must have signed a checkpoint: give --checkpoint, too",
        ));
    }
    let keys = args.keys.as_deref().map(files::keys).transpose()?;
    let against = args.checkpoint.as_deref().map(|path| against(path, keys.as_ref())).transpose()?;
    if let Some(dir) = &args.data_dir {
        return folder(context, dir, against.as_ref());
    }
    let (report, hint) = match &args.export {
        Some(path) => (
            verify_export::run(path, against.as_ref(), keys.as_ref())?,
            "get it anew, from another node: bankctl export",
        ),
        None if against.is_some() => (
            node(context, against.as_ref()).await?,
            "keep the checkpoint, it is the evidence; ask the other nodes as well: bankctl --socket PATH verify --checkpoint FILE",
        ),
        None => (
            node(context, None).await?,
            "stop this node, move its data folder away, and make a new one: raftbankd --init --rejoin; in a bank of one or two \
             members import its export (operating.md, A lost disk, or damage)",
        ),
    };
    print(context.out, &report, against.as_ref(), hint).map(|()| 0)
}

/// Reads a checkpoint, and looks at its signatures if there are keys.
fn against(path: &Path, keys: Option<&Keys>) -> Result<Against, Failure> {
    let checkpoint = files::checkpoint(path)?;
    let signers = match keys {
        Some(keys) => {
            let names = checkpoint.check(keys).map_err(|error| unproven(path, &error))?;
            Some(names.into_iter().map(|name| describe::signer(name).to_owned()).collect())
        }
        None => {
            note(&format!("the signatures of {} are not looked at: give --keys FILE for that", path.display()));
            None
        }
    };
    Ok(Against { checkpoint, signers })
}

/// Of a running node.
async fn node(context: &mut Context, against: Option<&Against>) -> Result<Report, Failure> {
    let request = match against {
        None => ApiRequest::Verify,
        Some(against) => {
            let head = &against.checkpoint.head;
            same_bank(context, head.cluster_id).await?;
            ApiRequest::VerifyAgainst { size: head.size, root: head.root.0 }
        }
    };
    match Stream::open(&mut context.node, request).await?.last("blocks").await? {
        ApiReply::Verified { ok, height, head, blocks, transactions, uncommitted, problem } => {
            let problem = problem.or_else(|| (!ok).then(|| "the node does not say what is wrong".to_owned()));
            let head = Hash(head);
            let (cluster_id, log_root) = (None, None);
            Ok(Report { height, head, cluster_id, log_root, blocks, transactions, uncommitted, problem })
        }
        other => Err(unexpected(&other)),
    }
}

async fn same_bank(context: &mut Context, cluster_id: Hash) -> Result<(), Failure> {
    match context.node.ask(ApiRequest::Status).await? {
        ApiReply::Status(status) if status.cluster_id == cluster_id.0 => Ok(()),
        ApiReply::Status(status) => {
            let (of, node) = (raftbank_proofs::origin(&cluster_id), raftbank_proofs::origin(&Hash(status.cluster_id)));
            Err(not_valid("other_bank", format!("the checkpoint is of {of}, this node of {node}")))
        }
        other => Err(unexpected(&other)),
    }
}

/// Prints what was found; what is wrong is a failure.
fn print(out: Out, report: &Report, against: Option<&Against>, hint: &str) -> Result<(), Failure> {
    let Report { height, head, blocks, transactions, uncommitted, .. } = report;
    let mut object = json!({
        "schema": SCHEMA, "ok": report.problem.is_none(), "height": height, "head": head.to_string(), "blocks": blocks,
        "transactions": transactions, "uncommitted": uncommitted,
    });
    if let Some(cluster_id) = &report.cluster_id {
        object["cluster"] = json!(cluster_id.to_string());
    }
    if let Some(root) = &report.log_root {
        object["log_root"] = json!(root.to_string());
    }
    if let Some(Against { checkpoint, signers }) = against {
        object["checkpoint"] = json!({
            "size": checkpoint.head.size, "root": checkpoint.head.root.to_string(), "signers": signers,
        });
    }
    if let Some(problem) = &report.problem {
        if out.is_json() {
            object["error"] = json!({ "code": "corruption", "message": problem });
            line(&object.to_string());
            return Err(Failure::new(FailKind::Corruption, "", ""));
        }
        return Err(not_valid("corruption", problem.as_str()).hint(hint));
    }
    out.result(&object, || {
        let mut lines = vec![
            format!("{}: {blocks} blocks, {transactions} requests, height {height}", out.green("ok")),
            format!("head {head}"),
        ];
        lines.extend(report.log_root.iter().map(|root| format!("log root {root}")));
        lines
            .extend(report.cluster_id.iter().map(|cluster_id| format!("bank {}", raftbank_proofs::origin(cluster_id))));
        if *uncommitted > 0 {
            lines.push(format!("{uncommitted} records are not known to be committed"));
        }
        if let Some(Against { checkpoint, signers }) = against {
            let signed = signers.as_ref().map_or("not looked at".to_owned(), |names| names.join(", "));
            lines.push(format!("contains the checkpoint of {} blocks; signatures: {signed}", checkpoint.head.size));
        }
        lines.join("\n")
    });
    Ok(())
}

/// `verify --data-dir`: `raftbankd` knows the store, so it does the work.
fn folder(context: &Context, dir: &Path, against: Option<&Against>) -> Result<u8, Failure> {
    let program = binary("raftbankd")?;
    let mut command = Command::new(&program);
    command.arg("--verify").arg(dir);
    if let Some(Against { checkpoint, .. }) = against {
        command.arg("--against").arg(format!("{}:{}", checkpoint.head.size, checkpoint.head.root));
    }
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
