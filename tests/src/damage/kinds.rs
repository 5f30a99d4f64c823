//! One damage: which folder, which file, what happens to it. All of it follows from the seed and the damage's number.

use std::collections::BTreeSet;
use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::files::Files;
use super::templates::{NODES, Templates};
use crate::cluster::name;

const PAGE: usize = 4096;
const SECTOR: usize = 512;
/// How often another place is tried when a damage changes nothing, such as a page of zeros that is zeroed.
const TRIES: u32 = 50;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One bit.
    Flip,
    /// 2 to 32 bits in one sector.
    Flips,
    /// The end is missing.
    Shorter,
    /// Random bytes behind the end.
    Longer,
    /// A page of zeros.
    Zeros,
    /// Two pages in each other's place.
    Swapped,
    /// A page over another one.
    Doubled,
    /// Random bytes over a page, or over a part of it.
    Garbage,
    /// The file is gone.
    Removed,
    /// It is there, and empty.
    Emptied,
    /// An older copy of this file.
    Older,
    /// An older copy of all that sled has.
    OlderSled,
    /// An older copy of the whole folder.
    OlderFolder,
    /// The same file of another node of the bank.
    Foreign,
    /// A power cut: some of the pages that were not synced are as they were before.
    PowerCut,
}

impl Kind {
    /// For people.
    pub fn told(self) -> &'static str {
        match self {
            Self::Flip => "one bit flipped",
            Self::Flips => "bits of a sector flipped",
            Self::Shorter => "truncated",
            Self::Longer => "garbage appended",
            Self::Zeros => "page zeroed",
            Self::Swapped => "pages swapped",
            Self::Doubled => "page duplicated",
            Self::Garbage => "garbage in a page",
            Self::Removed => "removed",
            Self::Emptied => "emptied",
            Self::Older => "older copy",
            Self::OlderSled => "older copy of sled/",
            Self::OlderFolder => "older copy of the folder",
            Self::Foreign => "another node's",
            Self::PowerCut => "power cut",
        }
    }
}

/// One damage, done.
#[derive(Clone, Debug)]
pub struct Damage {
    /// Its number in the run.
    pub number: u64,
    /// The undamaged folder.
    pub template: String,
    /// The file, a number in its name left out.
    pub file: String,
    /// What happened.
    pub kind: Kind,
    /// Where.
    pub detail: String,
    /// The damaged folder.
    pub files: Files,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage {} of {}: {}: {} ({})", self.number, self.template, self.file, self.kind.told(), self.detail)
    }
}

/// Does damage `number` of a seed.
///
/// # Panics
/// The templates are not what they should be.
pub fn damage(templates: &Templates, seed: u64, number: u64) -> Damage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A stream of its own for every damage, so that any can be done alone.
    rng.set_stream(number);
    for _ in 0..TRIES {
        let damage = attempt(templates, number, &mut rng);
        if damage.files != templates.get(&damage.template).files {
            return damage;
        }
    }
    panic!("nothing can be damaged");
}

fn attempt(templates: &Templates, number: u64, rng: &mut ChaCha8Rng) -> Damage {
    let node = name(rng.random_range(0..NODES));
    let template = match rng.random_range(0..100) {
        0..45 => format!("clean/{node}"),
        45..85 => format!("killed/{node}"),
        _ => "unsynced/n1".to_owned(),
    };
    let mut files = templates.get(&template).files.clone();
    if template.starts_with("unsynced") && rng.random_bool(0.6) {
        let detail = power_cut(&templates.get("synced/n1").files, &mut files, rng);
        let file = "unsynced pages".to_owned();
        return Damage { number, template, file, kind: Kind::PowerCut, detail, files };
    }
    let others: Vec<String> = files.files.keys().filter(|name| *name != "sled/db").cloned().collect();
    let file = match others.choose(rng) {
        Some(other) if rng.random_bool(0.4) => other.clone(),
        _ => "sled/db".to_owned(),
    };
    let kind = match rng.random_range(0..100) {
        0..22 => Kind::Flip,
        22..36 => Kind::Flips,
        36..48 => Kind::Shorter,
        48..51 => Kind::Longer,
        51..61 => Kind::Zeros,
        61..68 => Kind::Swapped,
        68..74 => Kind::Doubled,
        74..84 => Kind::Garbage,
        84..87 => Kind::Removed,
        87..90 => Kind::Emptied,
        90..94 => Kind::Older,
        94..96 => Kind::OlderSled,
        96..98 => Kind::OlderFolder,
        _ => Kind::Foreign,
    };
    let old = template_of(&template, "old");
    let (shown, detail) = match kind {
        Kind::Removed => {
            files.files.remove(&file);
            (file, "gone".to_owned())
        }
        Kind::Older => {
            (file.clone(), take_over(&mut files, &templates.get(&old).files, |name| like(name, &file), &old))
        }
        Kind::OlderSled => {
            let detail = take_over(&mut files, &templates.get(&old).files, |name| name.starts_with("sled/"), &old);
            ("sled/*".to_owned(), detail)
        }
        Kind::OlderFolder => ("*".to_owned(), take_over(&mut files, &templates.get(&old).files, |_| true, &old)),
        Kind::Foreign => {
            let from = another_node(&template, rng);
            (file.clone(), take_over(&mut files, &templates.get(&from).files, |name| like(name, &file), &from))
        }
        _ => {
            let bytes = files.files.get_mut(&file).expect("a file of the folder");
            let detail = within(kind, bytes, rng);
            (file, detail)
        }
    };
    Damage { number, template, file: without_number(&shown), kind, detail, files }
}

/// Damages that stay within one file.
fn within(kind: Kind, bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) -> String {
    let length = bytes.len();
    if length == 0 {
        return "empty anyway".to_owned();
    }
    // Mostly where something was ever written: the rest of sled's file is the filling of a segment.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(length, |last| last + 1);
    let reach = if rng.random_bool(0.95) { used } else { length };
    let at = rng.random_range(0..reach);
    let page = |number: usize| number * PAGE..length.min((number + 1) * PAGE);
    let any_page = |rng: &mut ChaCha8Rng| rng.random_range(0..reach.div_ceil(PAGE));
    match kind {
        Kind::Flip => {
            let bit = rng.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        Kind::Flips => {
            let sector = at / SECTOR * SECTOR..length.min((at / SECTOR + 1) * SECTOR);
            let count = rng.random_range(2..=32);
            for _ in 0..count {
                bytes[rng.random_range(sector.clone())] ^= 1 << rng.random_range(0..8);
            }
            format!("{count} bits of bytes {sector:?}")
        }
        Kind::Shorter => {
            bytes.truncate(at);
            format!("{at} of {length} bytes left")
        }
        Kind::Emptied => {
            bytes.clear();
            format!("0 of {length} bytes left")
        }
        Kind::Longer => {
            let mut more = vec![0; rng.random_range(1..3 * PAGE)];
            rng.fill_bytes(&mut more);
            bytes.extend_from_slice(&more);
            format!("{} bytes after {length}", more.len())
        }
        Kind::Zeros => {
            let place = page(any_page(rng));
            bytes[place.clone()].fill(0);
            format!("bytes {place:?}")
        }
        Kind::Garbage => {
            let place = page(any_page(rng));
            let begin = if rng.random_bool(0.5) { place.start } else { rng.random_range(place.clone()) };
            let end = if rng.random_bool(0.5) { place.end } else { rng.random_range(begin..place.end) + 1 };
            rng.fill_bytes(&mut bytes[begin..end]);
            format!("bytes {:?}", begin..end)
        }
        Kind::Swapped | Kind::Doubled => {
            let (from, to) = (page(any_page(rng)), page(any_page(rng)));
            let count = from.len().min(to.len());
            let first = bytes[from.start..from.start + count].to_vec();
            if kind == Kind::Swapped {
                bytes.copy_within(to.start..to.start + count, from.start);
            }
            bytes[to.start..to.start + count].copy_from_slice(&first);
            format!("{count} bytes at {} and {}", from.start, to.start)
        }
        _ => unreachable!("{kind:?} is not within a file"),
    }
}

/// Of everything that changed since the last sync, some pages never reached the disk: any of them, or all from one on.
fn power_cut(before: &Files, after: &mut Files, rng: &mut ChaCha8Rng) -> String {
    let mut told = Vec::new();
    let names: BTreeSet<String> = before.files.keys().chain(after.files.keys()).cloned().collect();
    for name in names {
        let old = before.files.get(&name);
        if old == after.files.get(&name) {
            continue;
        }
        let (Some(old), Some(new)) = (old, after.files.get_mut(&name)) else {
            // The file was made or removed: that is in the folder, which was not synced.
            if rng.random_bool(0.5) {
                match old {
                    Some(old) => after.files.insert(name.clone(), old.clone()),
                    None => after.files.remove(&name),
                };
                told.push(format!("{name} as before"));
            }
            continue;
        };
        let size = if rng.random_bool(0.5) { PAGE } else { SECTOR };
        let mut whole = old.clone();
        whole.resize(old.len().max(new.len()), 0);
        let mut kept = new.clone();
        kept.resize(whole.len(), 0);
        let changed: Vec<usize> = (0..whole.len().div_ceil(size))
            .filter(|page| {
                let place = page * size..whole.len().min((page + 1) * size);
                whole[place.clone()] != kept[place]
            })
            .collect();
        let from = rng.random_range(0..=changed.len());
        let chance = [0.1, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        let mut lost = 0;
        for page in changed.iter().skip(from) {
            if rng.random_bool(chance) {
                let place = page * size..whole.len().min((page + 1) * size);
                kept[place.clone()].copy_from_slice(&whole[place]);
                lost += 1;
            }
        }
        *new = kept;
        told.push(format!("{name}: {lost} of {} changed pages of {size} bytes, from {from}", changed.len()));
    }
    told.join("; ")
}

/// Takes files from another folder, and removes those of the same name here.
fn take_over(files: &mut Files, from: &Files, wanted: impl Fn(&str) -> bool, told: &str) -> String {
    files.files.retain(|name, _| !wanted(name));
    files.files.extend(from.files.iter().filter(|(name, _)| wanted(name)).map(|(a, b)| (a.clone(), b.clone())));
    format!("from {told}")
}

/// The same file, whatever number is in its name.
fn like(name: &str, other: &str) -> bool {
    without_number(name) == without_number(other)
}

fn without_number(name: &str) -> String {
    match name.split_once("snap.") {
        Some((before, _)) => format!("{before}snap.*"),
        None => name.to_owned(),
    }
}

fn template_of(template: &str, stage: &str) -> String {
    let node = template.split('/').next_back().unwrap_or_default();
    format!("{stage}/{node}")
}

fn another_node(template: &str, rng: &mut ChaCha8Rng) -> String {
    let (stage, node) = template.split_once('/').unwrap_or_default();
    let others: Vec<String> = (0..NODES).map(name).filter(|other| other != node).collect();
    format!("{stage}/{}", others[rng.random_range(0..others.len())])
}
