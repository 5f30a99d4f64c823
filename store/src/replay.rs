//! Executing a record again whose results were not stored.

use crate::types::StateWrite;
use raftbank_consensus::Record;
use raftbank_ledger::{State, Violation};

/// What a record changes; the state moves on by it.
pub(crate) fn execute(state: &mut State, record: &Record) -> Result<StateWrite, Violation> {
    let (index, term) = (record.index, record.term);
    let Some(entry) = &record.entry else { return Ok(StateWrite { index, term, height: None, delta: None }) };
    let block = state.read_block(entry)?;
    block.check_term(term)?;
    let executed = state.check(&block)?;
    let delta = state.commit(executed, &block.header)?;
    Ok(StateWrite { index, term, height: Some(block.header.height), delta: Some(delta) })
}
