//! The accounts of `bankctl bench`: opened and credited once, under ids that are the same in every run. So a run that was
//! interrupted is resumed by the next, two at a time do no harm, and what is there already is found by its ids.

use std::ops::Range;
use std::time::Duration;

use raftbank_ledger::{Operation, Request};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, Many};

use super::link::Link;
use super::source::{account, amount, request};
use super::tally::Fate;
use crate::failure::Failure;
use crate::output::progress_bar;
use crate::session::Session;
use crate::verbs::writes::unexpected;

/// What each account gets: enough for a random walk of steps of 1 that no clock will see the end of.
pub const CREDIT: u64 = 1_000_000_000;
/// Accounts that are opened, then credited, before the next ones are: if one of a chunk is there, all chunks before are.
const CHUNK: u32 = 4_096;

/// Opens and credits accounts 0 to `accounts`, those that are not there yet.
///
/// # Errors
/// The node does not answer, or a request has no outcome.
pub async fn run(session: &mut Session, link: &Link, accounts: u32) -> Result<(), Failure> {
    let first = first_chunk(session, accounts.div_ceil(CHUNK)).await? * CHUNK;
    let bar = progress_bar("requests to set up accounts");
    bar.set_length(u64::from(accounts - first) * 2);
    for begin in (first..accounts).step_by(CHUNK as usize) {
        let chunk = begin..accounts.min(begin.saturating_add(CHUNK));
        for make in [open, credit] {
            let done = all(link, chunk.clone(), make, session.timeout()).await;
            done.inspect_err(|_| bar.finish_and_clear())?;
            bar.inc(u64::from(chunk.end - chunk.start));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn open(number: u32) -> Request {
    request(&format!("bench-open-{number:07}"), Operation::Open { account: account(number) })
}

fn credit(number: u32) -> Request {
    let operation = Operation::Credit { account: account(number), amount: amount(CREDIT) };
    request(&format!("bench-credit-{number:07}"), operation)
}

/// The first of so many chunks that may not be complete, at least the last one of those that were begun.
async fn first_chunk(session: &mut Session, chunks: u32) -> Result<u32, Failure> {
    let (mut begun, mut not_begun) = (0, chunks);
    while begun + 1 < not_begun {
        let middle = begun.midpoint(not_begun);
        let id = open(middle * CHUNK).id.as_str().to_owned();
        match session.ask(ApiRequest::Find { id }).await {
            Ok(ApiReply::Found { .. }) => begun = middle,
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) if failure.code == "unknown_request" => not_begun = middle,
            Err(failure) => return Err(failure),
        }
    }
    Ok(begun)
}

/// Sends one request for each number in one batch, and waits until all are done.
async fn all(link: &Link, numbers: Range<u32>, make: fn(u32) -> Request, timeout: Duration) -> Result<(), Failure> {
    let mut many = Many::default();
    for number in numbers.clone() {
        assert!(many.push(&make(number).encode()), "a chunk is far smaller than a batch may be");
    }
    match link.write_many(&many.into_bytes(), timeout).await {
        Ok(fates) => numbers.zip(fates).try_for_each(|(number, fate)| check(&make(number), fate)),
        Err(fate) => check(&make(numbers.start), fate),
    }
}

/// Done, or it was so before.
fn check(request: &Request, fate: Fate) -> Result<(), Failure> {
    let (kind, code) = match fate {
        Fate::Done => return Ok(()),
        Fate::Refused(code) if code == "account_exists" => return Ok(()),
        Fate::Refused(code) => (FailKind::Refused, code),
        Fate::Failed(kind, code) => (kind, code),
    };
    let message = format!("the accounts cannot be set up: {} {}: {code}", request.verb(), request.id);
    Err(Failure::new(kind, &code, message).hint("run it again: it goes on where it was; bankctl status"))
}
