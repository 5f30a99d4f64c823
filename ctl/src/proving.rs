//! Proofs put together from a node's answers, none of which is believed: each proof is checked before it is handed on.

use raftbank_ledger::Hash;
use raftbank_proofs::{Checkpoint, ConsistencyProof, Head, LogProof};
use raftbank_wire::api::{ApiReply, ApiRequest};

use crate::failure::Failure;
use crate::session::Session;
use crate::verbs::writes::unexpected;

/// What leads from a block to a checkpoint that covers it.
///
/// # Errors
/// No answer.
pub async fn log_proof(node: &mut Session, height: u64, checkpoint: Checkpoint) -> Result<LogProof, Failure> {
    let hashes = hashes(node, ApiRequest::Inclusion { height, size: checkpoint.head.size }).await?;
    Ok(LogProof { height, hashes, checkpoint })
}

/// What leads from an older head to a newer checkpoint of the same bank. Not checked yet.
///
/// # Errors
/// No answer.
pub async fn consistency(node: &mut Session, old: &Head, new: Checkpoint) -> Result<ConsistencyProof, Failure> {
    let size = new.head.size;
    // Between equal sizes there is nothing to ask for.
    let hashes = if old.size == size {
        Vec::new()
    } else {
        hashes(node, ApiRequest::Consistency { old: old.size, new: size }).await?
    };
    Ok(ConsistencyProof { old_size: old.size, hashes, new })
}

async fn hashes(node: &mut Session, request: ApiRequest) -> Result<Vec<Hash>, Failure> {
    match node.ask(request).await? {
        ApiReply::Hashes { hashes } => Ok(hashes.into_iter().map(Hash).collect()),
        other => Err(unexpected(&other)),
    }
}
