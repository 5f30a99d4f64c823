//! Bringing a folder of an older format up to date.
//!
//! Formats 1 and 2 had rows for what follows from the blocks. They are not read any more, and are removed once `meta` says
//! that the folder is of this format: an older program would miss them. An interruption leaves some of them, which the
//! next open removes.

use super::{SLED_BATCH_BYTES, outgoing::Outgoing};
use crate::{
    engine::Engine,
    error::StoreError,
    progress::{Counter, OnProgress},
    rows::{self, Applied},
};

/// Notes in the rows whose they are, synced: format 3 wants it, so it is there before `meta` says 3.
pub(super) fn own(engine: &mut Engine, incarnation: u64) -> Result<(), StoreError> {
    let mut pending = Outgoing::default();
    pending.insert(&[rows::OWNER], rows::seal_number(&[rows::OWNER], incarnation));
    pending.hand_over(engine)?;
    engine.sync()
}

/// Removes the rows that this format does not have, and spells the row of the state's place anew. Returns how many rows
/// were removed; most folders have none.
pub(super) fn clear(engine: &mut Engine, applied: &Applied, on_progress: OnProgress<'_>) -> Result<u64, StoreError> {
    let tree = engine.tree().clone();
    let mut pending = Outgoing::default();
    let (sealed, mut removed) = (rows::seal_applied(applied), 0);
    if tree.get(&[rows::APPLIED])?.as_deref() != Some(&sealed[..]) {
        pending.insert(&[rows::APPLIED], sealed);
    }
    for kind in rows::DERIVED {
        if tree.scan_prefix(&[kind])?.next().is_none() {
            continue;
        }
        let mut counter = Counter::new(&mut *on_progress, "rows of an older format", None);
        for row in tree.scan_prefix(&[kind])? {
            pending.remove(&row?.0);
            removed += 1;
            counter.add(1);
            if pending.bytes() >= SLED_BATCH_BYTES {
                pending.hand_over(engine)?;
            }
        }
    }
    pending.hand_over(engine)?;
    engine.sync()?;
    Ok(removed)
}
