//! The relay's verbs: partition and link.

use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest, LinkCommand, LinkReply, PartitionCommand};
use serde_json::{Value, json};

use super::Context;
use super::writes::unexpected;
use crate::args::{LinkAction, PartitionAction};
use crate::failure::Failure;
use crate::output::SCHEMA;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `partition`.
///
/// # Errors
/// A bad partition, or no answer.
pub async fn partition(context: &mut Context, action: Option<PartitionAction>) -> Result<(), Failure> {
    let command = match action {
        None | Some(PartitionAction::Show) => PartitionCommand::Show,
        Some(PartitionAction::Set { groups, for_ }) => PartitionCommand::Set { groups, for_ms: for_.map(millis) },
        Some(PartitionAction::Heal) => PartitionCommand::Heal,
    };
    match context.relay.ask(ApiRequest::Partition(command)).await? {
        ApiReply::Partition { groups, heals_in_ms } => {
            let heals_in_s = heals_in_ms.map(seconds);
            let object = json!({ "schema": SCHEMA, "groups": groups, "heals_in_s": heals_in_s });
            context.out.result(&object, || {
                if groups.len() <= 1 {
                    return format!("no partition: {} reach each other", groups.concat().join(", "));
                }
                let groups: Vec<String> = groups.iter().map(|group| group.join(",")).collect();
                let heals = heals_in_ms.map_or_else(String::new, |ms| format!("  heals in {} s", seconds(ms)));
                format!("{}{heals}", groups.join(" / "))
            });
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// `link`.
///
/// # Errors
/// A bad fault, or no answer.
pub async fn link(context: &mut Context, action: Option<LinkAction>) -> Result<(), Failure> {
    let command = match action {
        None | Some(LinkAction::Show) => LinkCommand::Show,
        Some(LinkAction::Cut { a, b, one_way, for_ }) => LinkCommand::Cut { a, b, one_way, for_ms: for_.map(millis) },
        Some(LinkAction::Restore { a, b }) => LinkCommand::Restore { a, b },
        Some(LinkAction::Delay { range, for_ }) => {
            let (min_ms, max_ms) = delay(&range)?;
            LinkCommand::Delay { min_ms, max_ms, for_ms: for_.map(millis) }
        }
        Some(LinkAction::Loss { percent, for_ }) => {
            LinkCommand::Loss { percent: loss(&percent)?, for_ms: for_.map(millis) }
        }
        Some(LinkAction::Clear) => LinkCommand::Clear,
    };
    match context.relay.ask(ApiRequest::Link(command)).await? {
        ApiReply::Link(link) => {
            context.out.result(&link_json(&link), || link_text(&link));
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

fn link_json(link: &LinkReply) -> Value {
    let cuts: Vec<Value> = link.cuts.iter().map(|cut| json!({ "from": cut.from, "to": cut.to })).collect();
    let loss = whole(link.loss_percent);
    json!({
        "schema": SCHEMA, "cuts": cuts, "delay_ms": [link.delay_ms.0, link.delay_ms.1], "loss_percent": loss,
    })
}

/// A whole number as such: `0`, not `0.0`.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && (0.0..=100.0).contains(&number) { json!(number as u64) } else { json!(number) }
}

fn link_text(link: &LinkReply) -> String {
    let mut lines: Vec<String> = link.cuts.iter().map(|cut| format!("cut    {} -> {}", cut.from, cut.to)).collect();
    let (min, max) = link.delay_ms;
    if max > 0 {
        lines.push(format!("delay  {min}..{max} ms per message"));
    }
    if link.loss_percent > 0.0 {
        lines.push(format!("loss   {} %", link.loss_percent));
    }
    if lines.is_empty() {
        lines.push("no link faults".to_owned());
    }
    lines.join("\n")
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}

/// Reads `MIN..MAX`.
pub(crate) fn delay(range: &str) -> Result<(u32, u32), Failure> {
    let wrong = || {
        Failure::usage("bad_delay", format!("{range:?} is not a delay; write MIN..MAX, such as 10ms..200ms or 1s..5s"))
    };
    let one = |text: &str| {
        if text == "0" {
            return Ok(0);
        }
        // A plain number is milliseconds.
        let millis = match text.parse::<u32>() {
            Ok(millis) => u128::from(millis),
            Err(_) => humantime::parse_duration(text).map_err(|_| wrong())?.as_millis(),
        };
        u32::try_from(millis).map_err(|_| wrong())
    };
    let (min, max) = match range.split_once("..") {
        // `1..5s` means seconds for both.
        Some((min, max)) if min.bytes().all(|byte| byte.is_ascii_digit()) && min != "0" => {
            let unit: String = max.chars().skip_while(char::is_ascii_digit).collect();
            (one(&format!("{min}{unit}"))?, one(max)?)
        }
        Some((min, max)) => (one(min)?, one(max)?),
        None => (one(range)?, one(range)?),
    };
    if min > max {
        return Err(Failure::usage("bad_delay", format!("{range:?}: the first value must not be above the second")));
    }
    Ok((min, max))
}

pub(crate) fn loss(text: &str) -> Result<f64, Failure> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err(Failure::usage("bad_loss", format!("{text:?} is not a loss; write a per cent from 0 to 100"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{delay, loss};

    #[test]
    fn delays() {
        for (text, wanted) in [
            ("1s..5s", (1_000, 5_000)),
            ("1..5s", (1_000, 5_000)),
            ("10ms..200ms", (10, 200)),
            ("10..200", (10, 200)),
            ("0..1s", (0, 1_000)),
            ("50ms", (50, 50)),
            ("0", (0, 0)),
        ] {
            assert_eq!(delay(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "..", "5s..1s", "a..b", "-1..2", "1s...2s", "99999999999"] {
            assert!(delay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn losses() {
        assert_eq!(loss("10").ok(), Some(10.0));
        assert_eq!(loss("0.5%").ok(), Some(0.5));
        for text in ["", "-1", "101", "NaN", "inf", "ten"] {
            assert!(loss(text).is_err(), "{text}");
        }
    }
}
