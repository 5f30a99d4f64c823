//! An export becomes a folder with the same books, and anything less becomes nothing.
#![allow(clippy::unwrap_used)]

use std::fs;

use raftbank_ledger::{Account, Amount, Operation, Request, RequestId, pow};
use raftbank_proofs::block_json;
use tempfile::TempDir;

use super::*;
use crate::verify;

const GENESIS: &str = "name = \"test\"\nsalt = \"salt\"\nmembers = [\"n1\"]\ndifficulty = 2\ntime_ms = 1000\n\
                       [[accounts]]\nname = \"alice\"\nbalance = 100\n[[accounts]]\nname = \"bob\"\nbalance = 0\n";

struct Place {
    dir: TempDir,
    config: Config,
    bank: Bank,
}

fn place() -> Place {
    let dir = TempDir::new().unwrap();
    let genesis = dir.path().join("genesis.toml");
    fs::write(&genesis, GENESIS).unwrap();
    let text = format!(
        "[node]\nid = \"n1\"\ndata_dir = {:?}\ngenesis = {:?}\nsocket = {:?}\n[relay]\naddress = \"127.0.0.1:1\"\n",
        dir.path().join("data"),
        genesis,
        dir.path().join("socket")
    );
    fs::write(dir.path().join("n1.toml"), text).unwrap();
    let config = Config::load(&dir.path().join("n1.toml")).unwrap();
    let bank = Bank::load(&config.node.genesis).unwrap();
    Place { dir, config, bank }
}

/// A chain of `blocks` blocks after block 0, in two terms, and the state after it.
fn chain(bank: &Bank, blocks: u64) -> (Vec<Block>, State) {
    let (mut state, _) = State::new(&bank.block).unwrap();
    let mut chain = vec![bank.block.clone()];
    for number in 0..blocks {
        let operation = Operation::Transfer {
            from: Account::parse("alice").unwrap(),
            to: Account::parse("bob").unwrap(),
            amount: Amount::new(1 + number % 3).unwrap(),
            memo: "m".repeat((number % 200) as usize),
        };
        let request = Request::new(RequestId::parse(&format!("r{number}")).unwrap(), operation).unwrap();
        let executed = state.execute(vec![request], 5_000_000_000_000 + number);
        let header = executed.seal(&state, 1 + number / 7, NodeName::parse("n1").unwrap());
        let nonce = pow::mine(&header, 0, 1 << 20).unwrap();
        let header = raftbank_ledger::Header { nonce, ..header };
        chain.push(Block { header: header.clone(), entries: executed.entries() });
        state.commit(executed, &header).unwrap();
    }
    (chain, state)
}

fn write_export(place: &Place, blocks: &[Block]) -> PathBuf {
    let path = place.dir.path().join("chain.jsonl");
    let lines: String = blocks.iter().map(|block| format!("{}\n", block_json(block))).collect();
    fs::write(&path, lines).unwrap();
    path
}

#[test]
fn an_imported_node_has_the_same_books() {
    let place = place();
    let (blocks, state) = chain(&place.bank, 40);
    let export = write_export(&place, &blocks);
    let imported = import(&place.config, &place.bank, &export).unwrap();
    assert_eq!((imported.height, imported.state.tip()), (40, state.tip()));
    let copy = SledStore::open_copy(&place.config.node.data_dir).unwrap();
    let report = verify::books(&copy.reader, None, &mut |_, _| true).unwrap().unwrap();
    assert_eq!((report.problem, report.head, report.blocks), (None, state.tip().hash, 41));
    assert_eq!(report.log_root, state.log().root());
    let hard = copy.opened.durable.hard;
    assert_eq!((copy.opened.applied, hard.term, hard.vote), (40, blocks[40].header.term, None));
    drop(copy);
    // And it is opened as any other folder.
    let node = NodeName::parse("n1").unwrap();
    let expected = Expected { cluster_id: place.bank.cluster_id, node };
    let (_store, _reader, opened) = SledStore::open(&place.config.node.data_dir, &expected).unwrap();
    assert_eq!(opened.state.tip(), state.tip());
}

#[test]
fn what_is_not_a_chain_leaves_nothing() {
    let place = place();
    let (blocks, _) = chain(&place.bank, 5);
    let mut gap = blocks.clone();
    gap.remove(3);
    let mut altered = blocks.clone();
    altered[2].header.time_ms += 1;
    for (wrong, code) in [(&gap[..], 6), (&altered[..], 6), (&blocks[1..], 2), (&[][..], 2)] {
        let export = write_export(&place, wrong);
        let failure = import(&place.config, &place.bank, &export).unwrap_err();
        assert_eq!(failure.exit_code(), code, "{failure}");
        let left: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
    let export = write_export(&place, &blocks);
    let text = fs::read_to_string(&export).unwrap();
    fs::write(&export, &text[..text.len() - 30]).unwrap();
    assert_eq!(import(&place.config, &place.bank, &export).unwrap_err().exit_code(), 6);
    fs::write(&export, &text).unwrap();
    import(&place.config, &place.bank, &export).unwrap();
    assert_eq!(import(&place.config, &place.bank, &export).unwrap_err().exit_code(), 2, "not over a folder");
}
