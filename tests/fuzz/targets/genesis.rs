//! The genesis file: what is accepted is a block 0 that a chain begins with, and that tells what the file told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_fuzz::with_file;
use raftbank_ledger::{Block, Genesis, State, Verifier};
use raftbankd::genesis::Bank;

fuzz_target!(|bytes: &[u8]| {
    with_file(bytes, |path| {
        let Ok(bank) = Bank::load(path) else { return };
        let encoded = bank.block.encode();
        assert_eq!(Block::decode(&encoded).as_ref(), Ok(&bank.block));
        let (state, _) = State::new(&bank.block).expect("a genesis block begins a chain");
        assert_eq!((state.cluster_id(), state.difficulty()), (bank.cluster_id, bank.difficulty));
        let info = Genesis::from_block(&bank.block).expect("a genesis block tells its parameters");
        assert_eq!((info.name, info.members, info.difficulty), (bank.name, bank.members, bank.difficulty));
        let verifier = Verifier::new(&encoded).expect("a genesis block can be verified");
        assert_eq!(verifier.state().tip(), state.tip());
    });
});
