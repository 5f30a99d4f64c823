//! `consistency`: the proof that the chain of a newer checkpoint begins with all of an older one's.

use std::path::PathBuf;

use clap::Args;
use raftbank_proofs::{Checkpoint, ConsistencyProof, Head};
use raftbank_wire::api::FailKind;
use serde_json::json;

use super::{Context, balance_at, checkpoint};
use crate::failure::Failure;
use crate::files::{self, not_valid, unproven};
use crate::output::{SCHEMA, bytes};
use crate::proving;
use crate::session::Session;

/// The command line of `consistency`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit code 6: the node's chain does not begin with that of OLD: its end was cut off, or history was rewritten.

Examples:
  bankctl checkpoint > monday.txt
  bankctl consistency monday.txt > since-monday.txt             # up to the node's newest checkpoint
  bankctl consistency monday.txt friday.txt --keys keys.txt     # checks the signatures as well")]
pub struct ConsistencyArgs {
    /// The older checkpoint.
    pub old: PathBuf,
    /// The newer one; the node's newest if not given.
    pub new: Option<PathBuf>,
    /// The keys of the bank's members, and of witnesses: who must have signed both.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

/// `consistency`.
///
/// # Errors
/// A file is missing or not valid, no answer, or the chain does not begin with the older one.
pub async fn run(context: &mut Context, args: &ConsistencyArgs) -> Result<(), Failure> {
    let paths = [Some(args.old.as_path()), args.new.as_deref(), args.keys.as_deref()];
    files::one_stdin(paths.into_iter().flatten())?;
    let keys = args.keys.as_deref().map(files::keys).transpose()?;
    let old = files::checkpoint(&args.old)?;
    if let Some(keys) = &keys {
        old.check(keys).map_err(|error| unproven(&args.old, &error))?;
    }
    let new = match &args.new {
        None => newest_after(&mut context.node, &old.head).await?,
        Some(path) => {
            let new = files::checkpoint(path)?;
            if new.head.size < old.head.size {
                let (old, new) = (old.head.size, new.head.size);
                let message = format!("the first checkpoint has {old} blocks, the second only {new}");
                return Err(Failure::usage("bad_range", message).hint("give the older one first"));
            }
            new
        }
    };
    if let (Some(keys), path) = (&keys, args.new.as_deref().unwrap_or(std::path::Path::new("the node's checkpoint"))) {
        new.check(keys).map_err(|error| unproven(path, &error))?;
    }
    let proof = extends(&mut context.node, &old.head, new).await?;
    if context.out.is_json() {
        let object = json!({
            "schema": SCHEMA, "old_size": old.head.size, "size": proof.new.head.size,
            "root": proof.new.head.root.to_string(), "proof": proof.to_string(),
        });
        context.out.result(&object, String::new);
    } else {
        bytes(proof.to_string().as_bytes());
    }
    Ok(())
}

/// The node's newest checkpoint, which must not be of fewer blocks than one that is known.
///
/// # Errors
/// No answer; corruption if the whole bank has fewer blocks.
pub async fn newest_after(node: &mut Session, known: &Head) -> Result<Checkpoint, Failure> {
    let waited = match checkpoint::newest(node, known.size).await {
        Ok(checkpoint) => return Ok(checkpoint),
        Err(failure) => failure,
    };
    if waited.kind != FailKind::NotExecuted || waited.code == "unreachable" {
        return Err(waited);
    }
    // This node may be behind, or wait for signatures. What a majority has cannot be behind what a majority signed.
    let Ok(height) = balance_at::linearizable_height(node).await else { return Err(waited) };
    if height >= known.size.saturating_sub(1) {
        return Err(waited);
    }
    let newer = checkpoint::newest(node, 0).await.ok();
    Err(rolled_back(known, height, newer.as_ref()))
}

fn rolled_back(known: &Head, height: u64, newest: Option<&Checkpoint>) -> Failure {
    let now = newest.map_or_else(String::new, |newest| format!("\nnow:   {}", told(&newest.head)));
    let message = format!(
        "the bank was rolled back: it has only {} blocks now; the end of its chain was cut off, or older copies of its \
         disks were put back\n\
         known: {}{now}",
        height.saturating_add(1),
        told(known)
    );
    not_valid("rolled_back", message).hint("keep both checkpoints: they are the evidence")
}

/// Asks for the proof, and checks it.
///
/// # Errors
/// No answer; corruption if the newer head does not extend the older one.
pub async fn extends(node: &mut Session, old: &Head, new: Checkpoint) -> Result<ConsistencyProof, Failure> {
    let proof = proving::consistency(node, old, new).await?;
    match proof.check(old, None) {
        Ok(_) => Ok(proof),
        Err(error) => {
            let message = format!(
                "the chain does not begin with that of the older checkpoint: history was rewritten, or they are of \
                 different banks ({error})\nolder: {}\nnewer: {}",
                told(old),
                told(&proof.new.head)
            );
            Err(not_valid("rewritten", message).hint("keep both checkpoints: they are the evidence"))
        }
    }
}

/// A head in a line.
pub fn told(head: &Head) -> String {
    format!("{} blocks, root {}, of {}", head.size, head.root, raftbank_proofs::origin(&head.cluster_id))
}
