//! Requests, times and signers in words.

use std::time::{Duration, UNIX_EPOCH};

use raftbank_ledger::{Account, Amount, Entry, Operation};

/// The last millisecond of the year 9999.
const TIME_MS_MAX: u64 = 253_402_300_799_999;
/// Most legs of a linked transfer that are named on one line.
const LEGS_SHOWN: usize = 3;

/// A time in UTC. A header can hold any number.
pub fn time(time_ms: u64) -> String {
    if time_ms > TIME_MS_MAX {
        return format!("{time_ms} ms after 1970");
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time_ms)).to_string()
}

/// A time span, in words.
pub fn duration(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

/// What a request is about, for a column of a table.
pub fn about(operation: &Operation) -> String {
    let transfer = |from: &Account, to: &Account, amount: &Amount, memo: &str| match memo {
        "" => format!("{from} -> {to}  {amount}"),
        memo => format!("{from} -> {to}  {amount}  {memo:?}"),
    };
    match operation {
        Operation::Open { account } => account.to_string(),
        Operation::Transfer { from, to, amount, memo } => transfer(from, to, amount, memo),
        Operation::Pending { from, to, amount, timeout_ms, memo } => {
            format!("{}  for {}", transfer(from, to, amount, memo), duration(*timeout_ms))
        }
        Operation::Linked { legs } => {
            let shown = legs.iter().take(LEGS_SHOWN).map(|leg| transfer(&leg.from, &leg.to, &leg.amount, &leg.memo));
            let more = legs.len().saturating_sub(LEGS_SHOWN);
            let more = (more > 0).then(|| format!("and {more} more"));
            shown.chain(more).collect::<Vec<_>>().join("; ")
        }
        Operation::Post { pending, amount: Some(amount) } => format!("{pending}  {amount}"),
        Operation::Post { pending, amount: None } | Operation::Void { pending } => pending.to_string(),
        Operation::Credit { account, amount } | Operation::Debit { account, amount } => format!("{account}  {amount}"),
        Operation::Put { key, value } => format!("{:?}  {} bytes", String::from_utf8_lossy(key), value.len()),
    }
}

/// A request and what became of it, for a sentence.
pub fn entry(entry: &Entry) -> String {
    let transfer = |from: &Account, to: &Account, amount: &Amount, memo: &str| match memo {
        "" => format!("transfer {amount} from {from} to {to}"),
        memo => format!("transfer {amount} from {from} to {to}, memo {memo:?}"),
    };
    let what = match &entry.request.operation {
        Operation::Open { account } => format!("open {account}"),
        Operation::Transfer { from, to, amount, memo } => transfer(from, to, amount, memo),
        Operation::Pending { from, to, amount, timeout_ms, memo } => {
            format!("pending {}, for {}", transfer(from, to, amount, memo), duration(*timeout_ms))
        }
        Operation::Linked { legs } => format!("{} linked transfers: {}", legs.len(), about(&entry.request.operation)),
        Operation::Post { pending, amount: Some(amount) } => format!("post {amount} of {pending}"),
        Operation::Post { pending, amount: None } => format!("post all of {pending}"),
        Operation::Void { pending } => format!("void {pending}"),
        Operation::Credit { account, amount } => format!("credit {amount} to {account}"),
        Operation::Debit { account, amount } => format!("debit {amount} from {account}"),
        Operation::Put { key, value } => format!("put {} bytes under {:?}", value.len(), String::from_utf8_lossy(key)),
    };
    let outcome = match entry.outcome.code() {
        "committed" => "committed".to_owned(),
        code => format!("refused ({code})"),
    };
    format!("request {}: {what}: {outcome}", entry.request.id)
}

/// A key's name without the bank it belongs to.
pub fn signer(name: &str) -> &str {
    let node = name.strip_prefix("raftbank/").and_then(|rest| rest.split_once('/'));
    node.map_or(name, |(_, node)| node)
}

/// Several of them.
pub fn signers<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(signer).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{signer, time};

    #[test]
    fn any_number_is_a_time() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(super::TIME_MS_MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(super::TIME_MS_MAX + 1), "253402300800000 ms after 1970");
        assert_eq!(time(u64::MAX), "18446744073709551615 ms after 1970");
    }

    #[test]
    fn nodes_are_named_without_their_bank() {
        assert_eq!(signer(&format!("raftbank/{}/n1", "0".repeat(64))), "n1");
        assert_eq!(signer("witness.example/w1"), "witness.example/w1");
    }
}
