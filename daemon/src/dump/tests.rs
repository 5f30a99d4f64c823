//! A folder is told as it is, damaged or not.
#![allow(clippy::unwrap_used)]

use raftbank_ledger::{Genesis, GenesisAccount, NodeName};
use raftbank_store::{FORMAT, Meta, SledStore};
use tempfile::TempDir;

use super::*;

fn lines(dir: &Path) -> Vec<Value> {
    let mut out = Vec::new();
    write(&Salvage::open(dir).unwrap(), Some("why"), &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_altered_balance_is_told_though_no_node_would_start() {
    let base = TempDir::new().unwrap();
    let dir = base.path().join("data");
    let account =
        |name: &str, balance| GenesisAccount { name: raftbank_ledger::Account::parse(name).unwrap(), balance };
    let node = NodeName::parse("n1").unwrap();
    let genesis = Genesis {
        name: "test".into(),
        salt: "salt".into(),
        members: vec![node.clone()],
        difficulty: 0,
        time_ms: 1,
        accounts: vec![account("alice", 5), account("bob", 0)],
        transfers: Vec::new(),
    };
    let block = genesis.block().unwrap();
    let meta = Meta { format: FORMAT, cluster_id: block.hash(), node, incarnation: 1, rejoining: false };
    SledStore::create(&dir, &meta, &block).unwrap();
    let told = lines(&dir);
    let alice = |told: &[Value]| {
        told.iter().find(|line| line["account"] == "alice").map(|line| line["balance"].as_str().unwrap().to_owned())
    };
    assert_eq!((told[0]["height"].as_u64(), alice(&told).as_deref()), (Some(0), Some("5")));
    assert_eq!(told[0]["uncommitted"], Value::Null);
    assert_eq!((told.last().unwrap()["height"].as_u64(), &told.last().unwrap()["stopped"]), (Some(0), &"why".into()));

    let db = raftbank_store::sled_for_tests(&dir).unwrap();
    let mut payload = 6_i128.to_be_bytes().to_vec();
    let crc = crc32fast::hash(&[b"aalice", &payload[..]].concat());
    payload.extend_from_slice(&crc.to_be_bytes());
    db.insert("aalice", payload).unwrap();
    db.flush().unwrap();
    drop(db);
    assert!(SledStore::open_copy(&dir).is_err(), "no node starts from it");
    assert_eq!(alice(&lines(&dir)).as_deref(), Some("6"));
}
