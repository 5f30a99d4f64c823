//! Linked and pending transfers: their rules one by one, and long runs of them against a model that is too simple to be
//! wrong.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// `alice` has 60 and `bob` 40.
fn codes(state: &mut State, time_ms: u64, batch: Vec<(&str, Operation)>) -> Vec<&'static str> {
    let batch = batch.into_iter().map(|(id, operation)| request(id, operation)).collect();
    outcomes(&push_at(state, time_ms, batch).1)
}

fn money(state: &State) -> [(Balance, Balance); 3] {
    ["alice", "bob", "world"].map(account).map(|name| (state.balance(&name).unwrap(), state.pendings().held(&name)))
}

fn status(state: &State, id: &str) -> &'static str {
    state.pendings().get(&RequestId::parse(id).unwrap()).map_or("none", |pending| pending.status.code())
}

#[test]
fn linked_transfers_are_done_together_or_not_at_all() {
    let mut state = fresh();
    let linked = |legs: &[(&str, &str, u64)]| Operation::Linked {
        legs: legs.iter().map(|(from, to, value)| leg(from, to, *value)).collect(),
    };
    let before = state.tip().state_root;
    let refused = [
        // Each leg stands on what those before it left: alice has 59 after the first.
        ("1", linked(&[("alice", "bob", 1), ("alice", "bob", 60)])),
        ("2", linked(&[("alice", "bob", 1), ("bob", "nobody", 1)])),
        ("3", linked(&[("alice", "bob", 1), ("bob", "bob", 1)])),
        ("4", linked(&[("world", "bob", 1), ("world", "alice", Amount::MAX)])),
    ];
    let wanted = ["insufficient_funds", "unknown_account", "same_account", "balance_overflow"];
    assert_eq!(codes(&mut state, 2_000, refused.to_vec()), wanted);
    assert_eq!(state.tip().state_root, before, "nothing of a refused one is left");
    assert_eq!(money(&state), [(60, 0), (40, 0), (-100, 0)]);
    // Money that only comes with an earlier leg can be spent by a later one.
    let chain = linked(&[("world", "alice", 5), ("alice", "bob", 65), ("bob", "world", 105)]);
    assert_eq!(codes(&mut state, 2_000, vec![("5", chain)]), ["committed"]);
    assert_eq!(money(&state), [(0, 0), (0, 0), (0, 0)]);
}

#[test]
fn a_refused_linked_transfer_leaves_what_the_block_did_before_it() {
    let mut state = fresh();
    let legs = vec![leg("alice", "bob", 10), leg("alice", "bob", 500)];
    let batch = vec![
        ("1", transfer("alice", "bob", 7)),
        ("2", Operation::Linked { legs }),
        ("3", transfer("alice", "bob", 53)),
    ];
    assert_eq!(codes(&mut state, 2_000, batch), ["committed", "insufficient_funds", "committed"]);
    assert_eq!(money(&state), [(0, 0), (100, 0), (-100, 0)]);
}

#[test]
fn what_is_held_cannot_be_spent_and_is_not_moved_either() {
    let mut state = fresh();
    let batch = vec![
        ("p1", pending("alice", "bob", 50, 100)),
        ("1", transfer("alice", "bob", 11)),
        ("2", debit("alice", 11)),
        ("p2", pending("alice", "bob", 11, 100)),
        ("3", Operation::Linked { legs: vec![leg("alice", "bob", 5), leg("alice", "bob", 6)] }),
        ("4", transfer("alice", "bob", 10)),
        ("5", transfer("alice", "bob", 1)),
    ];
    let short = "insufficient_funds";
    assert_eq!(codes(&mut state, 2_000, batch), ["committed", short, short, short, short, "committed", short]);
    assert_eq!(money(&state), [(50, 50), (50, 0), (-100, 0)]);
    assert_eq!((status(&state, "p1"), status(&state, "p2")), ("pending", "none"));
    // `world` holds without limit, and what another one is promised cannot be spent by it yet.
    let batch = vec![
        ("p3", pending("world", "bob", 1_000, 100)),
        ("p4", pending("world", "bob", 1_000, 100)),
        ("6", transfer("bob", "alice", 51)),
    ];
    assert_eq!(codes(&mut state, 2_000, batch), ["committed", "committed", short]);
    assert_eq!(money(&state), [(50, 50), (50, 0), (-100, 2_000)]);
}

#[test]
fn a_pending_transfer_ends_once() {
    let mut state = fresh();
    let batch = vec![
        ("p1", pending("alice", "bob", 20, 100)),
        ("p2", pending("alice", "bob", 20, 100)),
        ("p3", pending("alice", "bob", 20, 100)),
        ("1", post("p1", 21)),
        ("2", post("p1", 5)),
        ("3", post("p1", 5)),
        ("4", void("p1")),
    ];
    let done = "committed";
    let wanted = [done, done, done, "exceeds_pending", done, "already_posted", "already_posted"];
    assert_eq!(codes(&mut state, 2_000, batch), wanted);
    assert_eq!(money(&state), [(55, 40), (45, 0), (-100, 0)]);
    let batch = vec![
        ("5", void("p2")),
        ("6", void("p2")),
        ("7", post("p2", 0)),
        ("8", post("p3", 0)),
        ("9", post("8", 0)),
        ("10", void("nothing")),
    ];
    let wanted = [done, "already_voided", "already_voided", done, "unknown_pending", "unknown_pending"];
    assert_eq!(codes(&mut state, 2_000, batch), wanted);
    assert_eq!(money(&state), [(35, 0), (65, 0), (-100, 0)]);
    let [p1, p2, p3] = ["p1", "p2", "p3"].map(|id| state.pendings().get(&RequestId::parse(id).unwrap()).unwrap());
    assert_eq!([p1.posted, p2.posted, p3.posted], [5, 0, 20]);
    assert_eq!((p1.expires_ms, p1.amount.get()), (2_100, 20));
}

#[test]
fn a_post_that_would_exceed_a_balance_leaves_the_transfer_pending() {
    let mut state = fresh();
    let batch = vec![
        ("p", pending("alice", "bob", 20, 100)),
        ("1", credit("bob", Amount::MAX - 40)),
        ("2", post("p", 0)),
        ("3", debit("bob", 20)),
        ("4", post("p", 0)),
    ];
    let done = "committed";
    assert_eq!(codes(&mut state, 2_000, batch), [done, done, "balance_overflow", done, done]);
    assert_eq!(money(&state)[1], (BALANCE_MAX, 0));
}

#[test]
fn time_ends_what_nobody_ended_and_only_the_chain_tells_the_time() {
    let mut state = fresh();
    codes(&mut state, 2_000, vec![("p1", pending("alice", "bob", 20, 100)), ("p2", pending("alice", "bob", 20, 101))]);
    // One millisecond before its end it can still be posted.
    assert_eq!(codes(&mut state.clone(), 2_099, vec![("1", post("p1", 0))]), ["committed"]);
    // A clock that goes back does not count.
    assert_eq!(codes(&mut state, 0, vec![("x", put("k", "v"))]), ["committed"]);
    assert_eq!((state.tip().time_ms, status(&state, "p1")), (2_000, "pending"));
    let batch = vec![("2", post("p1", 0)), ("3", void("p1")), ("4", transfer("alice", "bob", 40))];
    assert_eq!(codes(&mut state, 2_100, batch), ["pending_expired", "pending_expired", "committed"]);
    assert_eq!((status(&state, "p1"), status(&state, "p2")), ("expired", "pending"));
    assert_eq!(money(&state), [(20, 20), (80, 0), (-100, 0)]);
    // Any block will do, whatever it is about.
    codes(&mut state, 1 << 50, vec![("5", put("k", "v"))]);
    assert_eq!(money(&state)[0], (20, 0));
}

#[test]
fn at_most_4096_expire_in_a_block_and_the_rest_cannot_be_used_meanwhile() {
    let mut state = fresh();
    let late = EXPIRED_PER_BLOCK + 2;
    // The names are in the opposite order of the times, but for the last two, which end together.
    let timeout = |n: usize| 10 + (late - n.max(2)) as u64;
    let batch = (0..late).map(|n| request(&format!("p{n:05}"), pending("world", "bob", 1, timeout(n)))).collect();
    push(&mut state, batch);
    assert_eq!(money(&state)[2].1, late as Balance);
    let batch = vec![("1", post("p00001", 0)), ("2", void("p00002")), ("3", post("p04097", 0))];
    assert_eq!(codes(&mut state, 90_000, batch), ["pending_expired"; 3]);
    assert_eq!(
        ["p00000", "p00001", "p00002", "p00003"].map(|id| status(&state, id)),
        ["expired", "pending", "pending", "expired"]
    );
    assert_eq!(money(&state)[2].1, 2);
    codes(&mut state, 90_000, vec![("4", put("k", "v"))]);
    assert_eq!((status(&state, "p00001"), money(&state)[2].1), ("expired", 0));
}

#[test]
fn canonical_bytes_of_the_new_requests() {
    let legs = vec![leg("a", "b", 1), leg("b", "c", 2)];
    let linked = "0601".to_owned() + "78" + "0002" + "01610162" + "0000000000000001" + "00036c6567" + "01620163";
    assert_eq!(hex(&request("x", Operation::Linked { legs }).encode()), linked + "0000000000000002" + "00036c6567");
    let held = "0701".to_owned() + "78" + "01610162" + "0000000000000001" + "000000000000012c" + "0004686f6c64";
    assert_eq!(hex(&request("x", pending("a", "b", 1, 300)).encode()), held);
    assert_eq!(hex(&request("x", post("p", 0)).encode()), "08017801700000000000000000");
    assert_eq!(hex(&request("x", post("p", 7)).encode()), "08017801700000000000000007");
    assert_eq!(hex(&request("x", void("p")).encode()), "0901780170");
    let bytes: Vec<u8> = Refusal::all().map(|refusal| Outcome::Refused(refusal).byte()).collect();
    assert_eq!(bytes, (1..=10).collect::<Vec<u8>>());
    for refusal in Refusal::all().map(Outcome::Refused) {
        assert_eq!(Outcome::from_byte(refusal.byte()), Ok(refusal));
    }
    assert!(Outcome::from_byte(11).is_err());
    let key = pending_key(&RequestId::parse("p").unwrap());
    assert_eq!(key, Hash::of(&[b"raftbank/pending/1\n", b"p"]));
}

#[test]
fn requests_out_of_bounds_are_none() {
    let id = || RequestId::parse("x").unwrap();
    let linked = |count: usize| Operation::Linked { legs: vec![leg("a", "b", 1); count] };
    for (count, fine) in [(0, false), (1, false), (2, true), (128, true), (129, false)] {
        assert_eq!(Request::new(id(), linked(count)).is_ok(), fine, "{count} legs");
        let raw = Request { id: id(), operation: linked(count) }.encode();
        assert_eq!(Request::decode(&raw).is_ok(), fine, "{count} legs as bytes");
    }
    for (timeout_ms, fine) in [(0, false), (1, true), (TIMEOUT_MS_MAX, true), (TIMEOUT_MS_MAX + 1, false)] {
        let raw = Request { id: id(), operation: pending("a", "b", 1, timeout_ms) }.encode();
        assert_eq!(Request::decode(&raw).is_ok(), fine, "{timeout_ms} ms");
    }
    let mut long = leg("a", "b", 1);
    long.memo = "m".repeat(257);
    assert!(Request::new(id(), Operation::Linked { legs: vec![leg("a", "b", 1), long] }).is_err());
    let too_much = [&[8, 1, b'x', 1, b'p'][..], &(Amount::MAX + 1).to_be_bytes()].concat();
    assert!(Request::decode(&too_much).unwrap_err().to_string().contains("too large"));
    // The largest entry there is fits into a block's entry.
    let name = "n".repeat(64);
    let big = Leg { memo: "m".repeat(256), ..leg(&name, &"o".repeat(64), Amount::MAX) };
    let request = Request::new(RequestId::parse(&name).unwrap(), Operation::Linked { legs: vec![big; LEGS_MAX] });
    let entry = Entry { request: request.unwrap(), outcome: Outcome::Committed };
    assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
}

#[test]
fn rows_have_one_spelling() {
    let row = Pending {
        status: PendingStatus::Posted,
        expires_ms: 258,
        from: account("a"),
        to: account("b"),
        amount: amount(9),
        posted: 7,
    };
    let bytes = row.encode();
    assert_eq!(
        hex(&bytes),
        "01".to_owned() + "0000000000000102" + "01610162" + "0000000000000009" + "0000000000000007"
    );
    assert_eq!(Pending::decode(&bytes), Ok(row));
    for (at, byte) in [(0, 4), (0, 0), (0, 2), (9, 0), (20, 0), (28, 0), (28, 10)] {
        let mut wrong = bytes.clone();
        wrong[at] = byte;
        assert!(Pending::decode(&wrong).is_err(), "byte {at} is {byte}");
    }
    assert!(Pending::decode(&bytes[..28]).is_err() && Pending::decode(&[bytes, vec![0]].concat()).is_err());
}

#[test]
fn a_stored_transfer_that_was_altered_is_found() {
    let mut state = fresh();
    let genesis = genesis().block().unwrap().encode();
    let batch = vec![request("p", pending("alice", "bob", 60, 100)), request("q", pending("bob", "alice", 1, 100))];
    let (block, _) = push(&mut state, batch);
    let mut verifier = Verifier::new(&genesis).unwrap();
    verifier.push(&block.encode()).unwrap();
    let compare = |rows: &StateRows| {
        let values = rows.values.iter().map(|(key, value)| (&key[..], &value[..]));
        let accounts = rows.accounts.iter().map(|(name, balance)| (name, *balance));
        verifier.compare(accounts, values, &rows.ids, &rows.pendings).map_err(|violation| violation.to_string())
    };
    let good = rows(&state);
    compare(&good).unwrap();
    let id = RequestId::parse("p").unwrap();
    let mut wrong = good.clone();
    wrong.pendings.get_mut(&id).unwrap().amount = amount(59);
    assert!(compare(&wrong).unwrap_err().contains("the pending transfer p"));
    assert!(matches!(State::restore(wrong), Err(Violation::StateRoot { .. })));
    let mut wrong = good;
    wrong.pendings.remove(&id);
    assert!(compare(&wrong).unwrap_err().contains("stored as nothing"));
    assert!(matches!(State::restore(wrong), Err(Violation::StateRoot { .. })));
    // A balance that fell below what is held, by damage in memory: a block that touches it is not taken.
    state.corrupt_balance_for_tests(&account("alice"), 58);
    for operation in [transfer("bob", "alice", 1), Operation::Linked { legs: vec![leg("bob", "alice", 1); 2] }] {
        let executed = state.execute(vec![request("1", operation.clone())], 2_000);
        let header = executed.seal(&state, 3, NodeName::parse("n2").unwrap());
        let taken = state.clone().commit(executed, &header).map(|_| ());
        let enough = matches!(operation, Operation::Linked { .. });
        let overdrawn = Violation::Overdrawn { account: "alice".into(), balance: 59, held: 60 };
        assert_eq!(taken, if enough { Ok(()) } else { Err(overdrawn) });
    }
}

/// The rules, in the simplest words: sums are added up whenever they are asked for.
#[derive(Default)]
struct Model {
    balances: Vec<(String, i128)>,
    pendings: Vec<ModelPending>,
}

struct ModelPending {
    id: String,
    from: String,
    to: String,
    amount: i128,
    expires: u64,
    status: &'static str,
    posted: i128,
}

type Told = Result<(), &'static str>;

impl Model {
    fn balance(&self, name: &str) -> Option<i128> {
        self.balances.iter().find(|(found, _)| found == name).map(|(_, balance)| *balance)
    }

    fn held(&self, name: &str) -> i128 {
        let open = self.pendings.iter().filter(|pending| pending.status == "pending" && pending.from == name);
        open.map(|pending| pending.amount).sum()
    }

    fn add(&mut self, name: &str, change: i128) {
        self.balances.iter_mut().find(|(found, _)| found == name).unwrap().1 += change;
    }

    fn may(&self, from: &str, to: &str, amount: i128) -> Told {
        if from == to {
            return Err("same_account");
        }
        let (Some(payer), Some(payee)) = (self.balance(from), self.balance(to)) else { return Err("unknown_account") };
        if from != "world" && payer - self.held(from) < amount {
            return Err("insufficient_funds");
        }
        if payee + amount > i128::from(i64::MAX) { Err("balance_overflow") } else { Ok(()) }
    }

    fn transfer(&mut self, from: &str, to: &str, amount: i128) -> Told {
        self.may(from, to, amount)?;
        self.add(from, -amount);
        self.add(to, amount);
        Ok(())
    }

    fn expire(&mut self, time: u64) {
        for pending in self.pendings.iter_mut().filter(|pending| pending.status == "pending" && pending.expires <= time)
        {
            pending.status = "expired";
        }
    }

    fn ended(&self, id: &str) -> Result<usize, &'static str> {
        let place = self.pendings.iter().position(|pending| pending.id == id).ok_or("unknown_pending")?;
        match self.pendings[place].status {
            "pending" => Ok(place),
            "posted" => Err("already_posted"),
            "voided" => Err("already_voided"),
            _ => Err("pending_expired"),
        }
    }

    fn execute(&mut self, time: u64, request: &Request) -> Told {
        match &request.operation {
            Operation::Open { account } if self.balance(account.as_str()).is_some() => Err("account_exists"),
            Operation::Open { account } => {
                self.balances.push((account.to_string(), 0));
                Ok(())
            }
            Operation::Transfer { from, to, amount, .. } => self.transfer(from.as_str(), to.as_str(), (*amount).into()),
            Operation::Credit { account, amount } => self.transfer("world", account.as_str(), (*amount).into()),
            Operation::Debit { account, amount } => self.transfer(account.as_str(), "world", (*amount).into()),
            Operation::Put { .. } => Ok(()),
            Operation::Linked { legs } => {
                let before = self.balances.clone();
                let told = legs
                    .iter()
                    .try_for_each(|leg| self.transfer(leg.from.as_str(), leg.to.as_str(), leg.amount.into()));
                if told.is_err() {
                    self.balances = before;
                }
                told
            }
            Operation::Pending { from, to, amount, timeout_ms, .. } => {
                self.may(from.as_str(), to.as_str(), (*amount).into())?;
                self.pendings.push(ModelPending {
                    id: request.id.to_string(),
                    from: from.to_string(),
                    to: to.to_string(),
                    amount: (*amount).into(),
                    expires: time + timeout_ms,
                    status: "pending",
                    posted: 0,
                });
                Ok(())
            }
            Operation::Post { pending, amount } => {
                let place = self.ended(pending.as_str())?;
                let ModelPending { from, to, amount: all, .. } = &self.pendings[place];
                let (from, to, moved) = (from.clone(), to.clone(), amount.map_or(*all, Balance::from));
                if moved > *all {
                    return Err("exceeds_pending");
                }
                self.pendings[place].status = "freed";
                if let Err(refusal) = self.transfer(&from, &to, moved) {
                    self.pendings[place].status = "pending";
                    return Err(refusal);
                }
                (self.pendings[place].status, self.pendings[place].posted) = ("posted", moved);
                Ok(())
            }
            Operation::Void { pending } => {
                let place = self.ended(pending.as_str())?;
                self.pendings[place].status = "voided";
                Ok(())
            }
        }
    }
}

proptest! {
    #[test]
    fn long_runs_do_what_the_model_does(
        blocks in prop::collection::vec((0_u64..20, prop::collection::vec(any_operation(), 1..12)), 1..12)
    ) {
        let genesis = genesis().block().unwrap();
        let mut state = fresh();
        let mut verifier = Verifier::new(&genesis.encode()).unwrap();
        let mut books = Books::default();
        books.apply(&genesis);
        let mut model = Model::default();
        model.balances.extend([("alice".into(), 60), ("bob".into(), 40), ("world".into(), -100)]);
        let (mut time, mut number) = (2_000, 0);
        let mut made: Vec<Block> = Vec::new();
        for (passed, operations) in blocks {
            time += passed;
            let batch: Vec<Request> = operations.into_iter().map(|operation| {
                number += 1;
                request(&format!("id{number}"), operation)
            }).collect();
            model.expire(time);
            let wanted: Vec<&str> =
                batch.iter().map(|request| model.execute(time, request).err().unwrap_or("committed")).collect();
            let (block, decisions) = push_at(&mut state, time, batch);
            prop_assert_eq!(outcomes(&decisions), wanted);
            verifier.push(&block.encode()).unwrap();
            books.apply(&block);
            prop_assert_eq!(books.tree().root(), block.header.state_root);
            for (name, balance) in &model.balances {
                let name = account(name);
                prop_assert_eq!(state.balance(&name), Some(*balance));
                prop_assert_eq!(state.pendings().held(&name), model.held(name.as_str()));
                prop_assert!(name.is_world() || *balance >= model.held(name.as_str()));
            }
            prop_assert_eq!(state.accounts().map(|(_, balance)| balance).sum::<Balance>(), 0);
            prop_assert_eq!(state.pendings().rows().len(), model.pendings.len());
            for wanted in &model.pendings {
                let found = state.pendings().get(&RequestId::parse(&wanted.id).unwrap()).unwrap();
                prop_assert_eq!((found.status.code(), i128::from(found.posted)), (wanted.status, wanted.posted));
                prop_assert_eq!(found.expires_ms, wanted.expires);
            }
            made.push(block);
        }
        prop_assert_eq!(books.pendings(), state.pendings());
        verifier.compare(state.accounts(), state.values(), state.ids(), state.pendings().rows()).unwrap();
        let restored = State::restore(rows(&state)).unwrap();
        prop_assert_eq!(restored.pendings(), state.pendings());
        // A follower that checks all blocks before it commits the first comes to the same.
        let mut follower = fresh();
        let mut checked: Vec<(Header, Executed)> = Vec::new();
        for block in &made {
            let under: Vec<(&Header, &Executed)> = checked.iter().map(|(header, executed)| (header, executed)).collect();
            let executed = follower.check_after(&under, block);
            prop_assert!(executed.is_ok(), "{:?}", executed.err());
            checked.push((block.header.clone(), executed.unwrap()));
        }
        // And so does a leader that executes each block before the one below it is committed.
        let mut leader = fresh();
        for pair in made.windows(2) {
            let below = leader.check(&pair[0]).unwrap();
            let requests = pair[1].entries.iter().map(|entry| &entry.request);
            let ahead = leader.execute_behind((&pair[0].header, &below), requests, pair[1].header.time_ms);
            prop_assert_eq!(ahead.state_root, pair[1].header.state_root);
            leader.commit(below, &pair[0].header).unwrap();
        }
        for (header, executed) in checked {
            follower.commit(executed, &header).unwrap();
        }
        prop_assert_eq!(follower.pendings(), state.pendings());
    }
}
