//! What a damaged folder must do: be refused with exit code 6 and advice, or say exactly what it said before.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Result, ensure};
use raftbank_consensus::{HardState, Record, Write};
use raftbank_store::{Batch, Expected, Opened, SledReader, SledStore, Store, StoreError};
use raftbankd::{marker, signer, verify};
use serde::{Deserialize, Serialize};

use super::kinds::{Damage, Kind};
use super::picture::{Blur, Picture};
use super::templates::{Template, Templates};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Exit code 6, with advice.
    Refused,
    /// Exit code 2: it is another node's.
    NotOurs,
    /// Exit code 6 because of the private key, and the advice to move that alone away: the books are as they were.
    KeyRefused,
    /// Opened; the damage was found by the read or the write that met it.
    FoundInUse,
    /// Everything is as it was.
    NoEffect,
    /// Records above the mark are gone, and the notes say where the log ends.
    TailCut,
    /// The mark is an older one, which the notes say: the state is that of fewer records, and none of them is missing.
    Behind,
    /// An older copy of the whole folder, whole: nothing in it can tell (docs/storage.md).
    Older,
    /// What must not happen.
    Failure,
}

impl Verdict {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::NotOurs,
        Self::KeyRefused,
        Self::FoundInUse,
        Self::NoEffect,
        Self::TailCut,
        Self::Behind,
        Self::Older,
        Self::Failure,
    ];

    /// Head of its column.
    pub fn told(self) -> &'static str {
        match self {
            Self::Refused => "refused (6)",
            Self::NotOurs => "not ours (2)",
            Self::KeyRefused => "key (6)",
            Self::FoundInUse => "found in use",
            Self::NoEffect => "no effect",
            Self::TailCut => "tail cut",
            Self::Behind => "behind",
            Self::Older => "older whole",
            Self::Failure => "FAILED",
        }
    }
}

/// The high-water mark.
const MARK: &str = "mark";
/// The file with the private key.
pub(super) const KEY: &str = "key";
/// What is said if it is damaged.
pub(super) const KEY_ADVICE: &str = "move only this file away";

/// A verdict and its reason.
pub type Judged = (Verdict, String);

/// Writes the damaged folder below `work`, and judges it in this process. A panic is a failure.
///
/// # Errors
/// The folder cannot be written or removed.
pub fn judge(templates: &Templates, damage: &Damage, work: &Path) -> Result<Judged> {
    let dir = work.join("data");
    damage.files.write(&dir)?;
    let judged = catch_unwind(AssertUnwindSafe(|| verified_then_opened(templates, damage, &dir)));
    fs::remove_dir_all(&dir)?;
    judged.unwrap_or_else(|_| Ok((Verdict::Failure, "a panic reached the daemon".to_owned())))
}

fn verified_then_opened(templates: &Templates, damage: &Damage, dir: &Path) -> Result<Judged> {
    let template = templates.get(&damage.template);
    let verified = verify_copy(dir);
    if let Some(path) = damage.files.difference(dir)? {
        return Ok((Verdict::Failure, format!("verify --data-dir changed the folder: {path}")));
    }
    let (verdict, reason) = opened(templates, template, damage, dir);
    Ok(match verified {
        // Damage that no node would start on, and no error of the chain: verify must say so, too.
        Ok(()) if verdict == Verdict::Refused => (Verdict::Failure, format!("verify says ok, opening says {reason}")),
        Err(error)
            if matches!(
                verdict,
                Verdict::KeyRefused | Verdict::NoEffect | Verdict::TailCut | Verdict::Behind | Verdict::Older
            ) =>
        {
            (Verdict::Failure, format!("{reason}; yet verify says {error}"))
        }
        _ => (verdict, reason),
    })
}

/// What `raftbankd --verify` and `bankctl verify --data-dir` do.
pub(super) fn verify_copy(dir: &Path) -> Result<(), String> {
    marker::read(dir).map_err(|error| error.to_string())?;
    let copy = SledStore::open_copy(dir).map_err(|error| error.to_string())?;
    let report = verify::books(&copy.reader, None, &mut |_, _| true).map_err(|error| error.to_string())?;
    report.and_then(|report| report.problem).map_or(Ok(()), Err)
}

fn opened(templates: &Templates, template: &Template, damage: &Damage, dir: &Path) -> Judged {
    let meta = &template.picture.meta;
    let expected = Expected { cluster_id: meta.cluster_id, node: meta.node.clone() };
    let (store, reader, opened) = match SledStore::open(dir, &expected) {
        Ok(all) => all,
        Err(error) => return refused(damage, &error),
    };
    let picture = match Picture::of(&opened, &reader) {
        Ok(picture) => picture,
        Err(blur) => return blurred(blur),
    };
    let verdict = compared(templates, template, damage, &opened, &picture);
    if verdict.0 == Verdict::Failure {
        return verdict;
    }
    // The daemon reads its key once the store is open.
    let key = keyed(damage, &expected, dir, verdict);
    match written(store, reader, &picture, &expected, dir) {
        Ok(()) => key,
        Err(blur) => blurred(blur),
    }
}

/// Only what happens to the private key itself concerns it: whatever is wrong with it is refused, and a missing one is
/// made anew.
fn keyed(damage: &Damage, expected: &Expected, dir: &Path, verdict: Judged) -> Judged {
    let hit = damage.file == KEY;
    match signer::load(dir, &expected.cluster_id, &expected.node) {
        Ok(loaded) if loaded.made == (hit && damage.kind == Kind::Removed) && (loaded.made || !hit) => verdict,
        Ok(loaded) => (Verdict::Failure, format!("WRONG ANSWER: the key was taken, made: {}", loaded.made)),
        Err(failure) => {
            let text = failure.to_string();
            let told = hit && failure.exit_code() == 6 && text.contains(KEY_ADVICE);
            let fits = told && verdict.0 == Verdict::NoEffect;
            (if fits { Verdict::KeyRefused } else { Verdict::Failure }, format!("{text}; {}", verdict.1))
        }
    }
}

/// The daemon would end here.
fn refused(damage: &Damage, error: &StoreError) -> Judged {
    let text = error.to_string();
    let verdict = match error {
        StoreError::Corrupt { .. } if text.contains("--rejoin") => Verdict::Refused,
        StoreError::Format { .. } | StoreError::Mismatch { .. } if damage.kind == Kind::Foreign => Verdict::NotOurs,
        _ => return (Verdict::Failure, format!("exit code {}: {text}", error.exit_code())),
    };
    (verdict, text)
}

fn blurred(blur: Blur) -> Judged {
    match blur {
        Blur::Found(error) if error.exit_code() == 6 => (Verdict::FoundInUse, error.to_string()),
        Blur::Found(error) => (Verdict::Failure, format!("in use: exit code {}: {error}", error.exit_code())),
        Blur::Wrong(what) => (Verdict::Failure, format!("WRONG ANSWER: {what}")),
    }
}

/// It opened and can be read: what it says must be what the template says.
fn compared(templates: &Templates, template: &Template, damage: &Damage, opened: &Opened, picture: &Picture) -> Judged {
    let notes = opened.notes.join("; ");
    let Some(difference) = template.picture.difference(picture) else {
        return (Verdict::NoEffect, notes);
    };
    if damage.kind == Kind::OlderFolder {
        let node = damage.template.split('/').next_back().unwrap_or_default();
        if let Some(difference) = templates.get(&format!("old/{node}")).picture.difference(picture) {
            return (Verdict::Failure, format!("WRONG ANSWER: not the older folder either: {difference}"));
        }
        return (Verdict::Older, notes);
    }
    if damage.file == MARK && only_behind(template, picture) {
        let told = notes.contains("high-water mark");
        return (if told { Verdict::Behind } else { Verdict::Failure }, format!("{difference}; {notes:?}"));
    }
    match only_unsynced_is_missing(template, picture) {
        Ok(()) if notes.contains(&format!("record {}", picture.last_index)) => (Verdict::TailCut, notes),
        Ok(()) => (Verdict::Failure, format!("{difference}, and nothing is said: {notes:?}")),
        Err(error) => (Verdict::Failure, format!("WRONG ANSWER: {difference}; {error}; notes: {notes:?}")),
    }
}

/// All is there but for results of committed records, which consensus brings back: without the newest mark nobody here
/// knows that they are committed.
fn only_behind(template: &Template, found: &Picture) -> bool {
    let whole = &template.picture;
    found.applied < whole.applied
        && (&found.meta, found.hard, found.last_index) == (&whole.meta, whole.hard, whole.last_index)
        && (&found.records, &found.terms) == (&whole.records, &whole.terms)
        && (&found.peers, &found.keys) == (&whole.peers, &whole.keys)
}

/// What the mark vouches for is there, and nothing is that was not.
fn only_unsynced_is_missing(template: &Template, found: &Picture) -> Result<()> {
    let (mark, whole) = (&template.mark, &template.picture);
    ensure!(found.meta == whole.meta, "the identity");
    ensure!(found.records.len() <= whole.records.len(), "more records");
    ensure!(found.records[..] == whole.records[..found.records.len()], "other records");
    ensure!(found.last_index >= mark.last_index, "record {} was promised", mark.last_index);
    ensure!((mark.committed..=whole.applied).contains(&found.applied), "the results of {}", mark.committed);
    let vote = found.hard.vote.map(|node| node.0);
    let kept =
        found.hard.term > mark.term || found.hard.term == mark.term && (mark.vote.is_none() || vote == mark.vote);
    ensure!(kept && found.hard.term <= whole.hard.term, "term and vote");
    ensure!(found.peers.iter().all(|peer| whole.peers.get(peer.0) == Some(peer.1)), "the peers");
    ensure!(found.keys.iter().all(|key| whole.keys.get(key.0) == Some(key.1)), "the public keys");
    Ok(())
}

/// Goes on with it as a node would: a new term and its no-op. Then all of it must be there after a restart.
fn written(
    mut store: SledStore,
    reader: SledReader,
    before: &Picture,
    expected: &Expected,
    dir: &Path,
) -> Result<(), Blur> {
    let hard = HardState { term: before.hard.term + 1, vote: None };
    let record = Record { index: before.last_index + 1, term: hard.term, entry: None };
    let splice = Write::Splice { from: record.index, records: vec![record.clone()] };
    store.write(&Batch { writes: vec![Write::Hard(hard), splice], ..Batch::default() })?;
    store.sync()?;
    drop(reader);
    store.close()?;
    let (_store, reader, opened) = SledStore::open(dir, expected)?;
    let mut after = Picture::of(&opened, &reader)?;
    if after.hard != hard || after.records.pop() != Some(record) {
        return Err(Blur::Wrong("what was written and synced after the damage is gone".to_owned()));
    }
    after.hard = before.hard;
    after.last_index = before.last_index;
    after.terms = before.terms.clone();
    match before.difference(&after) {
        None => Ok(()),
        Some(difference) => Err(Blur::Wrong(format!("after more was written: {difference}"))),
    }
}
