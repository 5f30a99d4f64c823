//! What a transfer costs in counts that do not depend on the machine: hashes, allocations, syncs, bytes, frames,
//! instructions. They are recorded in `tests/counts.json`, and growth beyond a tolerance fails.
//!
//! Three nodes of the code that ships (node, driver, consensus, ledger, and the store on sled in a temporary folder) run
//! in one thread on the simulator's network, with fixed loads and seeds. What each does is counted apart.

mod callgrind;
mod execution;
mod loads;
mod record;
mod tally;
mod world;

pub use self::callgrind::{available, instructions};
pub use self::execution::Execution;
pub use self::loads::{Load, measure};
pub use self::record::{Counts, Row, Verdict, compare, table};
pub use self::tally::{Meter, Tally};
