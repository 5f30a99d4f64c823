//! The simulator: whole banks in one thread. Each machine runs the shipping node (ledger, consensus, batcher, request
//! routing), the shipping driver and the shipping client's rule for asking again; clocks, links, disks and processes are
//! simulated, and fail as one seed decides.
//!
//! A run has two phases. In the first, faults: messages are lost, delayed, reordered and repeated; links are cut, also
//! one way; sessions with the relay break; machines lose power with what was not synced, or the beginning of it
//! survives; processes are killed, stopped for a while and told to end; syncs are slow or fail; clocks step; disks are
//! lost or rolled back; a balance flips in memory. How likely each kind is differs from seed to seed, and half of all
//! faults are aimed at the leader. Clients write and read meanwhile. In the second phase everything heals, and the bank
//! must serve every client, bring every machine up to date and resolve every unknown outcome, within a bound.
//!
//! `observe.rs` says what must hold at every step, [`crate::history`] what must hold in the end. The same seed gives the
//! same run, byte for byte. A finer simulator of consensus alone is [`crate::consensus_sim`].

mod client;
mod counts;
mod event;
mod faults;
mod heads;
pub(crate) mod machine;
mod many;
mod observe;
mod process;
mod requests;
mod run;
mod world;

pub use self::counts::Counts;
pub use self::run::{Failure, Summary, run_seed, run_seeds, run_traced};
pub use crate::history::Violation;
