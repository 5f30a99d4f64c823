//! The files of `tests/vectors/`, good ones and bad ones, and what is to be said of each.

use anyhow::Result;
use raftbank_ledger::{Hash, merkle};
use raftbank_proofs::{Checkpoint, ProofError, ReceiptRequest, block_json, entry_json};
use serde_json::json;

use super::Bank;

/// Blocks in the newest head of the vectors.
const SIZE: usize = 9;

/// A file of the vectors.
pub struct File {
    /// Its name in the folder.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// A call of a verifier, with file names in the folder, and how it must end.
pub struct Case {
    /// As `docs/verify.py` takes them.
    pub args: Vec<String>,
    /// 0; 6 if it is refused; 2 if something is missing in the call.
    pub exit: u8,
    /// What it is about.
    pub why: &'static str,
}

/// All files.
///
/// # Errors
/// None, if the rules of the bank are as they were.
pub fn files() -> Result<Vec<File>> {
    Ok(all()?.0)
}

/// All calls.
///
/// # Errors
/// None, if the rules of the bank are as they were.
pub fn cases() -> Result<Vec<Case>> {
    Ok(all()?.1)
}

/// The cases as JSON, for verifiers in other languages.
///
/// # Errors
/// None, if the rules of the bank are as they were.
pub fn manifest() -> Result<String> {
    let cases = cases()?;
    let lines: Vec<String> =
        cases.iter().map(|case| json!({"args": case.args, "exit": case.exit, "why": case.why}).to_string()).collect();
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// Files and calls as they come up.
#[derive(Default)]
pub(super) struct Made {
    files: Vec<File>,
    cases: Vec<Case>,
}

impl Made {
    pub(super) fn file(&mut self, name: &str, text: impl ToString) -> String {
        self.files.push(File { name: name.to_owned(), text: text.to_string() });
        name.to_owned()
    }

    pub(super) fn case(&mut self, exit: u8, why: &'static str, args: &[&str]) {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.cases.push(Case { args, exit, why });
    }

    /// A file of this kind that is checked with `keys.txt`.
    pub(super) fn checked(&mut self, exit: u8, why: &'static str, kind: &str, name: &str, text: impl ToString) {
        let name = self.file(name, text);
        self.case(exit, why, &[kind, &name, "--keys", "keys.txt"]);
    }
}

fn all() -> Result<(Vec<File>, Vec<Case>)> {
    let (bank, other) = (Bank::new("pepper")?, Bank::new("salt")?);
    let mut made = Made::default();
    made.file("keys.txt", bank.keys()?);
    made.file("keys-witness.txt", bank.keys_with_witness()?);
    made.file("keys-other.txt", other.keys()?);
    exports(&bank, &mut made);
    checkpoints(&bank, &other, &mut made);
    receipts(&bank, &other, &mut made)?;
    balances(&bank, &mut made)?;
    consistency(&bank, &other, &mut made);
    super::two_phase::all(&mut made)?;
    Ok((made.files, made.cases))
}

fn exports(bank: &Bank, made: &mut Made) {
    let lines: Vec<String> = bank.blocks.iter().map(|block| format!("{}\n", block_json(block))).collect();
    let chain = made.file("chain.jsonl", lines.concat());
    made.case(0, "a complete chain", &["export", &chain]);
    made.case(0, "a chain and its head", &["export", &chain, "--checkpoint", "checkpoint-9.txt", "--keys", "keys.txt"]);
    made.case(
        0,
        "a chain that has grown",
        &["export", &chain, "--checkpoint", "checkpoint-4.txt", "--keys", "keys.txt"],
    );
    let cut = made.file("bad-chain-cut.jsonl", lines[..7].concat());
    made.case(0, "a cut tail looks like a chain", &["export", &cut]);
    made.case(6, "a checkpoint shows it", &["export", &cut, "--checkpoint", "checkpoint-9.txt", "--keys", "keys.txt"]);
    let bad = made.file("bad-chain-amount.jsonl", lines.concat().replacen("\"amount\":\"5\"", "\"amount\":\"6\"", 1));
    made.case(6, "an altered amount", &["export", &bad]);
    let bad = made.file("bad-chain-gap.jsonl", [&lines[..3], &lines[4..]].concat().concat());
    made.case(6, "a block is missing", &["export", &bad]);
    let bad = made.file("bad-chain-spaces.jsonl", lines.concat().replacen("\"amount\":", "\"amount\": ", 1));
    made.case(6, "another spelling", &["export", &bad]);
    let bad = made.file("bad-chain-half.jsonl", &lines.concat()[..lines.concat().len() - 40]);
    made.case(6, "half a line", &["export", &bad]);
}

fn checkpoints(bank: &Bank, other: &Bank, made: &mut Made) {
    for size in [1, 4, 7, 9] {
        made.checked(0, "a head", "checkpoint", &format!("checkpoint-{size}.txt"), bank.checkpoint(size));
    }
    made.checked(0, "signed by all", "checkpoint", "checkpoint-9-all.txt", bank.signed_by(SIZE, &[0, 1, 2]));
    let cosigned = made.file("checkpoint-9-cosigned.txt", bank.cosigned(SIZE));
    made.case(0, "with a witness", &["checkpoint", &cosigned, "--keys", "keys-witness.txt"]);
    made.case(6, "a witness that is not in the keys file", &["checkpoint", &cosigned, "--keys", "keys.txt"]);
    made.case(6, "the witness is missing", &["checkpoint", "checkpoint-9.txt", "--keys", "keys-witness.txt"]);
    made.case(6, "keys of another bank", &["checkpoint", "checkpoint-9.txt", "--keys", "keys-other.txt"]);
    made.checked(6, "a minority", "checkpoint", "bad-checkpoint-minority.txt", bank.signed_by(SIZE, &[2]));
    made.checked(6, "one signer twice", "checkpoint", "bad-checkpoint-twice.txt", bank.signed_by(SIZE, &[0, 0]));
    made.checked(6, "another bank", "checkpoint", "bad-checkpoint-other.txt", other.checkpoint(SIZE));
    let mut mixed = bank.checkpoint(SIZE);
    mixed.signatures = bank.checkpoint(7).signatures;
    made.checked(6, "signatures of another head", "checkpoint", "bad-checkpoint-moved.txt", mixed);
    let text = bank.checkpoint(SIZE).to_string();
    made.checked(6, "CRLF", "checkpoint", "bad-checkpoint-crlf.txt", text.replace('\n', "\r\n"));
    made.checked(6, "a leading zero", "checkpoint", "bad-checkpoint-zero.txt", text.replacen("\n9\n", "\n09\n", 1));
    made.checked(
        6,
        "an extension line",
        "checkpoint",
        "bad-checkpoint-extension.txt",
        text.replacen("\n\n", "\nx\n\n", 1),
    );
    made.checked(6, "no last line feed", "checkpoint", "bad-checkpoint-end.txt", text.trim_end());
}

fn receipts(bank: &Bank, other: &Bank, made: &mut Made) -> Result<()> {
    let mut long = None;
    for (height, index, entry) in bank.requests().filter(|(height, index, _)| *height != 6 || index % 10 == 0) {
        let receipt = bank.receipt(height, index, SIZE);
        let name = format!("receipt-{}.txt", entry.request.id.as_str().replace(':', "-"));
        let name = made.file(&name, &receipt);
        if matches!(receipt.request, ReceiptRequest::Leaf(_)) {
            let apart = made.file("request-long.json", format!("{}\n", entry_json(entry)));
            made.case(0, "the request apart", &["receipt", &name, "--keys", "keys.txt", "--request", &apart]);
            made.case(2, "the request is missing", &["receipt", &name, "--keys", "keys.txt"]);
            long = Some(apart);
        } else {
            made.case(0, "a receipt", &["receipt", &name, "--keys", "keys.txt"]);
        }
    }
    let apart = long.unwrap_or_default();
    made.case(
        6,
        "the request of another receipt",
        &["receipt", "receipt-r1.txt", "--keys", "keys.txt", "--request", &apart],
    );
    made.case(6, "keys of another bank", &["receipt", "receipt-r1.txt", "--keys", "keys-other.txt"]);

    let good = bank.receipt(2, 2, SIZE);
    let mut bad = good.clone();
    bad.hashes.swap(0, 1);
    made.checked(6, "swapped siblings", "receipt", "bad-receipt-swapped.txt", bad);
    let mut bad = good.clone();
    bad.index = 3;
    made.checked(6, "another place", "receipt", "bad-receipt-place.txt", bad);
    let mut bad = good.clone();
    bad.log.hashes.pop();
    made.checked(6, "a hash is missing", "receipt", "bad-receipt-short.txt", bad);
    let mut bad = good.clone();
    bad.log.checkpoint = bank.checkpoint(7);
    made.checked(6, "a tree of another size", "receipt", "bad-receipt-size.txt", bad);
    let mut bad = good.clone();
    bad.log.checkpoint = other.checkpoint(SIZE);
    made.checked(6, "the checkpoint of another bank", "receipt", "bad-receipt-bank.txt", bad);
    made.checked(6, "another bank's receipt", "receipt", "bad-receipt-other.txt", other.receipt(2, 2, SIZE));
    made.checked(6, "a request that never was", "receipt", "bad-receipt-forged.txt", forged(bank)?);
    // A node of the transaction tree as if it were the leaf of a request: its two halves are no request.
    let mut bad = good.clone();
    let leaves: Vec<Hash> = bank.blocks[2].entries.iter().map(|entry| merkle::leaf_hash(&entry.encode())).collect();
    bad.request = ReceiptRequest::Leaf(merkle::node_hash(&leaves[2], &leaves[3]));
    bad.hashes.remove(0);
    bad.index = 1;
    made.checked(6, "a node passed off as a leaf", "receipt", "bad-receipt-node.txt", bad);
    let text = good.to_string();
    made.checked(6, "CRLF", "receipt", "bad-receipt-crlf.txt", text.replace('\n', "\r\n"));
    made.checked(6, "something behind it", "receipt", "bad-receipt-more.txt", format!("{text}\n"));
    made.checked(
        6,
        "another version",
        "receipt",
        "bad-receipt-version.txt",
        text.replacen("receipt v1", "receipt v2", 1),
    );
    Ok(())
}

/// A receipt whose request pays more, with a block header that fits it, and the proofs of the true one.
fn forged(bank: &Bank) -> Result<raftbank_proofs::Receipt, ProofError> {
    let mut receipt = bank.receipt(1, 0, SIZE);
    if let ReceiptRequest::Whole(entry) = &receipt.request {
        let line = entry_json(entry).to_string().replace("\"amount\":\"5\"", "\"amount\":\"500\"");
        let entry = raftbank_proofs::parse_entry(&line)?;
        receipt.header.transaction_root = merkle::leaf_hash(&entry.encode());
        receipt.request = ReceiptRequest::Whole(entry);
    }
    Ok(receipt)
}

fn balances(bank: &Bank, made: &mut Made) -> Result<()> {
    let asked = [("alice", 0), ("alice", 1), ("bob", 8), ("world", 0), ("world", 8), ("carol", 1), ("carol", 8)];
    let absent =
        [("nobody", 0), ("nobody", 8), ("eve", 0), ("eve", 8), ("mallory", 8), ("account-20", 5), ("account-20", 6)];
    for (account, height) in asked.into_iter().chain(absent) {
        let name = format!("balance-{account}-{height}.txt");
        made.checked(0, "a balance", "balance", &name, bank.balance(account, height, SIZE)?);
    }
    let good = bank.balance("alice", 8, SIZE)?;
    let mut bad = good.clone();
    bad.balance = bad.balance.map(|balance| balance + 1);
    made.checked(6, "another balance", "balance", "bad-balance-more.txt", bad);
    let mut bad = good.clone();
    bad.balance = None;
    made.checked(6, "an account denied", "balance", "bad-balance-denied.txt", bad);
    let mut bad = good.clone();
    bad.siblings.swap(0, 1);
    made.checked(6, "swapped siblings", "balance", "bad-balance-swapped.txt", bad);
    let mut bad = bank.balance("alice", 1, SIZE)?;
    bad.header = bank.blocks[8].header.clone();
    bad.log = good.log.clone();
    made.checked(6, "the balance of another height", "balance", "bad-balance-height.txt", bad);
    let mut bad = bank.balance("nobody", 8, SIZE)?;
    bad.account = good.account;
    made.checked(6, "another account is missing", "balance", "bad-balance-account.txt", bad);
    Ok(())
}

fn consistency(bank: &Bank, other: &Bank, made: &mut Made) {
    for (old, new) in [(1, 4), (1, 9), (4, 7), (4, 9), (7, 9), (9, 9)] {
        let name = made.file(&format!("consistency-{old}-{new}.txt"), bank.consistency(old, new));
        let old = format!("checkpoint-{old}.txt");
        made.case(0, "an extension", &["consistency", &old, &name, "--keys", "keys.txt"]);
    }
    made.case(
        6,
        "the proof of another size",
        &["consistency", "checkpoint-4.txt", "consistency-7-9.txt", "--keys", "keys.txt"],
    );
    let old = made.file("bad-consistency-old.txt", Checkpoint { head: other.head(4), signatures: Vec::new() });
    made.case(
        6,
        "an older head that nobody signed",
        &["consistency", &old, "consistency-4-9.txt", "--keys", "keys.txt"],
    );
    let mut bad = bank.consistency(7, 9);
    bad.hashes.swap(0, 1);
    let name = made.file("bad-consistency-swapped.txt", bad);
    made.case(6, "swapped hashes", &["consistency", "checkpoint-7.txt", &name, "--keys", "keys.txt"]);
    let mut bad = bank.consistency(4, 9);
    bad.new = bank.checkpoint(7);
    let name = made.file("bad-consistency-size.txt", bad);
    made.case(6, "another newer size", &["consistency", "checkpoint-4.txt", &name, "--keys", "keys.txt"]);
}
