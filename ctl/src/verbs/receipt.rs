//! `receipt`: that a request is in the chain, with which outcome, as a file that anyone can check.

use std::path::PathBuf;

use clap::Args;
use raftbank_ledger::merkle;
use raftbank_proofs::{Receipt, ReceiptRequest, entry_json};
use serde_json::json;

use super::Context;
use super::{checkpoint, show};
use crate::failure::Failure;
use crate::files;
use crate::output::{SCHEMA, bytes, note};
use crate::proving;

/// The command line of `receipt`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bankctl receipt invoice-17 > invoice-17.txt
  bankctl verify-receipt invoice-17.txt --keys keys.txt    # with no server at all
  bankctl receipt invoice-17 --checkpoint cosigned.txt     # with a witness's signature
  bankctl receipt logo --request-out logo.json > logo.txt  # of a request that is too long for a receipt")]
pub struct ReceiptArgs {
    /// The request's id.
    #[arg(allow_hyphen_values = true)]
    pub id: String,
    /// Write the request here, too, as a JSON line.
    #[arg(long, value_name = "FILE")]
    pub request_out: Option<PathBuf>,
    /// Lead to this checkpoint, such as one that a witness has cosigned, instead of to the node's newest.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
}

/// `receipt`.
///
/// # Errors
/// No such request, no signed head that covers it in time, or answers that do not fit together.
pub async fn run(context: &mut Context, args: &ReceiptArgs) -> Result<(), Failure> {
    let node = &mut context.node;
    let found = show::find(node, &args.id).await?;
    let (height, index, entry) = (found.block.header.height, found.index, found.entry);
    let head = checkpoint::covering(node, height, args.checkpoint.as_deref()).await?;
    let leaves: Vec<_> = found.block.entries.iter().map(|entry| merkle::leaf_hash(&entry.encode())).collect();
    // The index is one of an entry, so it fits.
    let hashes = merkle::inclusion_of(index as usize, &leaves);
    let log = proving::log_proof(node, height, head).await?;
    let receipt = Receipt::new(entry.clone(), index, found.block.header, hashes, log);
    receipt.check(Some(&entry), None).map_err(|error| files::contradicted(&error))?;
    let line = entry_json(&entry).to_string();
    if let Some(path) = &args.request_out {
        files::write(path, &format!("{line}\n"))?;
    }
    let apart = matches!(receipt.request, ReceiptRequest::Leaf(_));
    let text = receipt.to_string();
    if context.out.is_json() {
        let object = json!({
            "schema": SCHEMA, "id": args.id, "outcome": entry.outcome.code(), "height": height, "index": index,
            "size": receipt.log.checkpoint.head.size, "request": entry_json(&entry), "request_apart": apart,
            "receipt": text,
        });
        context.out.result(&object, String::new);
    } else {
        bytes(text.as_bytes());
    }
    if apart && args.request_out.is_none() {
        let id = &args.id;
        note(&format!(
            "this request is too long for a receipt, which holds only its hash: keep the request as well\n  \
             next: bankctl receipt {id} --request-out {id}.json"
        ));
    }
    Ok(())
}
