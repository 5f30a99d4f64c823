//! Small directed checks: what a promise of one part comes to, seen from outside. Each must find nothing when nothing is
//! planted; the control run sees to that.

mod bank;
mod chain;
mod ledger;
mod node;
mod relay;
mod store;
mod two_phase;

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;

use super::{Hunter, Limits};

/// A check with a name that must return nothing, and must not panic.
pub(super) type Check = (&'static str, fn() -> Result<()>);

/// Runs the checks of a hunter in turn until one fails.
pub(super) fn look(hunter: Hunter, limits: Limits) -> (u64, Option<String>) {
    match hunter {
        Hunter::Ledger => among(&[ledger::CHECKS, two_phase::CHECKS].concat(), limits),
        Hunter::Node => among(node::CHECKS, limits),
        Hunter::Relay => among(relay::CHECKS, limits),
        Hunter::Store => among(store::CHECKS, limits),
        Hunter::Bank | Hunter::Core | Hunter::PowerCut | Hunter::Scenes => unreachable!("they are no directed checks"),
    }
}

/// Runs checks in turn until one fails.
pub(super) fn among(checks: &[Check], limits: Limits) -> (u64, Option<String>) {
    let limits = Limits { seeds: checks.len() as u64, ..limits };
    limits.each(|at| {
        let (name, check) = checks[at as usize];
        let wrong = match catch_unwind(AssertUnwindSafe(check)) {
            Ok(result) => format!("{:#}", result.err()?),
            Err(panic) => format!("panicked: {}", words(panic.as_ref())),
        };
        Some(format!("{name}: {wrong}"))
    })
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}
