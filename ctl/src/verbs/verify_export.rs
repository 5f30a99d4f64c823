//! `verify --export`: a whole chain from a file, executed again from block 0 on, and compared with a checkpoint. Nobody is
//! asked.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use raftbank_ledger::{Block, Genesis, Hash, Verifier};
use raftbank_proofs::{Export, ExportError, Head, Keys, node_key_name, origin};

use super::verify::{Against, Report};
use crate::failure::Failure;
use crate::files;
use crate::output::progress_bar;

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 16;

/// Verifies an export. What is wrong with it stands in the report.
///
/// # Errors
/// The file cannot be read.
pub fn run(path: &Path, against: Option<&Against>, keys: Option<&Keys>) -> Result<Report, Failure> {
    let bar = progress_bar("bytes");
    if !files::is_stdin(path) {
        bar.set_length(File::open(path).and_then(|file| file.metadata()).map_or(0, |metadata| metadata.len()));
    }
    let reader = BufReader::with_capacity(READ_BYTES, bar.wrap_read(files::open(path)?));
    let report = verify(reader, against.map(|against| &against.checkpoint.head), keys);
    bar.finish_and_clear();
    report.map_err(|error| files::unreadable(path, &error))
}

/// Executes all of it.
///
/// # Errors
/// The reader's.
fn verify(reader: impl BufRead, against: Option<&Head>, keys: Option<&Keys>) -> std::io::Result<Report> {
    let mut verifier: Option<Verifier> = None;
    let mut problem = None;
    for block in Export::new(reader) {
        let checked = match block {
            Ok(block) => next(&mut verifier, &block, against, keys),
            Err(ExportError::Io(error)) => return Err(error),
            Err(error @ ExportError::Line { .. }) => Err(error.to_string()),
        };
        if let Err(why) = checked {
            problem = Some(why);
            break;
        }
    }
    let Some(verifier) = verifier else {
        let problem = problem.or_else(|| Some("the export is empty: block 0 is missing".to_owned()));
        let (height, head, cluster_id, log_root) = (0, Hash::ZERO, None, None);
        let (blocks, transactions, uncommitted) = (0, 0, 0);
        return Ok(Report { height, head, cluster_id, log_root, blocks, transactions, uncommitted, problem });
    };
    let (state, blocks) = (verifier.state(), verifier.blocks());
    let short = against.filter(|head| head.size > blocks).map(|head| {
        let size = head.size;
        format!("the checkpoint is of {size} blocks, this chain has only {blocks}: its end was cut off")
    });
    Ok(Report {
        height: state.tip().height,
        head: state.tip().hash,
        cluster_id: Some(state.cluster_id()),
        log_root: Some(state.log().root()),
        blocks,
        transactions: verifier.transactions(),
        uncommitted: 0,
        problem: problem.or(short),
    })
}

/// Executes one more block, and compares it with the checkpoint if that ends here.
fn next(
    verifier: &mut Option<Verifier>,
    block: &Block,
    against: Option<&Head>,
    keys: Option<&Keys>,
) -> Result<(), String> {
    let height = block.header.height;
    let verifier = match verifier {
        Some(verifier) => {
            verifier.push(&block.encode()).map_err(|violation| format!("block {height}: {violation}"))?;
            verifier
        }
        None => {
            let mut new =
                Verifier::new(&block.encode()).map_err(|violation| format!("the first block: {violation}"))?;
            new.salt_tables(rand::random());
            belongs(block, new.state().cluster_id(), against, keys)?;
            verifier.insert(new)
        }
    };
    let log = verifier.state().log();
    match against {
        Some(head) if head.size == log.size() && head.root != log.root() => Err(format!(
            "this chain is not the one the checkpoint was made of: block {height} or one before it was rewritten"
        )),
        _ => Ok(()),
    }
}

/// Block 0 must be that of the checkpoint and of the keys, and the keys those of all members.
fn belongs(block: &Block, cluster_id: Hash, against: Option<&Head>, keys: Option<&Keys>) -> Result<(), String> {
    if let Some(head) = against.filter(|head| head.cluster_id != cluster_id) {
        return Err(format!(
            "the checkpoint is of {}, the export of {}",
            origin(&head.cluster_id),
            origin(&cluster_id)
        ));
    }
    let Some(keys) = keys else { return Ok(()) };
    if keys.cluster_id() != cluster_id {
        return Err(format!("the keys are of {}, the export of {}", keys.origin(), origin(&cluster_id)));
    }
    let mut named: Vec<&str> = keys.nodes().iter().map(|key| key.name()).collect();
    let info = Genesis::from_block(block).map_err(|violation| violation.to_string())?;
    let mut members: Vec<String> = info.members.iter().map(|node| node_key_name(&cluster_id, node)).collect();
    named.sort_unstable();
    members.sort_unstable();
    if named != members {
        return Err("the keys file does not name exactly the members that block 0 does".to_owned());
    }
    Ok(())
}
