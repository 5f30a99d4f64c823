//! Damage to a stopped node's files is found and refused with advice, or has no effect; `--rejoin` brings the node back.
//! More of it: `cargo run --release -p raftbank-tests --bin damage -- --count 10000`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use raftbank_tests::damage::files::workplace;
use raftbank_tests::damage::judge::{Verdict, judge};
use raftbank_tests::damage::kinds::{Damage, Kind, damage};
use raftbank_tests::damage::pool;
use raftbank_tests::damage::run::{Options, run};
use raftbank_tests::damage::templates::Templates;

#[tokio::test]
async fn every_damage_is_found_or_without_effect() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let folder = workplace().unwrap();
    let report = run(&Options {
        count: 150,
        seed,
        first: 0,
        templates: Some(folder.path().to_owned()),
        program: env!("CARGO_BIN_EXE_damage").into(),
        real_every: 30,
        rejoins: 5,
        rows_every: 25,
    })
    .await
    .unwrap();
    println!("{}", report.told());
    if !report.failures.is_empty() {
        println!("the undamaged folders are in {}", folder.keep().display());
        panic!("{}", report.failures.join("\n"));
    }
    // Were most of them without effect, this would show nothing.
    assert!(report.sum(Verdict::Refused) > 75, "{}", report.told());
    assert!(report.sum(Verdict::NoEffect) > 0 && report.sum(Verdict::TailCut) > 0, "{}", report.told());
    assert!(report.sum(Verdict::KeyRefused) > 0, "{}", report.told());
    assert!(report.rejoined >= 2 && report.started >= 1, "{}", report.told());
    for file in ["key", "mark", "meta", "sled/db", "sled/conf", "sled/snap.*"] {
        assert!(report.table.keys().any(|(_, hit)| hit == file), "nothing happened to {file}");
    }
    self_tests(&Templates::load(folder.path()).unwrap(), folder.path(), seed);
}

/// What judges can fail.
fn self_tests(templates: &Templates, dir: &Path, seed: u64) {
    // The same damage again and again, and another one under another number.
    let (one, again) = (damage(templates, seed, 7), damage(templates, seed, 7));
    assert!(one.files == again.files && one.to_string() == again.to_string());
    assert!((8..12).any(|other| damage(templates, seed, other).files != one.files));

    // A folder that opens and says something else is a wrong answer, unless it was put back whole.
    let work = workplace().unwrap();
    let mut older = Damage {
        number: 0,
        template: "clean/n1".to_owned(),
        file: "sled/db".to_owned(),
        kind: Kind::Older,
        detail: String::new(),
        files: templates.get("old/n1").files.clone(),
    };
    let (verdict, reason) = judge(templates, &older, work.path()).unwrap();
    assert!(verdict == Verdict::Failure && reason.contains("WRONG ANSWER"), "{verdict:?} {reason}");
    older.kind = Kind::OlderFolder;
    assert_eq!(judge(templates, &older, work.path()).unwrap().0, Verdict::Older);
    // One that is refused with another exit code, too.
    older.files.files.clear();
    older.files.folders.clear();
    let (verdict, reason) = judge(templates, &older, work.path()).unwrap();
    assert!(verdict == Verdict::Failure && reason.contains("exit code 2"), "{verdict:?} {reason}");

    // So is a process that ends instead of judging.
    let (_work, bench) = pool::bench(Path::new("/bin/false"), dir, seed).unwrap();
    let judged = pool::judge_all(&bench, templates, &[7], u64::MAX, &|_| ()).unwrap();
    assert!(judged[&7].0 == Verdict::Failure && judged[&7].1.contains("exit code 1"), "{judged:?}");
}
