//! Files of transfers: what is accepted, written as a file and read again is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_ledger::{Operation, Request};

fuzz_target!(|bytes: &[u8]| {
    let Some((prefix, text)) = bytes.split_first() else { return };
    let prefix = (prefix % 2 == 1).then_some("p");
    let Ok(requests) = bankctl::batch::requests(text, prefix) else { return };
    let mut file = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for request in &requests {
        assert_eq!(Request::decode(&request.encode()).as_ref(), Ok(request));
        let Operation::Transfer { from, to, amount, memo } = &request.operation else { panic!("{request:?}") };
        let amount = amount.get().to_string();
        let row = [from.as_str(), to.as_str(), amount.as_str(), request.id.as_str(), memo.as_str()];
        file.write_record(row).expect("memory takes everything");
    }
    let file = file.into_inner().expect("memory takes everything");
    let again = bankctl::batch::requests(&file[..], None).unwrap_or_else(|failure| panic!("{}", failure.message));
    assert_eq!(again, requests);
});
