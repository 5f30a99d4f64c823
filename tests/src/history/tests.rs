//! A small chain, and every lie about it that the judge must notice.
#![allow(clippy::unwrap_used)]

use raftbank_ledger::{
    Account, Amount, Block, Genesis, GenesisAccount, Header, NodeName, Operation, Request, RequestId, State, pow,
};

use super::*;

fn account(name: &str) -> Account {
    Account::parse(name).unwrap()
}

fn transfer(id: &str, from: &str, to: &str, amount: u64) -> Request {
    let amount = Amount::new(amount).unwrap();
    let operation = Operation::Transfer { from: account(from), to: account(to), amount, memo: String::new() };
    Request { id: RequestId::parse(id).unwrap(), operation }
}

/// Block 1: x pays 30 of a's 100 to b, y is refused. Block 2: z pays 10 back.
fn chain() -> Vec<Vec<u8>> {
    chain_of(vec![vec![transfer("x", "a", "b", 30), transfer("y", "a", "b", 1_000)], vec![transfer("z", "b", "a", 10)]])
}

fn chain_of(blocks: Vec<Vec<Request>>) -> Vec<Vec<u8>> {
    let open = |name| GenesisAccount { name: account(name), balance: 100 };
    let genesis = Genesis {
        name: "test".to_owned(),
        salt: "salt".to_owned(),
        members: vec![NodeName::parse("n1").unwrap()],
        difficulty: 1,
        time_ms: 1,
        accounts: vec![open("a"), open("b")],
        transfers: Vec::new(),
    };
    let genesis = genesis.block().unwrap();
    let (mut state, _) = State::new(&genesis).unwrap();
    let mut chain = vec![genesis.encode()];
    for requests in blocks {
        let executed = state.execute(requests, 5);
        let header = executed.seal(&state, 1, NodeName::parse("n1").unwrap());
        let header = Header { nonce: pow::mine(&header, 0, 1 << 20).unwrap(), ..header };
        let block = Block { header: header.clone(), entries: executed.entries() };
        chain.push(block.encode());
        state.commit(executed, &header).unwrap();
    }
    chain
}

fn acknowledged(id: &str, times: (Moment, Moment), place: (u64, u32), outcome: &str) -> Attempt {
    let (height, index) = place;
    let fate = Fate::Acknowledged { height, index, outcome: outcome.to_owned(), duplicate: false };
    Attempt { id: id.to_owned(), sent: times.0, known: times.1, tries: 1, fate }
}

fn view(times: (Moment, Moment), linearizable: bool, height: u64, sight: Sight) -> View {
    View { node: 0, sent: times.0, known: times.1, linearizable, height: Some(height), sight }
}

fn balance(account: &str, balance: i128) -> Sight {
    Sight::Balance(account.to_owned(), Some(balance))
}

/// All of it is true.
fn truth() -> History {
    let refused = "insufficient_funds";
    History {
        attempts: vec![
            acknowledged("x", (10, 20), (1, 0), "committed"),
            acknowledged("y", (12, 20), (1, 1), refused),
            acknowledged("z", (30, 40), (2, 0), "committed"),
        ],
        views: vec![
            view((25, 28), true, 1, balance("a", 70)),
            view((50, 60), true, 2, balance("a", 80)),
            view((50, 60), false, 0, balance("a", 100)),
        ],
    }
}

#[test]
fn the_truth_holds() {
    let (summary, model) = judge(&chain(), &truth()).unwrap();
    assert_eq!((summary.committed, summary.refused, summary.reads, summary.local_reads), (2, 1, 2, 1));
    let expected = [("a", 80), ("b", 120), ("world", -200)].map(|(name, balance)| (name.to_owned(), balance));
    assert_eq!(model.accounts_at(2), expected);
    assert_eq!(model.sum(), 0);
}

#[test]
fn every_lie_is_noticed() {
    type Lie = (&'static str, fn(&mut History));
    let lies: [Lie; 12] = [
        ("another place", |h| h.attempts[0].fate = acknowledged("x", (0, 0), (1, 1), "committed").fate),
        ("another outcome", |h| h.attempts[1].fate = acknowledged("y", (0, 0), (1, 1), "committed").fate),
        ("not in the chain", |h| h.attempts.push(acknowledged("w", (50, 60), (2, 1), "committed"))),
        ("said not to be executed", |h| h.attempts[2].fate = Fate::NotExecuted),
        ("an answer that must not be", |h| h.attempts[2].fate = Fate::Surprise("?".to_owned())),
        ("z was known before x was asked", |h| (h.attempts[2].sent, h.attempts[2].known) = (1, 5)),
        ("a stale read", |h| h.views[1] = view((50, 60), true, 1, balance("a", 70))),
        ("a read of what was asked later", |h| h.views[0] = view((21, 28), true, 2, balance("a", 80))),
        ("reads that go back", |h| {
            h.attempts.pop();
            h.views = vec![view((50, 60), true, 2, balance("a", 80)), view((61, 70), true, 1, balance("a", 70))];
        }),
        ("a balance that never was", |h| h.views[2] = view((50, 60), false, 0, balance("a", 99))),
        ("a height that is not there", |h| h.views[2] = view((50, 60), false, 3, balance("a", 80))),
        ("an account is missing", |h| {
            h.views[2] = view((50, 60), false, 2, Sight::Accounts(vec![("a".to_owned(), 80), ("b".to_owned(), 120)]));
        }),
    ];
    for (what, lie) in lies {
        let mut history = truth();
        lie(&mut history);
        assert!(judge(&chain(), &history).is_err(), "{what} was not noticed");
    }
}

#[test]
fn what_is_unknown_may_be_there_or_not() {
    let mut history = truth();
    history.attempts[2].fate = Fate::Unknown;
    history.attempts.push(Attempt { id: "w".to_owned(), sent: 1, known: 2, tries: 3, fate: Fate::Unknown });
    let (summary, _) = judge(&chain(), &history).unwrap();
    assert_eq!((summary.unknown, summary.unknown_found), (2, 1));
}

#[test]
fn a_chain_that_does_not_execute_is_no_witness() {
    let good = chain();
    for at in 0..good.len() {
        let mut bad = good.clone();
        let middle = bad[at].len() / 2;
        bad[at][middle] ^= 1;
        assert!(judge(&bad, &History::default()).is_err(), "block {at}");
    }
    let mut shuffled = good;
    shuffled.swap(1, 2);
    assert!(judge(&shuffled, &History::default()).is_err());
}

#[test]
fn what_is_held_is_judged_too() {
    let (from, to) = (account("a"), account("b"));
    let amount = Amount::new(25).unwrap();
    let operation = Operation::Pending { from, to, amount, timeout_ms: 9, memo: String::new() };
    let pending = Request { id: RequestId::parse("p").unwrap(), operation };
    let chain = chain_of(vec![vec![pending, transfer("x", "a", "b", 80), transfer("y", "a", "b", 75)]]);
    let funds = |balance, held| view((50, 60), true, 1, Sight::Funds("a".to_owned(), balance, held));
    let told = |view| {
        let attempts = [("p", 0, "committed"), ("x", 1, "insufficient_funds"), ("y", 2, "committed")];
        let attempts = attempts.map(|(id, index, outcome)| acknowledged(id, (10, 20), (1, index), outcome)).to_vec();
        judge(&chain, &History { attempts, views: vec![view] })
    };
    assert!(told(funds(25, 25)).is_ok(), "{:?}", told(funds(25, 25)).err());
    assert!(told(funds(25, 0)).is_err() && told(funds(50, 25)).is_err());
}
