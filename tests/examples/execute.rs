//! What the ledger's part of a block costs: executing it as a leader does, reading and checking it as a follower does,
//! and committing it. Run it with
//! `cargo run --release -p raftbank-tests --example execute -- [ACCOUNTS] [TRANSFERS] [BLOCKS]`.

use std::time::{Duration, Instant};

use raftbank_ledger::{Account, Amount, Genesis, NodeName, Operation, Request, RequestId, State};

/// As in the daemons.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (accounts, transfers, blocks) =
        (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(8_000), arguments.next().unwrap_or(50));
    let node = NodeName::parse("n1").expect("a name");
    let genesis = Genesis {
        name: "bench".into(),
        salt: "bench".into(),
        members: vec![node.clone()],
        difficulty: 0,
        time_ms: 1,
        accounts: Vec::new(),
        transfers: Vec::new(),
    };
    let (mut state, _) = State::new(&genesis.block().expect("a block")).expect("a bank");
    let account = |number: u64| Account::parse(&format!("bench:{number:07}")).expect("a name");
    let request = |id: String, operation| Request { id: RequestId::parse(&id).expect("an id"), operation };
    let amount = |units| Amount::new(units).expect("an amount");
    let mut height = 0_u64;
    for first in (0..accounts).step_by(8_000) {
        let numbers = first..accounts.min(first + 8_000);
        let open =
            numbers.clone().map(|number| request(format!("o{number}"), Operation::Open { account: account(number) }));
        let credit = numbers.map(|number| {
            request(format!("c{number}"), Operation::Credit { account: account(number), amount: amount(1_000_000_000) })
        });
        for batch in [open.collect::<Vec<_>>(), credit.collect()] {
            height += 1;
            let executed = state.execute(batch, height);
            let header = executed.seal(&state, 1, node.clone());
            state.commit(executed, &header).expect("committed");
        }
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut times = [Duration::ZERO; 5];
    for block in 0..blocks {
        let batch: Vec<Vec<u8>> = (0..transfers)
            .map(|number| {
                let from = next(accounts);
                let operation = Operation::Transfer {
                    from: account(from),
                    to: account((from + 1 + next(accounts - 1)) % accounts),
                    amount: amount(1),
                    memo: String::new(),
                };
                request(format!("bench-0123456789abcdef-{:012}", block * transfers + number), operation).encode()
            })
            .collect();
        let mut begun = Instant::now();
        let mut lap = |time: &mut Duration| {
            *time += begun.elapsed();
            begun = Instant::now();
        };
        let batch: Vec<Request> = batch.iter().map(|bytes| Request::decode(bytes).expect("a request")).collect();
        lap(&mut times[0]);
        let executed = state.execute(&batch, height);
        let header = executed.seal(&state, 1, node.clone());
        let bytes = executed.block_bytes(&header);
        lap(&mut times[1]);
        let received = state.read_block(&bytes).expect("a block");
        lap(&mut times[2]);
        let checked = state.check(&received).expect("checked");
        lap(&mut times[3]);
        drop((batch, executed, received));
        lap(&mut Duration::default());
        state.commit(checked, &header).expect("committed");
        lap(&mut times[4]);
    }
    println!("{accounts} accounts, {blocks} blocks of {transfers} transfers; microseconds for a transfer");
    for (what, time) in
        ["requests read", "executed and encoded", "block read and hashed", "checked", "committed"].iter().zip(times)
    {
        println!("{what:<22} {:>8.3}", time.as_secs_f64() * 1e6 / (blocks * transfers) as f64);
    }
}
