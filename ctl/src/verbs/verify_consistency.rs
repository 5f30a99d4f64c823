//! `verify-consistency`: checks that a newer checkpoint extends an older one. Needs no server.

use std::path::PathBuf;

use clap::Args;
use raftbank_proofs::{ConsistencyProof, PROOF_BYTES_MAX};
use serde_json::json;

use super::Context;
use super::verify_receipt::{Proven, keys_needed};
use crate::failure::Failure;
use crate::files::{self, unproven};

/// The command line of `verify-consistency`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  bankctl consistency monday.txt > since-monday.txt
  bankctl verify-consistency monday.txt since-monday.txt --keys keys.txt")]
pub struct VerifyConsistencyArgs {
    /// The older checkpoint.
    pub old: PathBuf,
    /// What `consistency` printed.
    pub proof: PathBuf,
    /// The keys of the bank's members, and of witnesses: who must have signed both.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

/// `verify-consistency`.
///
/// # Errors
/// A file is missing, or nothing is proven.
pub fn run(context: &Context, args: &VerifyConsistencyArgs) -> Result<(), Failure> {
    let keys_file = keys_needed(args.keys.as_deref())?;
    files::one_stdin([args.old.as_path(), args.proof.as_path(), keys_file])?;
    let keys = files::keys(keys_file)?;
    let old = files::checkpoint(&args.old)?;
    old.check(&keys).map_err(|error| unproven(&args.old, &error))?;
    let text = files::text(&args.proof, PROOF_BYTES_MAX)?;
    let fail = |error| unproven(&args.proof, &error);
    let proof = ConsistencyProof::parse(&text).map_err(fail)?;
    let signers = proof.check(&old.head, Some(&keys)).map_err(fail)?;
    let (old, new) = (&old.head, &proof.new.head);
    let sentence = format!("the chain of {} blocks begins with all {} blocks of the older one", new.size, old.size);
    let fields = json!({ "kind": "consistency", "old_size": old.size, "old_root": old.root.to_string() });
    Proven::new(sentence, fields, new, &signers, &keys).print(context.out);
    Ok(())
}
