//! `verify-receipt`: checks a receipt, a balance proof or a checkpoint. Needs no server.

use std::path::{Path, PathBuf};

use clap::Args;
use raftbank_ledger::{Entry, Hash, merkle};
use raftbank_proofs::{
    BalanceProof, Checkpoint, Head, Keys, PROOF_BYTES_MAX, ProofError, Receipt, ReceiptRequest, entry_json,
};
use serde_json::{Value, json};

use super::Context;
use crate::describe;
use crate::failure::Failure;
use crate::files::{self, unproven};
use crate::output::{Out, SCHEMA};

/// The command line of `verify-receipt`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
What the file is, its first line tells. No server is asked. Exit code 0: proven; 6: nothing is proven.

Examples:
  bankctl verify-receipt invoice-17.txt --keys keys.txt
  bankctl verify-receipt logo.txt --request logo.json --keys keys.txt   # the receipt holds only the request's hash
  bankctl balance alice --at 12 --proof | bankctl verify-receipt - --keys keys.txt")]
pub struct VerifyReceiptArgs {
    /// A receipt, a balance proof or a checkpoint; `-`: standard input.
    pub file: PathBuf,
    /// The keys of the bank's members, and of witnesses: who must have signed.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// The request as a JSON line, if the receipt holds only its hash.
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
}

/// Longest file with a request: a value of 64 KiB in base64, and more than enough around it.
const REQUEST_BYTES_MAX: usize = 256 << 10;

/// `verify-receipt`.
///
/// # Errors
/// A file is missing, or nothing is proven.
pub fn run(context: &Context, args: &VerifyReceiptArgs) -> Result<(), Failure> {
    let keys_file = keys_needed(args.keys.as_deref())?;
    let paths = [Some(args.file.as_path()), Some(keys_file), args.request.as_deref()];
    files::one_stdin(paths.into_iter().flatten())?;
    let keys = files::keys(keys_file)?;
    let text = files::text(&args.file, PROOF_BYTES_MAX)?;
    let request = args.request.as_deref().map(request).transpose()?;
    let proven = check(&args.file, &text, request.as_ref(), &keys)?;
    proven.print(context.out);
    Ok(())
}

/// Without keys nothing can be said.
///
/// # Errors
/// Wrong usage, with how to get them.
pub fn keys_needed(keys: Option<&Path>) -> Result<&Path, Failure> {
    keys.ok_or_else(|| {
        Failure::usage("keys_needed", "who must have signed it? give the keys file of the bank: --keys FILE")
            .hint("bankctl keys > keys.txt, once and from a node that you trust; keep the file")
    })
}

fn request(path: &Path) -> Result<Entry, Failure> {
    let text = files::text(path, REQUEST_BYTES_MAX)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    raftbank_proofs::parse_entry(line).map_err(|error| unproven(path, &error))
}

/// What a file has proven.
#[derive(Debug)]
pub struct Proven {
    /// For people: what, in a sentence.
    pub sentence: String,
    /// For programs: what.
    pub fields: Value,
    /// The signed head that it rests on.
    pub head: Head,
    /// Who signed that.
    pub signers: Vec<String>,
    /// How many nodes the bank has.
    pub nodes: usize,
}

impl Proven {
    /// What was proven, on a head that these keys have signed.
    pub fn new(sentence: String, fields: Value, head: &Head, signers: &[&str], keys: &Keys) -> Self {
        let signers = signers.iter().map(|name| (*name).to_owned()).collect();
        Self { sentence, fields, head: head.clone(), signers, nodes: keys.nodes().len() }
    }

    /// Prints it.
    pub fn print(&self, out: Out) {
        let Head { cluster_id, size, root } = &self.head;
        let names: Vec<&str> = self.signers.iter().map(|name| describe::signer(name)).collect();
        let mut object = self.fields.clone();
        object["schema"] = json!(SCHEMA);
        object["ok"] = json!(true);
        object["origin"] = json!(raftbank_proofs::origin(cluster_id));
        object["size"] = json!(size);
        object["root"] = json!(root.to_string());
        object["signers"] = json!(names);
        out.result(&object, || {
            format!(
                "{}    {}\nsigned by  {} (the bank has {} nodes)\nhead       {size} blocks, root {root}\nbank       {}",
                out.green("proven:"),
                self.sentence,
                names.join(", "),
                self.nodes,
                raftbank_proofs::origin(cluster_id)
            )
        });
    }
}

/// Checks a file of any of the three kinds.
///
/// # Errors
/// Why nothing is proven; wrong usage if the request is missing or was given for nothing.
pub fn check(path: &Path, text: &str, request: Option<&Entry>, keys: &Keys) -> Result<Proven, Failure> {
    let first = text.lines().next().unwrap_or_default();
    let fail = |error| unproven(path, &error);
    let apart = |proven| match request {
        None => Ok(proven),
        Some(_) => Err(Failure::usage("bad_argument", "--request belongs to a receipt, and this file is none")),
    };
    if first.starts_with("raftbank receipt") {
        return receipt(&Receipt::parse(text).map_err(fail)?, path, request, keys);
    }
    if first.starts_with("raftbank balance") {
        let proof = BalanceProof::parse(text).map_err(fail)?;
        let signers = proof.check(Some(keys)).map_err(fail)?.signers;
        return apart(balance(&proof, &signers, keys));
    }
    if first.starts_with("raftbank/") {
        let checkpoint = Checkpoint::parse(text).map_err(fail)?;
        let signers = checkpoint.check(keys).map_err(fail)?;
        let height = checkpoint.head.size - 1;
        let sentence = format!("the chain had {} blocks, up to height {height}", checkpoint.head.size);
        let fields = json!({ "kind": "checkpoint", "height": height });
        return apart(Proven::new(sentence, fields, &checkpoint.head, &signers, keys));
    }
    let failure = files::not_valid("malformed", "the file is no receipt, no balance proof and no checkpoint");
    let hint = if first.starts_with("old ") {
        "a consistency proof is checked by: bankctl verify-consistency OLD PROOF --keys FILE"
    } else {
        "ask for it anew: bankctl receipt ID, bankctl balance ACCOUNT --proof, bankctl checkpoint"
    };
    Err(failure.hint(hint))
}

fn receipt(receipt: &Receipt, path: &Path, request: Option<&Entry>, keys: &Keys) -> Result<Proven, Failure> {
    if let (ReceiptRequest::Leaf(leaf), None) = (&receipt.request, request) {
        // All but the request can be checked: a receipt that is no good is told from one that is not complete.
        leads(receipt, *leaf, keys).map_err(|error| unproven(path, &error))?;
        let message = "this receipt holds only the hash of its request: give the request as well, with --request FILE";
        return Err(Failure::usage("request_needed", message).hint("bankctl receipt ID --request-out FILE"));
    }
    let proven = receipt.check(request, Some(keys)).map_err(|error| unproven(path, &error))?;
    let (header, entry) = (&receipt.header, &proven.entry);
    let sentence = format!(
        "{}\nplace      block {}, request {}, made at {}",
        describe::entry(entry),
        header.height,
        receipt.index,
        describe::time(header.time_ms)
    );
    let fields = json!({
        "kind": "receipt", "height": header.height, "index": receipt.index, "time_ms": header.time_ms,
        "request": entry_json(entry),
    });
    Ok(Proven::new(sentence, fields, &receipt.log.checkpoint.head, &proven.signers, keys))
}

/// Whether a receipt leads from its leaf to a checkpoint that counts.
fn leads(receipt: &Receipt, leaf: Hash, keys: &Keys) -> Result<(), ProofError> {
    let (index, header) = (receipt.index.into(), &receipt.header);
    let root = merkle::root_by_inclusion(leaf, index, header.request_count.into(), &receipt.hashes)?;
    if root != header.transaction_root {
        return Err(ProofError::NotProven("the request is not in the block".to_owned()));
    }
    receipt.log.check(header, Some(keys)).map(drop)
}

fn balance(proof: &BalanceProof, signers: &[&str], keys: &Keys) -> Proven {
    let BalanceProof { account, balance, header, log, .. } = proof;
    let (height, time) = (header.height, describe::time(header.time_ms));
    let what = match balance {
        Some(balance) => format!("account {account} had a balance of {balance}"),
        None => format!("there was no account {account}"),
    };
    let fields = json!({
        "kind": "balance", "account": account.as_str(), "balance": balance.map(|balance| balance.to_string()),
        "height": height, "time_ms": header.time_ms,
    });
    Proven::new(
        format!("{what}\nplace      after block {height}, made at {time}"),
        fields,
        &log.checkpoint.head,
        signers,
        keys,
    )
}

#[cfg(test)]
mod tests;
