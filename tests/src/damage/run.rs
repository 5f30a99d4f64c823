//! A whole run: damages at random, a sample of them before the real programs and in a bank, and damages on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::directed;
use super::judge::{Judged, Verdict};
use super::kinds::{Kind, damage};
use super::pool::{bench, judge_all};
use super::real;
use super::templates::Templates;

/// What a run shall do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many damages.
    pub count: u64,
    /// Chooses them.
    pub seed: u64,
    /// Number of the first.
    pub first: u64,
    /// The undamaged folders: made there if there are none. `None`: made for this run, and kept if something failed.
    pub templates: Option<PathBuf>,
    /// The program `damage`, which is run as worker.
    pub program: PathBuf,
    /// Every so many-th damage is put before the real programs.
    pub real_every: u64,
    /// So many of the damaged nodes are brought back in a bank, and a few more of the rare kinds.
    pub rejoins: u64,
    /// Every so many-th stored row is altered on purpose; 0: none.
    pub rows_every: usize,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Verdicts by kind of damage and file.
    pub table: BTreeMap<(Kind, String), BTreeMap<Verdict, u64>>,
    /// Damages that were put before the real programs.
    pub real: u64,
    /// Banks whose damaged node came back with `--rejoin`.
    pub rejoined: u64,
    /// Banks whose damaged node started without, for there was nothing to refuse.
    pub started: u64,
    /// Rows that were altered on purpose, by what they hold.
    pub directed: BTreeMap<&'static str, u64>,
    /// What did not hold, with the command that replays it.
    pub failures: Vec<String>,
}

impl Report {
    /// All damages with this verdict.
    pub fn sum(&self, verdict: Verdict) -> u64 {
        self.table.values().filter_map(|row| row.get(&verdict)).sum()
    }

    /// The table, for people.
    pub fn told(&self) -> String {
        let mut text = String::new();
        let mut row = |what: &str, file: &str, of: &dyn Fn(Verdict) -> String| {
            let _ = write!(text, "{what:<25} {file:<15}");
            for verdict in Verdict::ALL {
                let _ = write!(text, " {:>12}", of(verdict));
            }
            text.push('\n');
        };
        row("damage", "file", &|verdict| verdict.told().to_owned());
        for ((kind, file), verdicts) in &self.table {
            row(kind.told(), file, &|verdict| verdicts.get(&verdict).map_or_else(|| "-".to_owned(), u64::to_string));
        }
        row("all", "", &|verdict| self.sum(verdict).to_string());
        let _ = writeln!(text, "{:>8} of them also before raftbankd and bankctl as processes", self.real);
        let _ = writeln!(
            text,
            "{:>8} in a bank of three: {} came back with --rejoin, {} started on their folder",
            self.rejoined + self.started,
            self.rejoined,
            self.started
        );
        for (what, count) in &self.directed {
            let _ = writeln!(text, "{count:>8} × {what}");
        }
        text
    }
}

/// Does all of it.
///
/// # Errors
/// Something other than a damage is in the way.
pub async fn run(options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let say = |text: &str| {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
        }
    };
    let kept = tempfile::Builder::new().prefix("rbtemplates").tempdir()?;
    let dir = options.templates.clone().unwrap_or_else(|| kept.path().to_owned());
    say("making the undamaged folders");
    Templates::make(&dir).await.context("the undamaged folders")?;
    let templates = Templates::load(&dir)?;

    let (_work, bench) = bench(&options.program, &dir, options.seed)?;
    let numbers: Vec<u64> = (options.first..options.first.saturating_add(options.count)).collect();
    let done = |done: u64| say(&format!("{done} of {} damages, {:.0?}", options.count, begun.elapsed()));
    let judged = {
        let (bench, templates, numbers) = (&bench, &templates, &numbers);
        let real_every = options.real_every.max(1);
        judge_all(bench, templates, numbers, real_every, &done)?
    };
    let mut report = Report { real: options.count.div_ceil(options.real_every.max(1)), ..Report::default() };
    let mut failed: BTreeMap<u64, String> = BTreeMap::new();
    for (number, (verdict, reason)) in &judged {
        let damage = damage(&templates, options.seed, *number);
        *report.table.entry((damage.kind, damage.file.clone())).or_default().entry(*verdict).or_default() += 1;
        if *verdict == Verdict::Failure {
            failed.insert(*number, format!("{damage}\n    {reason}"));
        }
    }
    rejoins(options, &templates, &judged, &mut report, &mut failed, &say).await;
    for (number, failure) in failed {
        report.failures.push(format!("{failure}\n    replay: {}", replay(options, &dir, number)));
    }
    if options.rows_every > 0 {
        say("rows that are altered on purpose");
        let found = directed::all(&templates, options.rows_every)?;
        report.directed = found.done;
        report.failures.extend(found.failures);
    }
    say("");
    if !report.failures.is_empty() {
        // The same damage needs the same folders.
        let _ = kept.keep();
    }
    Ok(report)
}

/// Some of the damages once more, in a bank.
async fn rejoins(
    options: &Options,
    templates: &Templates,
    judged: &BTreeMap<u64, Judged>,
    report: &mut Report,
    failed: &mut BTreeMap<u64, String>,
    say: &impl Fn(&str),
) {
    let rejoins = options.rejoins.max(1);
    let every = options.count.div_ceil(rejoins).max(1);
    let first_of =
        |wanted: Kind| judged.keys().copied().find(|number| damage(templates, options.seed, *number).kind == wanted);
    let mut chosen: BTreeSet<u64> = judged.keys().copied().step_by(every as usize).collect();
    // Kinds that are rare, and that the others must make good.
    chosen.extend(first_of(Kind::OlderFolder));
    chosen.extend(first_of(Kind::PowerCut));
    for (at, number) in chosen.iter().enumerate() {
        say(&format!("{at} of {} damaged nodes brought back", chosen.len()));
        let damage = damage(templates, options.seed, *number);
        let Some(verdict) = judged.get(number) else { continue };
        match real::rejoin(templates, &damage, verdict).await {
            Ok(Some(true)) => report.rejoined += 1,
            Ok(Some(false)) => report.started += 1,
            Ok(None) => {}
            Err(error) => {
                failed.insert(*number, format!("in a bank: {damage}\n    {}\n    {error:#}", verdict.1));
            }
        }
    }
}

fn replay(options: &Options, templates: &Path, number: u64) -> String {
    format!(
        "cargo run --release -p raftbank-tests --bin damage -- --seed {} --first {number} --count 1 --templates {}",
        options.seed,
        templates.display()
    )
}
