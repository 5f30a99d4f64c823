use std::path::Path;

use raftbank_store::SledStore;

use super::{init, rejoin};
use crate::config::Config;
use crate::genesis::Bank;
use crate::marker;

fn bank(dir: &Path, members: &str, salt: &str) -> Bank {
    let path = dir.join("genesis.toml");
    let text = format!("name = \"t\"\nsalt = \"{salt}\"\nmembers = [{members}]\ndifficulty = 1\ntime_ms = 1\n");
    std::fs::write(&path, text).expect("written");
    Bank::load(&path).expect("valid")
}

fn three(dir: &Path) -> Bank {
    bank(dir, "\"n1\", \"n2\", \"n3\"", "s")
}

fn config(dir: &Path, id: &str) -> Config {
    let path = dir.join("node.toml");
    let text = format!(
        "[node]\nid = \"{id}\"\ndata_dir = \"{}\"\ngenesis = \"g\"\nsocket = \"s\"\n[relay]\naddress = \"127.0.0.1:1\"\n",
        dir.join("data").display()
    );
    std::fs::write(&path, text).expect("written");
    Config::load(&path).expect("valid")
}

#[test]
fn init_makes_a_folder_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, bank) = (config(dir.path(), "n2"), three(dir.path()));
    init(&config, &bank).expect("made");
    let meta = SledStore::meta(&config.node.data_dir).expect("readable");
    assert_eq!((meta.cluster_id, meta.node.as_str(), meta.rejoining), (bank.cluster_id, "n2", false));
    let failure = init(&config, &bank).expect_err("an existing folder is refused");
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.to_string().contains("data"), "{failure}");
    let again = SledStore::meta(&config.node.data_dir).expect("readable");
    assert_eq!(again.incarnation, meta.incarnation, "nothing was changed");
}

#[test]
fn each_folder_is_born_with_its_own_number() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let number = |dir: &Path| {
        let config = config(dir, "n1");
        init(&config, &three(dir)).expect("made");
        SledStore::meta(&config.node.data_dir).expect("readable").incarnation
    };
    assert_ne!(number(a.path()), number(b.path()));
}

#[test]
fn only_members_have_folders() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, bank) = (config(dir.path(), "n4"), three(dir.path()));
    for result in [init(&config, &bank), rejoin(&config, &bank)] {
        let failure = result.expect_err("n4 is no member");
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("n1, n2, n3"), "{failure}");
    }
    assert!(!config.node.data_dir.exists(), "nothing was made");
}

#[test]
fn rejoin_makes_a_rejoining_folder_and_goes_on_with_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, bank) = (config(dir.path(), "n1"), three(dir.path()));
    rejoin(&config, &bank).expect("made");
    let meta = SledStore::meta(&config.node.data_dir).expect("readable");
    assert!(meta.rejoining);
    rejoin(&config, &bank).expect("goes on");
    let again = SledStore::meta(&config.node.data_dir).expect("readable");
    assert_eq!(again.incarnation, meta.incarnation, "the same folder");
}

#[test]
fn rejoin_leaves_other_folders_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, bank) = (config(dir.path(), "n1"), three(dir.path()));
    init(&config, &bank).expect("made");
    let failure = rejoin(&config, &bank).expect_err("a healthy folder is refused");
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.to_string().contains("move it away"), "{failure}");

    let other = super::tests::bank(dir.path(), "\"n1\", \"n2\", \"n3\"", "another");
    let failure = rejoin(&config, &other).expect_err("a folder of another bank is refused");
    assert!(failure.to_string().contains("is not this one"), "{failure}");
}

#[test]
fn a_marked_folder_is_not_gone_on_with() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, bank) = (config(dir.path(), "n1"), three(dir.path()));
    rejoin(&config, &bank).expect("made");
    marker::write(&config.node.data_dir, "block 3 is damaged").expect("written");
    let failure = rejoin(&config, &bank).expect_err("damage stays damage");
    assert_eq!(failure.exit_code(), 6);
}

#[test]
fn without_a_majority_beside_it_a_member_cannot_rejoin() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config(dir.path(), "n1");
    for (members, word) in [("\"n1\"", "only one"), ("\"n1\", \"n2\"", "bank of two")] {
        let failure = rejoin(&config, &bank(dir.path(), members, "s")).expect_err("nobody who leads");
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains(word) && failure.to_string().contains("--import"), "{failure}");
        assert!(!config.node.data_dir.exists(), "nothing was made");
    }
}
