//! Postings are what the blocks say, refusals included, and they must add up.

use raftbank_ledger::{
    Account, Amount, Block, Genesis, GenesisAccount, Leg, NodeName, Operation, Request, RequestId, State,
};

use super::{Held, Posting, Range, check, post};

fn account(name: &str) -> Account {
    Account::parse(name).expect("an account")
}

/// Block 0 with 100 for `a`, and a block with a few requests.
fn blocks() -> Vec<Block> {
    let genesis = Genesis {
        name: "test".into(),
        salt: "salt".into(),
        members: vec![NodeName::parse("n1").expect("a name")],
        difficulty: 0,
        time_ms: 1,
        accounts: vec![GenesisAccount { name: account("a"), balance: 100 }],
        transfers: Vec::new(),
    };
    let first = genesis.block().expect("block 0");
    let (state, _) = State::new(&first).expect("a state");
    let amount = |text: &str| Amount::parse(text).expect("an amount");
    let transfer = |from: &str, to: &str, text: &str| Operation::Transfer {
        from: account(from),
        to: account(to),
        amount: amount(text),
        memo: "m".to_owned(),
    };
    let operations = [
        Operation::Open { account: account("b") },
        transfer("a", "b", "30"),
        transfer("b", "a", "31"),
        Operation::Debit { account: account("a"), amount: amount("5") },
        Operation::Credit { account: account("b"), amount: amount("1") },
        Operation::Put { key: b"a".to_vec(), value: Vec::new() },
    ];
    let requests = operations.into_iter().enumerate().map(|(number, operation)| {
        Request::new(RequestId::parse(&format!("r{number}")).expect("an id"), operation).expect("a request")
    });
    let executed = state.execute(requests, 2);
    let header = executed.seal(&state, 1, NodeName::parse("n1").expect("a name"));
    vec![first, Block { header, entries: executed.entries() }]
}

fn postings(name: &str, opening: i128, blocks: &[Block]) -> Vec<Posting> {
    let (mut found, mut balance, mut held) = (Vec::new(), opening, Held::new());
    for block in blocks {
        post(&account(name), block, &mut held, &mut balance, &mut |posting| found.push(posting));
    }
    found
}

#[test]
fn every_request_that_names_the_account_is_there() {
    let blocks = blocks();
    let of_a = postings("a", 0, &blocks);
    let seen: Vec<(&str, i128, i128, Option<String>)> = of_a
        .iter()
        .map(|posting| {
            let id = posting.entry.request.id.as_str();
            (id, posting.change, posting.balance, posting.counterpart(&account("a")).map(|name| name.to_string()))
        })
        .collect();
    let with = |name: &str| Some(name.to_owned());
    assert_eq!(
        seen,
        [
            ("genesis:1", 0, 0, None),
            ("genesis:2", 100, 100, with("world")),
            ("r1", -30, 70, with("b")),
            ("r2", 0, 70, with("b")),
            ("r3", -5, 65, with("world")),
        ]
    );
    assert_eq!(of_a[3].json(&account("a"))["outcome"], "insufficient_funds");
    assert!(of_a[3].row(&account("a")).contains(&"insufficient_funds \"m\"".to_owned()));
    // The other side of the same requests, from the second block on.
    let of_b: Vec<i128> = postings("b", 0, &blocks[1..]).iter().map(|posting| posting.change).collect();
    assert_eq!(of_b, [0, 30, 0, 1]);
    let of_world: i128 = postings("world", 0, &blocks).iter().map(|posting| posting.change).sum();
    assert_eq!(of_world, -96);
}

#[test]
fn a_balance_that_does_not_add_up_is_corruption() {
    let range = Range { from: 0, to: 1, opening: 0, closing: 65 };
    assert!(check(&account("a"), &range, 65).is_ok());
    let failure = check(&account("a"), &range, 66).expect_err("one too many");
    assert_eq!((failure.exit_code(), failure.code.as_str()), (6, "balance_differs"));
    assert!(failure.message.contains("66") && failure.message.contains("65"), "{}", failure.message);
}

#[test]
fn what_is_linked_or_posted_is_there_with_both_sides() {
    let blocks = blocks();
    let (state, _) = State::new(&blocks[0]).expect("a state");
    let amount = |text: &str| Amount::parse(text).expect("an amount");
    let pending = || RequestId::parse("p").expect("an id");
    let leg = |from: &str, to: &str, text: &str| Leg {
        from: account(from),
        to: account(to),
        amount: amount(text),
        memo: String::new(),
    };
    let operations = [
        ("o", Operation::Open { account: account("b") }),
        (
            "p",
            Operation::Pending {
                from: account("a"),
                to: account("b"),
                amount: amount("40"),
                timeout_ms: 9,
                memo: "m".to_owned(),
            },
        ),
        ("l", Operation::Linked { legs: vec![leg("world", "a", "7"), leg("a", "b", "3")] }),
        ("q", Operation::Post { pending: pending(), amount: Some(amount("15")) }),
        ("v", Operation::Void { pending: pending() }),
    ];
    let request = |(id, operation): (&str, Operation)| {
        Request::new(RequestId::parse(id).expect("an id"), operation).expect("a request")
    };
    let executed = state.execute(operations.into_iter().map(request).collect::<Vec<_>>(), 2);
    let header = executed.seal(&state, 1, NodeName::parse("n1").expect("a name"));
    let block = Block { header, entries: executed.entries() };
    let seen = |name: &str, opening: i128| -> Vec<(String, i128, i128, Option<String>)> {
        postings(name, opening, std::slice::from_ref(&block))
            .iter()
            .map(|posting| {
                let with = posting.counterpart(&account(name)).map(|name| name.to_string());
                (posting.entry.request.id.to_string(), posting.change, posting.balance, with)
            })
            .collect()
    };
    let with = |name: &str| Some(name.to_owned());
    assert_eq!(
        seen("a", 100),
        [
            ("p".to_owned(), 0, 100, with("b")),
            ("l".to_owned(), 4, 104, None),
            ("q".to_owned(), -15, 89, with("b")),
            ("v".to_owned(), 0, 89, with("b")),
        ]
    );
    let of_b: Vec<i128> = seen("b", 0).iter().map(|(_, change, ..)| *change).collect();
    assert_eq!(of_b, [0, 0, 3, 15, 0]);
    assert_eq!(seen("b", 0)[2].3, with("a"));
}
