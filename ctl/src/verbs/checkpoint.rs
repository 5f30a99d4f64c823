//! `checkpoint`: the newest head of the log tree that a majority has signed.

use std::path::Path;

use clap::Args;
use raftbank_proofs::Checkpoint;
use raftbank_wire::api::{ApiReply, ApiRequest};
use serde_json::{Value, json};

use super::Context;
use super::writes::unexpected;
use crate::describe;
use crate::failure::Failure;
use crate::files;
use crate::output::{SCHEMA, bytes};
use crate::session::Session;

/// The command line of `checkpoint`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A checkpoint says how the chain began and how long it was. Keep one now and then: it shows later that nothing was rewritten.

Examples:
  bankctl checkpoint > monday.txt
  bankctl checkpoint --min-height 12 --timeout 30s   # wait until block 12 is covered
  bankctl verify --checkpoint monday.txt")]
pub struct CheckpointArgs {
    /// Wait until it covers the block with this height.
    #[arg(long, value_name = "HEIGHT")]
    pub min_height: Option<u64>,
}

/// `checkpoint`.
///
/// # Errors
/// No answer in time.
pub async fn run(context: &mut Context, args: &CheckpointArgs) -> Result<(), Failure> {
    let size_min = args.min_height.map_or(0, |height| height.saturating_add(1));
    let checkpoint = newest(&mut context.node, size_min).await?;
    if context.out.is_json() {
        context.out.result(&json_of(&checkpoint), String::new);
    } else {
        bytes(checkpoint.to_string().as_bytes());
    }
    Ok(())
}

/// The node's newest checkpoint, once it covers so many blocks. Nobody has checked its signatures yet.
///
/// # Errors
/// No answer in time, or an answer that is no checkpoint of so many blocks.
pub async fn newest(node: &mut Session, size_min: u64) -> Result<Checkpoint, Failure> {
    // A little less than this side waits: who gives up first can say why.
    let timeout_ms = node.timeout_ms() / 10 * 9;
    match node.ask(ApiRequest::Checkpoint { size_min, timeout_ms }).await? {
        ApiReply::Checkpoint { note } => {
            let checkpoint = Checkpoint::parse(&note).map_err(|error| files::contradicted(&error))?;
            if checkpoint.head.size < size_min {
                let (asked, size) = (size_min, checkpoint.head.size);
                let message = format!("asked for a head of {asked} blocks or more, the node sent one of {size}");
                return Err(files::not_valid("bad_checkpoint", message));
            }
            Ok(checkpoint)
        }
        other => Err(unexpected(&other)),
    }
}

/// What a proof about a block shall lead to: a checkpoint from a file, such as one that a witness has cosigned, or the
/// node's newest once it covers the block.
///
/// # Errors
/// The file is none or does not cover the block; no answer in time.
pub async fn covering(node: &mut Session, height: u64, file: Option<&Path>) -> Result<Checkpoint, Failure> {
    let Some(path) = file else { return newest(node, height.saturating_add(1)).await };
    let checkpoint = files::checkpoint(path)?;
    if checkpoint.head.size > height {
        return Ok(checkpoint);
    }
    let (size, path) = (checkpoint.head.size, path.display());
    let message = format!("{path} covers {size} blocks, and the block in question has the height {height}");
    Err(Failure::usage("bad_range", message).hint("use a newer checkpoint"))
}

/// A checkpoint as JSON.
pub fn json_of(checkpoint: &Checkpoint) -> Value {
    let head = &checkpoint.head;
    let signers: Vec<&str> = checkpoint.signatures.iter().map(|line| describe::signer(&line.name)).collect();
    json!({
        "schema": SCHEMA, "origin": raftbank_proofs::origin(&head.cluster_id), "size": head.size,
        "height": head.size - 1, "root": head.root.to_string(), "signers": signers, "note": checkpoint.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use raftbank_ledger::Hash;
    use raftbank_proofs::{Checkpoint, Head, KeyKind, SignerKey, node_key_name};

    use super::json_of;

    #[test]
    fn the_object_tells_what_the_note_says() {
        let cluster_id = Hash([3; 32]);
        let mut checkpoint = Checkpoint::new(Head { cluster_id, size: 5, root: Hash([9; 32]) });
        let name = node_key_name(&cluster_id, &raftbank_ledger::NodeName::parse("n2").expect("a name"));
        checkpoint.sign(&SignerKey::new(&name, KeyKind::Node, &[1; 32]).expect("a key"), 0);
        let object = json_of(&checkpoint);
        assert_eq!(object["size"], 5);
        assert_eq!(object["height"], 4);
        assert_eq!(object["signers"], serde_json::json!(["n2"]));
        assert_eq!(object["origin"], format!("raftbank/{cluster_id}"));
        assert_eq!(Checkpoint::parse(object["note"].as_str().expect("text")).expect("a note"), checkpoint);
    }
}
