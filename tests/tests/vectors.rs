//! The published vectors are what the code makes, every one is judged as it says, and no bit of any can be altered unseen.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::{Entry, LogTree, Verifier};
use raftbank_proofs::{BalanceProof, Checkpoint, ConsistencyProof, Keys, Receipt, parse_block, parse_entry};
use raftbank_tests::vectors::{self, Bank};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

#[test]
fn the_published_vectors_are_those_that_the_code_makes() -> Result<()> {
    let mut names = vec!["manifest.json".to_owned()];
    ensure!(fs::read_to_string(folder().join("manifest.json"))? == vectors::manifest()?, "run the vectors program");
    for file in vectors::files()? {
        let published = fs::read_to_string(folder().join(&file.name)).with_context(|| file.name.clone())?;
        ensure!(published == file.text, "{} is another one than the code makes: run the vectors program", file.name);
        names.push(file.name);
    }
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(names.contains(&name), "{name} is not made by the code");
    }
    Ok(())
}

#[test]
fn the_worked_examples_of_the_format_are_vectors() -> Result<()> {
    let page = fs::read_to_string(folder().join("../../docs/format.md"))?;
    let page: String = page.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    for name in ["receipt-r1.txt", "keys.txt"] {
        let text = fs::read_to_string(folder().join(name))?;
        let text: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        ensure!(page.contains(&text), "docs/format.md shows another {name}");
    }
    Ok(())
}

/// A good chain, checked a line at a time.
fn export(text: &str, checkpoint: Option<&Checkpoint>) -> Result<()> {
    let (mut verifier, mut log, mut seen) = (None::<Verifier>, LogTree::default(), false);
    let whole = text.strip_suffix('\n').context("half a line")?;
    for line in whole.split('\n') {
        let block = parse_block(line)?;
        match &mut verifier {
            None => verifier = Some(Verifier::new(&block.encode())?),
            Some(verifier) => verifier.push(&block.encode())?,
        }
        log.push(block.hash());
        if let Some(Checkpoint { head, .. }) = checkpoint
            && head.size == log.size()
        {
            ensure!(head.root == log.root(), "another chain");
            seen = true;
        }
    }
    ensure!(seen || checkpoint.is_none(), "the chain does not reach the checkpoint");
    Ok(())
}

/// What a verifier does with a file of this kind.
fn check(kind: &str, text: &str, keys: &Keys, apart: Option<&Entry>, old: Option<&Checkpoint>) -> Result<()> {
    match kind {
        "receipt" => drop(Receipt::parse(text)?.check(apart, Some(keys))?),
        "balance" => drop(BalanceProof::parse(text)?.check(Some(keys))?),
        "checkpoint" => drop(Checkpoint::parse(text)?.check(keys)?),
        "consistency" => {
            let old = old.context("an older checkpoint")?;
            old.check(keys)?;
            ConsistencyProof::parse(text)?.check(&old.head, Some(keys))?;
        }
        other => bail!("no kind {other}"),
    }
    Ok(())
}

#[test]
fn every_case_is_judged_as_it_says() -> Result<()> {
    let read = |name: &String| fs::read_to_string(folder().join(name)).with_context(|| name.clone());
    let mut wrong = Vec::new();
    for case in vectors::cases()? {
        let flag = |name: &str| {
            case.args.iter().position(|arg| arg == name).and_then(|at| case.args.get(at + 1)).map(read).transpose()
        };
        let keys = flag("--keys")?.map(|text| Keys::parse(&text)).transpose()?;
        let judged = match (case.args[0].as_str(), &keys) {
            ("export", _) => {
                let checkpoint = flag("--checkpoint")?.map(|text| Checkpoint::parse(&text)).transpose()?;
                export(&read(&case.args[1])?, checkpoint.as_ref())
            }
            ("consistency", Some(keys)) => Checkpoint::parse(&read(&case.args[1])?)
                .map_err(Into::into)
                .and_then(|old| check("consistency", &read(&case.args[2])?, keys, None, Some(&old))),
            (kind, Some(keys)) => {
                let apart = flag("--request")?.map(|text| parse_entry(text.trim_end_matches('\n'))).transpose()?;
                check(kind, &read(&case.args[1])?, keys, apart.as_ref(), None)
            }
            (kind, None) => bail!("{kind} without keys"),
        };
        if judged.is_ok() != (case.exit == 0) {
            wrong.push(format!("{:?} ({}) gives {judged:?}", case.args, case.why));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Flips a bit; `None` if what comes out is no text at all.
fn flipped(text: &str, bit: usize) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    String::from_utf8(bytes).ok()
}

/// Every file that can be checked alone, of a bank.
fn proofs(bank: &Bank, size: usize, receipts: &[(usize, usize)]) -> Result<Vec<(&'static str, String)>> {
    let mut files = vec![
        ("checkpoint", bank.checkpoint(size).to_string()),
        ("checkpoint", bank.signed_by(size, &[0, 1, 2]).to_string()),
        ("consistency", bank.consistency(5, size).to_string()),
    ];
    for (height, index) in receipts {
        files.push(("receipt", bank.receipt(*height, *index, size).to_string()));
    }
    for account in ["alice", "world", "nobody", "eve"] {
        files.push(("balance", bank.balance(account, size - 1, size)?.to_string()));
    }
    Ok(files)
}

fn unseen(kind: &str, text: &str, bits: impl Iterator<Item = usize>, bank: &Bank, keys: &Keys) -> Result<usize> {
    let old = bank.checkpoint(5);
    check(kind, text, keys, None, Some(&old)).with_context(|| format!("the {kind} itself"))?;
    let mut count = 0;
    for bit in bits {
        count += 1;
        if let Some(bad) = flipped(text, bit) {
            let accepted = check(kind, &bad, keys, None, Some(&old)).is_ok();
            ensure!(!accepted, "bit {bit} of a {kind} can be flipped unseen:\n{text}\n{bad}");
        }
    }
    Ok(count)
}

#[test]
fn any_flipped_bit_of_a_proof_is_found() -> Result<()> {
    let bank = Bank::new("pepper")?;
    let keys = bank.keys()?;
    let mut count = 0;
    for (kind, text) in proofs(&bank, 9, &[(0, 0), (1, 0), (2, 2), (3, 1), (6, 20)])? {
        count += unseen(kind, &text, 0..text.len() * 8, &bank, &keys)?;
    }
    // With a witness in the keys file its signature must hold, too.
    let (cosigned, keys) = (bank.cosigned(9).to_string(), bank.keys_with_witness()?);
    count += unseen("checkpoint", &cosigned, 0..cosigned.len() * 8, &bank, &keys)?;
    println!("{count} bits");
    Ok(())
}

#[test]
fn any_flipped_bit_of_an_export_is_found() -> Result<()> {
    let bank = Bank::new("pepper")?;
    let lines: Vec<String> = bank.blocks.iter().map(|block| raftbank_proofs::block_json(block).to_string()).collect();
    let good = lines.join("\n") + "\n";
    export(&good, None)?;
    for (number, line) in lines.iter().enumerate() {
        let text = format!("{line}\n");
        for bit in 0..text.len() * 8 {
            let Some(bad) = flipped(&text, bit) else { continue };
            // A line that does not even parse is refused wherever it stands.
            if !bad.ends_with('\n') || bad.matches('\n').count() > 1 || parse_block(bad.trim_end_matches('\n')).is_ok()
            {
                let before = &lines[..number].concat();
                ensure!(before.len() < good.len(), "lines");
                let chain = [&lines[..number].iter().map(|line| format!("{line}\n")).collect::<String>(), &bad]
                    .map(String::as_str)
                    .concat();
                let rest: String = lines[number + 1..].iter().map(|line| format!("{line}\n")).collect();
                ensure!(export(&(chain + &rest), None).is_err(), "bit {bit} of line {number} can be flipped unseen");
            }
        }
    }
    Ok(())
}

#[test]
fn flipped_bits_of_a_long_chain_are_found() -> Result<()> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bank = Bank::new("pepper")?;
    bank.grow(300)?;
    let keys = bank.keys()?;
    let size = bank.blocks.len();
    let all: Vec<(usize, usize)> =
        bank.requests().map(|(height, index, _)| (height, index)).filter(|(height, _)| *height != 5).collect();
    let chosen: Vec<(usize, usize)> = (0..40).map(|_| all[random.random_range(0..all.len())]).collect();
    for (kind, text) in proofs(&bank, size, &chosen)? {
        let bits: Vec<usize> = (0..150).map(|_| random.random_range(0..text.len() * 8)).collect();
        unseen(kind, &text, bits.into_iter(), &bank, &keys)?;
    }
    Ok(())
}
