//! What moves money in more than one step: pending transfers with their posting and voiding, and linked transfers.

use std::io::Read;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};
use raftbank_ledger::{LEGS_MAX, Leg, MEMO_BYTES_MAX, Operation, TIMEOUT_MS_MAX};
use raftbank_wire::api::{ApiReply, ApiRequest, HeldRow};
use serde_json::{Value, json};

use super::Context;
use super::writes::{self, account, amount, request_id, unexpected};
use crate::args::Format;
use crate::batch::is_before_0_2;
use crate::describe;
use crate::failure::Failure;
use crate::files;
use crate::output::{SCHEMA, line, note, table};

/// Most rows for people; programs get all.
const SHOWN_MAX: usize = 1_000;
/// Most bytes of a file of linked transfers.
const LINKED_BYTES_MAX: u64 = 1 << 20;
const HEADER: [&str; 6] = ["ID", "FROM", "TO", "AMOUNT", "EXPIRES", "STATUS"];

/// Reads how long a pending transfer holds its money.
///
/// # Errors
/// Not a duration, or not between a millisecond and 366 days.
pub fn timeout(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration; write it like 30m, 12h or 7d"))?;
    match u64::try_from(duration.as_millis()) {
        Ok(ms @ 1..=TIMEOUT_MS_MAX) => Ok(ms),
        Ok(0) => Err("a pending transfer holds its money for a millisecond at least".to_owned()),
        _ => Err("a pending transfer holds its money for 366 days at most".to_owned()),
    }
}

/// A pending transfer of the command line.
///
/// # Errors
/// Wrong usage, with the reason.
pub fn transfer(from: &str, to: &str, text: &str, memo: &str, timeout_ms: u64) -> Result<Operation, Failure> {
    let (from, to, amount) = (account(from)?, account(to)?, amount(text)?);
    Ok(Operation::Pending { from, to, amount, timeout_ms, memo: memo.to_owned() })
}

/// `post`: all of it if no amount is given.
///
/// # Errors
/// Wrong usage, refused, not executed, or unknown.
pub async fn post(context: &mut Context, id: Option<&str>, of: &str, text: Option<&str>) -> Result<(), Failure> {
    let operation = Operation::Post { pending: request_id(of)?, amount: text.map(amount).transpose()? };
    writes::run(context, id, operation).await
}

/// `void`.
///
/// # Errors
/// Wrong usage, refused, not executed, or unknown.
pub async fn void(context: &mut Context, id: Option<&str>, of: &str) -> Result<(), Failure> {
    writes::run(context, id, Operation::Void { pending: request_id(of)? }).await
}

/// `linked`: a file of transfers as one request.
///
/// # Errors
/// A bad file or row (then nothing is sent), refused, not executed, or unknown.
pub async fn linked(context: &mut Context, id: Option<&str>, file: &Path) -> Result<(), Failure> {
    let legs = legs(files::open(file)?)?;
    writes::run(context, id, Operation::Linked { legs }).await
}

/// Rows of `from,to,amount[,memo]`.
fn legs(input: impl Read) -> Result<Vec<Leg>, Failure> {
    let text = files::rows(input, LINKED_BYTES_MAX)?;
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
    let (mut legs, mut record, mut row) = (Vec::new(), StringRecord::new(), 0_u64);
    while reader.read_record(&mut record).map_err(|error| Failure::usage("bad_row", error.to_string()))? {
        row += 1;
        if row == 1 && record.iter().take(3).eq(["from", "to", "amount"]) {
            continue; // a header
        }
        if legs.len() == LEGS_MAX {
            let message = format!(
                "at most {LEGS_MAX} transfers can be linked (nothing was executed); what need not be all or none goes with \
                 bankctl transfer --batch"
            );
            return Err(Failure::usage("too_many_rows", message));
        }
        legs.push(leg(&record).map_err(|failure| {
            let message = format!("row {row}: {} (nothing was executed)", failure.message);
            Failure { message, ..failure }
        })?);
    }
    Ok(legs)
}

fn leg(record: &StringRecord) -> Result<Leg, Failure> {
    let fields: Vec<&str> = record.iter().collect();
    let (from, to, text, memo) = match fields[..] {
        [from, to, amount] => (from, to, amount, ""),
        [from, to, amount, memo] => (from, to, amount, memo),
        _ => {
            let message = format!("{} fields; a row is from,to,amount[,memo]", fields.len());
            return Err(Failure::usage("bad_row", message));
        }
    };
    if memo.len() > MEMO_BYTES_MAX {
        let message = format!("memo: {} bytes; at most {MEMO_BYTES_MAX} are allowed", memo.len());
        return Err(Failure::usage("bad_argument", message));
    }
    Ok(Leg { from: account(from)?, to: account(to)?, amount: amount(text)?, memo: memo.to_owned() })
}

/// `pending`: what is held, as the node has it.
///
/// # Errors
/// No such account, or no answer.
pub async fn list(context: &mut Context, name: Option<&str>) -> Result<(), Failure> {
    let account = name.map(account).transpose()?.map(|account| account.to_string());
    if is_before_0_2(context.node.client().await?.server()) {
        let message = "this node's version does not know pending transfers; ask one of version 0.2 or later";
        return Err(Failure::usage("not_supported_yet", message));
    }
    let (mut rows, mut after) = (Vec::new(), None);
    let (height, time_ms, left_out) = loop {
        let question = ApiRequest::Held { account: account.clone(), after };
        let (height, time_ms, part, next) = match context.node.ask(question).await? {
            ApiReply::Held { height, time_ms, rows, next } => (height, time_ms, rows, next),
            other => return Err(unexpected(&other)),
        };
        match context.out.format {
            Format::Jsonl => part.iter().for_each(|row| {
                let mut object = row_json(row);
                object["schema"] = json!(SCHEMA);
                object["height"] = json!(height);
                line(&object.to_string());
            }),
            _ => rows.extend(part),
        }
        let for_people = context.out.format == Format::Table;
        let left_out = for_people && (rows.len() > SHOWN_MAX || (rows.len() == SHOWN_MAX && next.is_some()));
        after = next;
        if after.is_none() || left_out {
            break (height, time_ms, left_out);
        }
    };
    if context.out.format == Format::Jsonl {
        return Ok(());
    }
    rows.truncate(if left_out { SHOWN_MAX } else { rows.len() });
    let listed: Vec<Value> = if context.out.is_json() { rows.iter().map(row_json).collect() } else { Vec::new() };
    let object = json!({
        "schema": SCHEMA, "height": height, "time_ms": time_ms, "account": account, "pending": listed,
    });
    context.out.result(&object, || {
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        table(&HEADER, &cells, &[false, false, false, true, false, false])
    });
    if !context.out.is_json() {
        let more = if left_out { "; there are more: -o json lists all" } else { "" };
        note(&format!("{} pending at height {height}, {}{more}", rows.len(), describe::time(time_ms)));
    }
    Ok(())
}

fn row_json(row: &HeldRow) -> Value {
    let HeldRow { id, from, to, amount, expires_ms, status, .. } = row;
    json!({
        "id": id, "from": from, "to": to, "amount": amount.to_string(), "expires_ms": expires_ms,
        "expires": describe::time(*expires_ms), "status": status,
    })
}

fn cells(row: &HeldRow) -> Vec<String> {
    let HeldRow { id, from, to, amount, expires_ms, status, .. } = row.clone();
    vec![id, from, to, amount.to_string(), describe::time(expires_ms), status]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{legs, timeout};

    #[test]
    fn a_timeout_is_a_millisecond_to_a_year() {
        assert_eq!(timeout("1ms"), Ok(1));
        assert_eq!(timeout("7d"), Ok(604_800_000));
        assert_eq!(timeout("366d"), Ok(31_622_400_000));
        for text in ["0s", "10us", "366d 1ms", "soon", "", "-5s", "5"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_linked_transfers_is_taken_as_a_whole() {
        let read = |text: &str| legs(text.as_bytes()).map_err(|failure| failure.message);
        let found = read("from,to,amount,memo\na,b,1\nb,c,2,\"rent, May\"\n").unwrap();
        assert_eq!((found.len(), found[1].memo.as_str(), found[1].amount.get()), (2, "rent, May", 2));
        for (text, why) in [
            ("a,b,1\na,b\n", "row 2: 2 fields"),
            ("a,b,0\n", "row 1: an amount must be positive"),
            ("a,b,1,m,x\n", "row 1: 5 fields"),
            ("a b,b,1\n", "row 1: an account name"),
            (&format!("a,b,1,{}\n", "m".repeat(257)), "memo: 257 bytes"),
            (&"a,b,1\n".repeat(129), "at most 128"),
            (&" ".repeat((1 << 20) + 1), "at most 1048576 bytes"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }
}
