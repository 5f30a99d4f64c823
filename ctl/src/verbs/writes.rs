//! The writing verbs: open, transfer, credit, debit, put.

use std::io::Read;

use raftbank_ledger::{Account, Amount, Operation, Request, RequestId, VALUE_BYTES_MAX};
use raftbank_wire::api::{ApiReply, FailKind, WriteOutcome};
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::{SCHEMA, note};

/// Reads an account's name.
///
/// # Errors
/// Wrong usage, with the reason.
pub fn account(text: &str) -> Result<Account, Failure> {
    Account::parse(text).map_err(|error| Failure::usage("bad_name", error.to_string()))
}

/// Reads an amount.
///
/// # Errors
/// Wrong usage, with the reason.
pub fn amount(text: &str) -> Result<Amount, Failure> {
    Amount::parse(text).map_err(|error| Failure::usage("bad_amount", error.to_string()))
}

/// Reads an id.
///
/// # Errors
/// Wrong usage, with the reason.
pub fn request_id(text: &str) -> Result<RequestId, Failure> {
    RequestId::parse(text).map_err(|error| Failure::usage("bad_id", error.to_string()))
}

/// Makes a request, checking memo, key and value.
///
/// # Errors
/// Wrong usage, with the reason.
pub fn request(id: RequestId, operation: Operation) -> Result<Request, Failure> {
    Request::new(id, operation).map_err(|error| Failure::usage("bad_argument", error.to_string()))
}

/// An id that nobody else makes: 128 random bits.
pub fn random_id() -> RequestId {
    let id = format!("{:032x}", rand::random::<u128>());
    RequestId::parse(&id).expect("hexadecimal digits are allowed in an id")
}

/// An operation of the command line.
///
/// # Errors
/// Wrong usage, with the reason.
pub fn transfer(from: &str, to: &str, text: &str, memo: &str) -> Result<Operation, Failure> {
    let (from, to) = (account(from)?, account(to)?);
    Ok(Operation::Transfer { from, to, amount: amount(text)?, memo: memo.to_owned() })
}

/// A value of the command line, or standard input for `-`.
///
/// # Errors
/// It is too long, or cannot be read.
pub fn value(text: String) -> Result<Vec<u8>, Failure> {
    if text != "-" {
        return Ok(text.into_bytes());
    }
    let mut value = Vec::new();
    let limit = u64::try_from(VALUE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut value)
        .map_err(|error| Failure::internal(format!("standard input cannot be read: {error}")))?;
    Ok(value)
}

/// Sends a write and prints what became of it.
///
/// # Errors
/// Refused, not executed, or unknown.
pub async fn run(context: &mut Context, id: Option<&str>, operation: Operation) -> Result<(), Failure> {
    let given = id.map(request_id).transpose()?;
    let random = given.is_none();
    let request = request(given.unwrap_or_else(random_id), operation)?;
    let id = request.id.as_str().to_owned();
    if random {
        note(&format!("id: {id}"));
    }
    let reply = context.node.write(&id, request.encode()).await?;
    let (object, text) = written(reply)?;
    context.out.result(&object, || text);
    Ok(())
}

/// The answer to a write, as JSON and as text.
///
/// # Errors
/// The bank refused.
pub fn written(reply: ApiReply) -> Result<(Value, String), Failure> {
    match reply {
        ApiReply::Written { id, outcome: WriteOutcome::Committed, height, index, duplicate } => {
            let again = if duplicate { " (it was there before)" } else { "" };
            let text = format!("committed at height {height}, index {index}{again}");
            let object = json!({
                "schema": SCHEMA, "id": id, "outcome": "committed",
                "height": height, "index": index, "duplicate": duplicate,
            });
            Ok((object, text))
        }
        ApiReply::Written { id, outcome: WriteOutcome::Refused { code, message }, height, index, duplicate } => {
            let hint = match code.as_str() {
                "unknown_account" => Some("bankctl open NAME opens an account; bankctl accounts lists them"),
                "insufficient_funds" => Some("bankctl balance NAME; a new try needs a new id"),
                "unknown_pending" => Some("bankctl pending lists what is held"),
                "already_posted" | "already_voided" | "pending_expired" | "exceeds_pending" => {
                    Some("bankctl show ID shows the pending transfer; bankctl pending lists what is held")
                }
                _ => None,
            };
            let failure = Failure::new(FailKind::Refused, &code, message);
            let next = hint.map(str::to_owned).into_iter().collect();
            Err(Failure { id: Some(id), recorded: Some((height, index, duplicate)), next, ..failure })
        }
        other => Err(unexpected(&other)),
    }
}

/// An answer to another question.
pub fn unexpected(reply: &ApiReply) -> Failure {
    let shown: String = format!("{reply:?}").chars().take(80).collect();
    Failure::internal(format!("the daemon gave an answer that does not belong to the question: {shown}"))
}
