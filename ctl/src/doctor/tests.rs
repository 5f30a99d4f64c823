//! Findings about folders and answers that are made up here.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use raftbank_wire::api::{Diagnosis, MemberDiagnosis, Refused, RelayConnection};

use super::view::Diagnosed;
use super::{Finding, Level, View, as_json, as_text, clock, cluster, folder};
use crate::args::Format;
use crate::local::Place;
use crate::local::files::NodeFile;
use crate::local::people::Caller;
use crate::output::Out;

fn view(dir: &Path) -> View {
    let node = NodeFile { data_dir: Some(dir.join("data")), ..NodeFile::default() };
    View {
        limit: Duration::from_secs(60),
        caller: Caller::now(),
        place: Place { socket: dir.join("n1.sock"), ..Place::default() },
        node: Ok(node),
        genesis: None,
        diagnosis: Err("nobody".to_owned()),
        why: None,
        relay_config: dir.join("relayd.toml"),
        relay_socket: dir.join("relay.sock"),
        relay_asked: false,
        relay: Ok(Default::default()),
        relay_diagnosis: Err("nobody".to_owned()),
    }
}

fn levels(findings: &[Finding]) -> Vec<(&str, Level)> {
    findings.iter().map(|finding| (finding.check, finding.level)).collect()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_is_judged_by_what_is_in_it_and_who_may_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(dir.path());
    assert_eq!(levels(&folder::check(&view)), [("data.folder", Level::Problem)]);
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    assert_eq!(levels(&folder::check(&view)), [("data.folder", Level::Problem)]);
    fs::write(data.join("meta"), "").unwrap();
    fs::write(data.join("key"), "").unwrap();
    chmod(&data, 0o750);
    chmod(&data.join("key"), 0o600);
    assert!(folder::check(&view).iter().all(|finding| finding.level == Level::Ok), "{:?}", folder::check(&view));
    chmod(&data, 0o757);
    chmod(&data.join("key"), 0o640);
    fs::write(data.join("corrupt"), "block 7\nis wrong.\n").unwrap();
    let findings = folder::check(&view);
    let bad: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Problem).collect();
    assert_eq!(bad.iter().map(|finding| finding.check).collect::<Vec<_>>(), ["data.mode", "data.key", "data.marker"]);
    assert!(bad.iter().all(|finding| finding.remedy.is_some()));
    assert!(bad[2].message.ends_with("block 7 is wrong."), "{}", bad[2].message);
    chmod(&data, 0o755);
    assert!(levels(&folder::check(&view)).contains(&("data.mode", Level::Warning)));
}

fn three(dir: &Path, change: impl FnOnce(&mut Diagnosis)) -> View {
    let member = |id: &str| MemberDiagnosis {
        id: id.to_owned(),
        own: id == "n1",
        reachable: true,
        clock_offset_ms: Some(3),
        software: Some("raftbankd/1".to_owned()),
        heard_ms: Some(5),
        ..MemberDiagnosis::default()
    };
    let mut of = Diagnosis {
        node: "n1".to_owned(),
        leader: Some("n2".to_owned()),
        relay: RelayConnection { connected: true, ..RelayConnection::default() },
        members: ["n1", "n2", "n3"].map(member).to_vec(),
        ..Diagnosis::default()
    };
    change(&mut of);
    View { diagnosis: Ok(Diagnosed { of, old: false }), ..view(dir) }
}

fn worst(view: &View) -> Vec<(&'static str, Level)> {
    let findings = cluster::check(view, None);
    findings
        .iter()
        .filter(|finding| finding.level > Level::Note)
        .map(|finding| (finding.check, finding.level))
        .collect()
}

#[test]
fn each_trouble_of_a_cluster_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let found = |change: fn(&mut Diagnosis)| worst(&three(dir.path(), change));
    assert_eq!(found(|_| {}), []);
    assert_eq!(found(|of| of.leader = None), [("cluster.leader", Level::Problem)]);
    assert_eq!(found(|of| of.members[2].reachable = false), [("cluster.majority", Level::Warning)]);
    assert_eq!(
        found(|of| of.members[1..].iter_mut().for_each(|member| member.reachable = false)),
        [("cluster.majority", Level::Problem)]
    );
    assert_eq!(
        found(|of| of.members[2].software = Some("raftbankd/2".to_owned())),
        [("cluster.versions", Level::Warning)]
    );
    assert_eq!(found(|of| of.members[2].software = None), []);
    assert_eq!(
        found(|of| {
            of.members[2].refused = Some(Refused { code: "other_cluster".to_owned(), ..Refused::default() });
        }),
        [("cluster.genesis", Level::Problem)]
    );
    let other = cluster::check(&three(dir.path(), |_| {}), Some("ff"));
    assert!(levels(&other).contains(&("cluster.genesis", Level::Problem)));
}

#[tokio::test]
async fn clocks_are_judged_by_their_distance() {
    let dir = tempfile::tempdir().unwrap();
    for (offset_ms, level) in [(-900, Level::Ok), (-1_500, Level::Warning), (20_000, Level::Problem)] {
        let view = three(dir.path(), |of| of.members[1].clock_offset_ms = Some(offset_ms));
        assert!(levels(&clock::check(&view).await).contains(&("clock.offset", level)), "{offset_ms}");
    }
}

#[test]
fn findings_are_told_alike_to_people_and_scripts() {
    let findings = [Finding::ok("a.b", "fine"), Finding::problem("c.longer", "bad", "do this")];
    let object = as_json(&findings);
    assert_eq!(object["ok"], false);
    assert_eq!(object["findings"][0]["remedy"], serde_json::Value::Null);
    assert_eq!(object["findings"][1]["level"], "problem");
    let text = as_text(&findings, Out::new(Format::Table));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "ok       a.b       fine");
    assert_eq!(lines[3], "                   -> do this");
    assert_eq!(lines.last(), Some(&"1 problem, 0 warnings"));
    assert_eq!(as_json(&findings[..1])["ok"], true);
}
