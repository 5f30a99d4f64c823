use std::collections::BTreeMap;
use std::sync::Arc;

use raftbank_consensus::{Entry, Record};
use raftbank_ledger::{
    Account, Amount, Block, Genesis, Hash, LogNode, LogTree, NodeName, Operation, Request, RequestId, State, StateRows,
};
use raftbank_store::{Reader, StoreError, StoredRows};

use super::{Against, Report, books, json, table};

/// The log and the rows of a node, to be tampered with.
#[derive(Clone)]
struct Books {
    records: Arc<Vec<Record>>,
    rows: Arc<StateRows>,
    applied: u64,
    log: Arc<BTreeMap<(u8, u64), Hash>>,
    /// The height at which the block after it is handed out.
    misplaced: Option<u64>,
}

impl Reader for Books {
    fn records(&self, from: u64, _bytes_max: usize) -> Result<Vec<Record>, StoreError> {
        // One at a time: more than one portion.
        Ok(self.records.iter().filter(|record| record.index == from).cloned().collect())
    }

    fn block(&self, height: u64) -> Result<Option<Entry>, StoreError> {
        let height = height + u64::from(self.misplaced == Some(height));
        let blocks = self.records.iter().filter_map(|record| record.entry.clone());
        Ok(blocks.into_iter().nth(usize::try_from(height).expect("small")))
    }

    fn rows(&self) -> Result<StoredRows, StoreError> {
        Ok(StoredRows { applied: self.applied, rows: (*self.rows).clone() })
    }

    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.log.get(&(level, index)).copied())
    }
}

fn account(name: &str) -> Account {
    Account::parse(name).expect("valid")
}

/// Block 0, a no-op, then `blocks` blocks of one credit each, of which all but the last `uncommitted` are applied.
fn make(blocks: u64, uncommitted: u64) -> Books {
    built(blocks, uncommitted, u64::MAX)
}

/// The same, but from block `from` on another time stands in the blocks.
fn rewritten(blocks: u64, from: u64) -> Books {
    built(blocks, 0, from)
}

fn built(blocks: u64, uncommitted: u64, other_from: u64) -> Books {
    let genesis =
        r#"{"name":"t","salt":"s","members":["n1"],"difficulty":0,"time_ms":1,"accounts":[{"name":"alice"}]}"#;
    let genesis: Genesis = serde_json::from_str(genesis).expect("valid");
    let block = genesis.block().expect("valid");
    let (mut state, delta) = State::new(&block).expect("valid");
    let mut nodes: Vec<LogNode> = delta.log;
    let mut records = vec![
        Record { index: 0, term: 0, entry: Some(Entry::from(block.encode())) },
        Record { index: 1, term: 1, entry: None },
    ];
    let mut applied = None;
    for number in 1..=blocks {
        if number > blocks - uncommitted && applied.is_none() {
            applied = Some((state.clone(), records.len() as u64 - 1));
        }
        let operation = Operation::Credit { account: account("alice"), amount: Amount::new(number).expect("valid") };
        let request = Request { id: RequestId::parse(&format!("id-{number}")).expect("valid"), operation };
        let executed = state.execute(vec![request], 2 + u64::from(number >= other_from));
        let header = executed.seal(&state, 1, NodeName::parse("n1").expect("valid"));
        let block = Block { header, entries: executed.entries() };
        nodes.extend(state.commit(executed, &block.header).expect("the state it was executed on").log);
        records.push(Record { index: number + 1, term: 1, entry: Some(Entry::from(block.encode())) });
    }
    let (state, applied) = applied.unwrap_or((state, blocks + 1));
    let rows = StateRows {
        accounts: state.accounts().map(|(name, balance)| (name.clone(), balance)).collect(),
        values: state.values().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
        ids: state.ids().clone(),
        pendings: state.pendings().rows().clone(),
        log: state.log().clone(),
        tip: state.tip().clone(),
        cluster_id: state.cluster_id(),
        difficulty: state.difficulty(),
    };
    let log = nodes.into_iter().map(|node| ((node.level, node.index), node.hash)).collect();
    Books { records: Arc::new(records), rows: Arc::new(rows), applied, log: Arc::new(log), misplaced: None }
}

fn verify(books_: &Books) -> Report {
    verify_against(books_, None)
}

fn verify_against(books_: &Books, against: Option<Against>) -> Report {
    let mut last = (0, 0);
    let report = books(books_, against.as_ref(), &mut |done, total| {
        last = (done, total);
        true
    });
    let report = report.expect("readable").expect("not told to stop");
    if report.problem.is_none() {
        assert_eq!(last, (report.blocks, report.blocks), "progress ends at the end");
    }
    report
}

fn problem(books_: &Books) -> String {
    verify(books_).problem.expect("something is wrong")
}

#[test]
fn good_books_are_ok() {
    let report = verify(&make(5, 0));
    assert_eq!((report.problem.as_deref(), report.height, report.blocks, report.uncommitted), (None, 5, 6, 0));
    // Block 0 has the genesis record and one account; each other block one credit.
    assert_eq!(report.transactions, 2 + 5);
}

#[test]
fn progress_may_end_it() {
    assert_eq!(books(&make(2, 0), None, &mut |_, _| false).expect("readable"), None);
}

#[test]
fn what_is_not_known_to_be_committed_is_counted_apart() {
    let report = verify(&make(5, 2));
    assert_eq!((report.problem.as_deref(), report.height, report.blocks, report.uncommitted), (None, 3, 4, 2));
}

#[test]
fn a_changed_balance_id_or_value_is_found() {
    let good = make(3, 0);
    let mut rows = (*good.rows).clone();
    rows.accounts.insert(account("alice"), 7);
    assert!(problem(&Books { rows: Arc::new(rows), ..good.clone() }).contains("alice"));

    let mut rows = (*good.rows).clone();
    rows.ids = rows.ids.sorted().into_iter().filter(|(id, _)| id.as_str() != "id-2").collect();
    assert!(problem(&Books { rows: Arc::new(rows), ..good.clone() }).contains("id-2"));

    let mut rows = (*good.rows).clone();
    rows.values.insert(b"extra".to_vec(), b"1".to_vec());
    assert!(problem(&Books { rows: Arc::new(rows), ..good }).contains("extra"));
}

#[test]
fn a_cut_or_doctored_chain_is_found() {
    let good = make(3, 0);
    let without_last = good.records[..4].to_vec();
    assert!(problem(&Books { records: Arc::new(without_last), ..good.clone() }).contains("height 3"));

    let mut doctored = (*good.records).clone();
    let mut block = Block::decode(doctored[3].entry.as_ref().expect("a block")).expect("valid");
    block.header.time_ms += 1;
    doctored[3].entry = Some(Entry::from(block.encode()));
    let leaf = LogTree::default().push(block.hash())[0].hash;
    let doctored = Books { records: Arc::new(doctored), ..good.clone() };
    // The log tree was made of the block that stood there before.
    assert!(problem(&doctored).contains("block 2: node 2 at level 0"), "{}", problem(&doctored));
    let mut log = (*good.log).clone();
    log.insert((0, 2), leaf);
    assert!(problem(&Books { log: Arc::new(log), ..doctored }).contains("record 4"));

    let mut other_term = (*good.records).clone();
    other_term[3].term = 2;
    assert!(problem(&Books { records: Arc::new(other_term), ..good.clone() }).contains("term"));

    assert!(problem(&Books { records: Arc::new(Vec::new()), ..good }).contains("block 0"));
}

/// A client that asks for block 2 would be given block 3.
#[test]
fn a_block_that_is_not_found_at_its_height_is_found_out() {
    let books = Books { misplaced: Some(2), ..make(4, 0) };
    assert!(problem(&books).contains("block 2"), "{}", problem(&books));
}

#[test]
fn an_altered_or_missing_node_of_the_log_tree_is_found() {
    let good = make(6, 0);
    // Seven blocks: 7 + 3 + 1 complete subtrees.
    assert_eq!(good.log.len(), 11);
    for (level, index) in good.log.keys() {
        for missing in [false, true] {
            let mut log = (*good.log).clone();
            if missing {
                log.remove(&(*level, *index));
            } else {
                log.insert((*level, *index), Hash([7; 32]));
            }
            let problem = problem(&Books { log: Arc::new(log), ..good.clone() });
            assert!(problem.contains(&format!("node {index} at level {level} of the log tree")), "{problem}");
        }
    }
    let mut rows = (*good.rows).clone();
    rows.log = LogTree::from_peaks(7, vec![Hash::ZERO; 3]).expect("as many as there are");
    assert!(problem(&Books { rows: Arc::new(rows), ..good }).contains("the log tree is stored as 7 blocks"));
}

/// What only a checkpoint knows: the books are in order, and they are not those of the chain that was.
#[test]
fn a_chain_that_was_cut_or_rewritten_is_found_by_its_checkpoint() {
    let good = make(6, 0);
    let heads: Vec<Against> = (0..=6)
        .map(|blocks| Against { size: blocks + 1, root: verify(&make(blocks, 0)).log_root })
        .inspect(|against| assert_eq!(against.size, verify(&make(against.size - 1, 0)).blocks))
        .collect();
    for head in &heads {
        assert_eq!(verify_against(&good, Some(*head)).problem, None, "{head:?}");
    }
    // Its end is gone, or not known to be committed any more; the rows are those of what is left.
    for left in [make(4, 0), make(6, 2)] {
        assert_eq!(verify(&left).problem, None);
        assert_eq!(verify_against(&left, Some(heads[4])).problem, None);
        for head in &heads[5..] {
            let problem = verify_against(&left, Some(*head)).problem.expect("found");
            let told = format!("the checkpoint is of {} blocks, this chain has only 5", head.size);
            assert!(problem.contains(&told) && problem.contains("cut off or rolled back"), "{problem}");
        }
    }
    // Another chain of the same genesis block: rewritten from block 3 on.
    let other = rewritten(6, 3);
    assert_eq!(verify(&other).problem, None);
    for head in &heads {
        let problem = verify_against(&other, Some(*head)).problem;
        let told = format!("block {} or one before it was rewritten", head.size - 1);
        assert_eq!(problem.is_some_and(|problem| problem.contains(&told)), head.size > 3, "{head:?}");
    }
    assert!(verify_against(&good, Some(Against { size: 0, root: heads[0].root })).problem.is_some());
}

#[test]
fn the_output_is_that_of_the_contract() {
    let report = verify(&make(2, 1));
    let object = json(&report);
    for (key, value) in [("schema", 1), ("height", 1), ("blocks", 2), ("transactions", 3), ("uncommitted", 1)] {
        assert_eq!(object[key], value, "{key}");
    }
    assert_eq!(object["ok"], true);
    assert_eq!(object["head"], report.head.to_string());
    assert_eq!(object["log_root"], report.log_root.to_string());
    assert!(table(&report).contains(&report.log_root.to_string()));
    assert!(table(&report).contains("ok"));

    let bad = Report { problem: Some("a \"quoted\" problem".to_owned()), ..report };
    assert_eq!(json(&bad)["ok"], false);
    assert_eq!(json(&bad)["problem"], "a \"quoted\" problem");
    assert!(table(&bad).contains("CORRUPT"));
}
