//! Damage on purpose: one stored row is altered through sled itself, with the checksums that its format has. Nothing but
//! its meaning is wrong, and `verify` must find it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::{Block, Hash, Outcome, RequestId};
use raftbank_store::{Expected, SledStore};

use super::files::{Files, workplace};
use super::judge::verify_copy;
use super::real;
use super::templates::{Template, Templates};

/// What the altered rows hold.
const BALANCE: &str = "stored balances altered, one at a time: each found by verify";
const VALUE: &str = "stored values altered, one at a time: each found by verify";
const ID: &str = "ids and outcomes of entries altered, one at a time: each found by verify";
const NONCE: &str = "nonces of blocks altered, one at a time: each found by verify";
const TIP: &str = "fields of the state's tip altered, one at a time: each found by verify";
const OWNER: &str = "notes of whose folder it is altered, one at a time: each found by verify";
const TORN: &str = "torn tails above the mark: cut, and said";

/// What was done, and what was not found.
#[derive(Debug, Default)]
pub struct Found {
    /// Alterations by what they alter.
    pub done: BTreeMap<&'static str, u64>,
    /// Those that verify did not find.
    pub failures: Vec<String>,
}

/// One row, and what stands there instead.
struct Alteration {
    what: &'static str,
    told: String,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Alters every `every`-th row of the smallest template, and the first of each kind before the real programs, too.
///
/// # Errors
/// The folder cannot be altered.
pub fn all(templates: &Templates, every: usize) -> Result<Found> {
    let template = templates.get("old/n1");
    let mut chosen = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for alteration in alterations(template)? {
        let count = seen.entry(alteration.what).or_default();
        if count.is_multiple_of(every) {
            chosen.push((alteration, *count == 0));
        }
        *count += 1;
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let share = chosen.len().div_ceil(jobs).max(1);
    let mut found = Found::default();
    let parts: Vec<Result<Found>> = std::thread::scope(|scope| {
        let threads: Vec<_> = chosen.chunks(share).map(|part| scope.spawn(move || altered(template, part))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a panic of a test"))).collect()
    });
    for part in parts {
        let part = part?;
        part.done.into_iter().for_each(|(what, count)| *found.done.entry(what).or_default() += count);
        found.failures.extend(part.failures);
    }
    match torn(template) {
        Ok(()) => *found.done.entry(TORN).or_default() += 1,
        Err(error) => found.failures.push(format!("{TORN}: {error:#}")),
    }
    Ok(found)
}

/// Each of these on a copy of its own; those marked also before the real programs.
fn altered(template: &Template, alterations: &[(Alteration, bool)]) -> Result<Found> {
    let work = workplace()?;
    let dir = work.path().join("data");
    let mut found = Found::default();
    for (alteration, thoroughly) in alterations {
        template.files.write(&dir)?;
        change(&dir, |db| db.insert(&alteration.key, alteration.value.clone()).map(drop))?;
        let mut complaint = verify_copy(&dir).is_ok().then(|| "verify says ok".to_owned());
        if *thoroughly && complaint.is_none() {
            let before = Files::read(&dir)?;
            let output = real::verify(&dir, work.path())?;
            complaint = if output.status.code() == Some(6) {
                before.difference(&dir)?.map(|path| format!("verify changed {path}"))
            } else {
                Some(format!("bankctl verify: {output:?}"))
            };
        }
        if let Some(complaint) = complaint {
            found.failures.push(format!("{}: {}: {complaint}", alteration.what, alteration.told));
        }
        *found.done.entry(alteration.what).or_default() += 1;
        fs::remove_dir_all(&dir)?;
    }
    Ok(found)
}

/// Everything that can be altered in a template.
fn alterations(template: &Template) -> Result<Vec<Alteration>> {
    let work = workplace()?;
    let dir = work.path().join("data");
    template.files.write(&dir)?;
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    change(&dir, |db| {
        for row in db.iter() {
            let (key, value) = row?;
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(())
    })?;
    let mut all = Vec::new();
    for (key, value) in &rows {
        let told = key.escape_ascii().to_string();
        let mut sealed = |what, place: usize| {
            let mut altered = value.clone();
            altered[place] ^= 1;
            all.push(Alteration {
                what,
                told: format!("{told} at {place}"),
                key: key.clone(),
                value: seal(key, altered),
            });
        };
        match key.first() {
            // The last byte of the balance.
            Some(b'a') => sealed(BALANCE, 15),
            Some(b'v') if value.len() > 4 => sealed(VALUE, value.len() / 2 - 2),
            // The last byte of the incarnation.
            Some(b'o') => sealed(OWNER, 7),
            // Index, term, height, hash, time, term, root.
            Some(b's') => [7, 15, 23, 30, 63, 71, 80].into_iter().for_each(|place| sealed(TIP, place)),
            _ => {}
        }
    }
    for record in template.picture.records.iter().filter(|record| record.index > 0) {
        let Some(entry) = &record.entry else { continue };
        let block = Block::decode(entry)?;
        let mut altered = |what, told: String, block: &Block| {
            let (key, value) = record_row(record.index, record.term, &block.encode());
            // A record of one part only: the others are found by the same digest.
            if rows.iter().any(|(found, old)| *found == key && old.len() == value.len()) {
                all.push(Alteration { what, told, key, value });
            }
        };
        let mut other = block.clone();
        other.header.nonce ^= 1;
        altered(NONCE, format!("record {}", record.index), &other);
        // What is kept of an id follows from its entry.
        for at in 0..block.entries.len() {
            let told = format!("record {}, entry {at}", record.index);
            let mut other = block.clone();
            let id = &mut other.entries[at].request.id;
            let last = if id.as_str().ends_with('0') { '1' } else { '0' };
            *id = RequestId::parse(&format!("{}{last}", &id.as_str()[..id.as_str().len() - 1]))?;
            altered(ID, told.clone(), &other);
            let mut other = block.clone();
            let outcome = &mut other.entries[at].outcome;
            *outcome = Outcome::from_byte(outcome.byte() ^ 1)?;
            altered(ID, told, &other);
        }
    }
    Ok(all)
}

/// The row of a record of one part, with the digest that belongs to it (store/src/record.rs).
fn record_row(index: u64, term: u64, entry: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut key = vec![b'r'];
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&[0, 0]);
    let length = (entry.len() as u32).to_be_bytes();
    let digest = Hash::of(&[b"raftbank/record/1\n", &index.to_be_bytes(), &term.to_be_bytes(), &[1], &length, entry]);
    let mut value = term.to_be_bytes().to_vec();
    value.push(1);
    value.extend_from_slice(&length);
    value.extend_from_slice(&digest.0);
    value.extend_from_slice(entry);
    (key, value)
}

/// Replaces the checksum at the end by the right one.
fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let payload = value.len() - 4;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&value[..payload]);
    value[payload..].copy_from_slice(&hasher.finalize().to_be_bytes());
    value
}

/// Opens sled behind the store's back.
fn change(dir: &Path, change: impl FnOnce(&sled::Db) -> sled::Result<()>) -> Result<()> {
    let db = raftbank_store::sled_for_tests(dir)?;
    change(&db)?;
    db.flush()?;
    Ok(())
}

/// Rows of records whose rest never arrived, above the mark.
fn torn(template: &Template) -> Result<()> {
    let work = workplace()?;
    let dir = &work.path().join("data");
    template.files.write(dir)?;
    let last = template.picture.last_index;
    let (first, mut half) = record_row(last + 1, template.picture.hard.term, &[7; 5000]);
    half.truncate(2000);
    let (mut second, _) = record_row(last + 2, template.picture.hard.term, &[]);
    *second.last_mut().context("a key")? = 1;
    change(dir, |db| db.insert(first, half).and_then(|_| db.insert(second, vec![7; 100])).map(drop))?;
    let meta = &template.picture.meta;
    let expected = Expected { cluster_id: meta.cluster_id, node: meta.node.clone() };
    let (store, reader, opened) = SledStore::open(dir, &expected)?;
    let said = opened.notes.iter().any(|note| note.contains(&format!("a torn tail after record {last} was cut")));
    ensure!(said && opened.durable.last_index == last, "{:?}", opened.notes);
    drop((store, reader));
    Ok(())
}
