//! The recorded counts, and what becomes of them when they are compared with those of now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A count that its record exceeds by more than this part, and more than its tolerance, should be recorded anew: else it
/// may grow again unseen.
const FELL: f64 = 0.02;

/// Counts per transfer, by name: load, who, what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// How it is made anew.
    #[serde(default)]
    pub note: String,
    /// By name.
    pub counts: BTreeMap<String, f64>,
}

/// What is to be said of one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within its tolerance.
    Same,
    /// Above it: fails.
    Grew,
    /// Far below: to be recorded anew.
    Fell,
    /// Recorded, and not counted now: fails.
    Missing,
    /// Counted now, and not recorded: fails.
    New,
    /// It could not be counted on this machine, and the program said why.
    Skipped,
}

/// One count in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Load, who, what.
    pub name: String,
    /// As recorded.
    pub recorded: Option<f64>,
    /// As counted.
    pub now: Option<f64>,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Verdict {
    /// True if the check fails.
    pub fn fails(self) -> bool {
        matches!(self, Self::Grew | Self::Missing | Self::New)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Same => "ok",
            Self::Grew => "GREW",
            Self::Fell => "fell: record anew",
            Self::Missing => "MISSING",
            Self::New => "NEW: record anew",
            Self::Skipped => "skipped",
        }
    }
}

impl Counts {
    /// Notes a count, with six digits that count.
    pub fn set(&mut self, name: String, value: f64) {
        let rounded = format!("{value:.5e}").parse().unwrap_or(value);
        self.counts.insert(name, rounded);
    }

    /// Adds those of another load.
    pub fn extend(&mut self, other: Self) {
        self.counts.extend(other.counts);
    }

    /// Reads a recorded file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is no count.
    pub fn read(file: &Path) -> Result<Self> {
        let told = || format!("the recorded counts in {}", file.display());
        let bytes = std::fs::read(file).with_context(told)?;
        let counts: Self = serde_json::from_slice(&bytes).with_context(told)?;
        ensure!(counts.counts.values().all(|value| *value >= 0.0), "{}: a count below zero", told());
        Ok(counts)
    }

    /// Records them.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("recording in {}", file.display()))
    }
}

/// By what part a count may be above its record. What is not named here was the same, to the last digit, in six runs beside
/// other work; what it may grow is room for a change of no importance.
pub fn tolerance(name: &str) -> f64 {
    let single = name.starts_with("one at a time/");
    match name.rsplit('/').next() {
        // Another compiler or C library may arrange the same work in other instructions.
        Some("instructions") => 0.02,
        // sled's own threads write and allocate when they come to it. Runs beside other work differed by up to 17 % (with large
        // blocks, where an allocation is one for 40 transfers), 63 % and 118 % (36 % with larger blocks).
        Some("store allocations") => 0.5,
        Some("store allocated bytes") => {
            if single {
                1.0
            } else {
                0.5
            }
        }
        Some("bytes written") => {
            if single {
                1.5
            } else {
                0.6
            }
        }
        _ => 0.01,
    }
}

/// Compares. `skipped` says which counts could not be taken here.
pub fn compare(recorded: &Counts, now: &Counts, skipped: impl Fn(&str) -> bool) -> Vec<Row> {
    let names: BTreeSet<&String> = recorded.counts.keys().chain(now.counts.keys()).collect();
    let row = |name: &String| {
        let (before, after) = (recorded.counts.get(name).copied(), now.counts.get(name).copied());
        let verdict = match (before, after) {
            (Some(before), Some(after)) => judge(before, after, tolerance(name)),
            (Some(_), None) if skipped(name) => Verdict::Skipped,
            (Some(_), None) => Verdict::Missing,
            (None, _) => Verdict::New,
        };
        Row { name: name.clone(), recorded: before, now: after, verdict }
    };
    names.into_iter().map(row).collect()
}

fn judge(before: f64, after: f64, tolerance: f64) -> Verdict {
    if after > before * (1.0 + tolerance) {
        Verdict::Grew
    } else if after * (1.0 + tolerance.max(FELL)) < before {
        Verdict::Fell
    } else {
        Verdict::Same
    }
}

/// A number with six digits that count, as far as they lie behind the point.
fn digits(value: f64) -> String {
    let before = if value < 1.0 { 0 } else { value.log10() as usize + 1 };
    let leading = if value > 0.0 && value < 0.1 { (-value.log10()) as usize } else { 0 };
    format!("{value:.*}", 6_usize.saturating_sub(before) + leading)
}

/// As people read it.
pub fn table(rows: &[Row]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), digits);
    let mut text = format!("{:<44} {:>14} {:>14} {:>9}  verdict\n", "per transfer", "recorded", "now", "change");
    for row in rows {
        let change = match (row.recorded, row.now) {
            (Some(before), Some(now)) if before > 0.0 => format!("{:+.2} %", (now / before - 1.0) * 100.0),
            _ => "–".to_owned(),
        };
        let (recorded, now) = (number(row.recorded), number(row.now));
        let _ = writeln!(text, "{:<44} {recorded:>14} {now:>14} {change:>9}  {}", row.name, row.verdict.text());
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Counts {
        let counts = of.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Counts { note: String::new(), counts }
    }

    fn verdicts(recorded: &[(&str, f64)], now: &[(&str, f64)]) -> Vec<Verdict> {
        let rows = compare(&counts(recorded), &counts(now), |name| name.ends_with("instructions"));
        rows.iter().map(|row| row.verdict).collect()
    }

    #[test]
    fn growth_beyond_the_tolerance_fails_and_within_it_does_not() {
        let name = "one at a time/leader/sha256 calls";
        let at = |part: f64| verdicts(&[(name, 100.0)], &[(name, 100.0 * (1.0 + part))]);
        assert_eq!(at(tolerance(name) * 0.9), [Verdict::Same]);
        assert_eq!(at(tolerance(name) * 1.1), [Verdict::Grew]);
        assert_eq!(at(-0.01), [Verdict::Same]);
        assert_eq!(at(-0.03), [Verdict::Fell]);
        assert!(Verdict::Grew.fails() && !Verdict::Fell.fails() && !Verdict::Same.fails());
    }

    #[test]
    fn what_has_a_wide_tolerance_falls_far_before_it_is_told() {
        let name = "one at a time/node/bytes written";
        assert_eq!(verdicts(&[(name, 100.0)], &[(name, 60.0)]), [Verdict::Same]);
        assert_eq!(verdicts(&[(name, 100.0)], &[(name, 30.0)]), [Verdict::Fell]);
        assert_eq!(verdicts(&[(name, 100.0)], &[(name, 300.0)]), [Verdict::Grew]);
    }

    #[test]
    fn what_was_nothing_and_is_something_fails() {
        assert_eq!(verdicts(&[("a", 0.0)], &[("a", 0.1)]), [Verdict::Grew]);
        assert_eq!(verdicts(&[("a", 0.0)], &[("a", 0.0)]), [Verdict::Same]);
    }

    #[test]
    fn a_missing_name_fails_on_either_side_unless_it_was_skipped() {
        assert_eq!(verdicts(&[("a", 1.0)], &[]), [Verdict::Missing]);
        assert_eq!(verdicts(&[], &[("a", 1.0)]), [Verdict::New]);
        assert!(Verdict::Missing.fails() && Verdict::New.fails());
        assert_eq!(verdicts(&[("x/instructions", 1.0)], &[]), [Verdict::Skipped]);
        assert!(!Verdict::Skipped.fails());
    }

    #[test]
    fn what_is_recorded_is_read_back_and_rubbish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("counts.json");
        let mut written = Counts { note: "a note".to_owned(), ..Counts::default() };
        written.set("a/b".to_owned(), 1.0 / 3.0);
        written.write(&file).unwrap();
        assert_eq!(Counts::read(&file).unwrap(), written);
        assert_eq!(written.counts["a/b"], 0.333333);
        std::fs::write(&file, r#"{"counts":{"a":-1}}"#).unwrap();
        assert!(Counts::read(&file).is_err());
        std::fs::write(&file, r#"{"counts":{"a":"many"}}"#).unwrap();
        assert!(Counts::read(&file).is_err());
    }
}
