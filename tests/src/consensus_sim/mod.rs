//! The consensus simulator: a whole cluster of shipping engines in one thread, on a network, disks and clocks that fail
//! as one seed decides.
//!
//! A run has two phases. In the first, faults: messages are lost, delayed, reordered and repeated; links are cut, also
//! one way; nodes crash and forget what was not synced, pause, and lose their disks; half of all faults are aimed at
//! the leader, and how likely each kind is differs from seed to seed. Clients write and read meanwhile. In the second,
//! everything heals, and the cluster must elect a leader, serve a write and a read, and agree, within a bound.
//! [`check`] says what must hold at every step. The same seed gives the same run, event by event.

pub mod check;
mod client;
mod counts;
mod dice;
mod disk;
mod driver;
mod faults;
pub(crate) mod network;
mod run;
mod server;
mod trace;
mod world;

pub use check::{Promises, Violation};
pub use counts::Counts;
pub(crate) use dice::Dice;
pub use run::{Failure, Summary, run_seed, run_seeds};
pub use trace::Trace;
pub use world::{TICK_US, World};
