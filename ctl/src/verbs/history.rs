//! `history`: all requests that name an account.

use std::collections::VecDeque;

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::postings::{self, HEADER, Posting, RIGHT};
use super::writes::account;
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{SCHEMA, line, table};

/// The command line of `history`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Refused requests are shown, too; they changed nothing.

Examples:
  bankctl history alice
  bankctl history alice --limit 20           # the newest 20
  bankctl -o jsonl history alice --from 100  # one object a line")]
pub struct HistoryArgs {
    /// The account.
    #[arg(allow_hyphen_values = true)]
    pub account: String,
    /// First height.
    #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
    pub from: u64,
    /// Last height; this node's head if not given.
    #[arg(long, value_name = "HEIGHT")]
    pub to: Option<u64>,
    /// Only the newest so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// `history`.
///
/// # Errors
/// No such account or block, no answer, or a node whose blocks and balances do not fit together.
pub async fn run(context: &mut Context, args: &HistoryArgs) -> Result<(), Failure> {
    let account = account(&args.account)?;
    let range = postings::range(&mut context.node, &account, args.from, args.to).await?;
    let line_of = |posting: &Posting| {
        let mut object = posting.json(&account);
        object["schema"] = json!(SCHEMA);
        object["account"] = json!(account.as_str());
        line(&object.to_string());
    };
    let as_lines = context.out.format == Format::Jsonl;
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (mut kept, mut left_out) = (VecDeque::new(), 0_u64);
    let scanned = postings::scan(&mut context.node, &account, &range, |posting| {
        if as_lines && args.limit.is_none() {
            line_of(&posting);
            return;
        }
        if kept.len() == limit {
            kept.pop_front();
            left_out += 1;
        }
        kept.push_back(posting);
    });
    scanned.await?;
    if as_lines {
        kept.iter().for_each(line_of);
        return Ok(());
    }
    let postings: Vec<Value> =
        if context.out.is_json() { kept.iter().map(|posting| posting.json(&account)).collect() } else { Vec::new() };
    let object = json!({
        "schema": SCHEMA, "account": account.as_str(), "from": range.from, "to": range.to, "left_out": left_out,
        "postings": postings,
    });
    context.out.result(&object, || {
        let rows: Vec<Vec<String>> = kept.iter().map(|posting| posting.row(&account)).collect();
        table(&HEADER, &rows, &RIGHT)
    });
    Ok(())
}
