//! `statement`: what an account held, what came and went, and what it held then.

use clap::Args;
use raftbank_ledger::{Account, Balance};
use serde_json::{Value, json};

use super::Context;
use super::postings::{self, HEADER, Posting, RIGHT, Range};
use super::writes::account;
use crate::failure::Failure;
use crate::output::{SCHEMA, table};

/// The command line of `statement`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The closing balance is asked for apart from the blocks, and compared: a difference is exit code 6.

Examples:
  bankctl statement alice --from 100 --to 250
  bankctl -o json statement alice")]
pub struct StatementArgs {
    /// The account.
    #[arg(allow_hyphen_values = true)]
    pub account: String,
    /// First height.
    #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
    pub from: u64,
    /// Last height; this node's head if not given.
    #[arg(long, value_name = "HEIGHT")]
    pub to: Option<u64>,
}

/// A range of blocks with what they did to an account.
#[derive(Debug)]
struct Statement {
    account: Account,
    range: Range,
    /// Those that changed the balance.
    postings: Vec<Posting>,
}

/// `statement`.
///
/// # Errors
/// No such account or block, no answer, or a node whose blocks and balances do not fit together.
pub async fn run(context: &mut Context, args: &StatementArgs) -> Result<(), Failure> {
    let account = account(&args.account)?;
    let range = postings::range(&mut context.node, &account, args.from, args.to).await?;
    let mut statement = Statement { account, range, postings: Vec::new() };
    let Statement { account, range, postings } = &mut statement;
    let keep = |posting: Posting| {
        if posting.change != 0 {
            postings.push(posting);
        }
    };
    postings::scan(&mut context.node, account, range, keep).await?;
    context.out.result(&statement.json(), || statement.text());
    Ok(())
}

impl Statement {
    /// What came, and what went.
    fn sums(&self) -> (Balance, Balance) {
        let changes = || self.postings.iter().map(|posting| posting.change);
        // They lead from one balance to the other, so they fit.
        (changes().filter(|change| *change > 0).sum(), changes().filter(|change| *change < 0).map(Balance::abs).sum())
    }

    fn json(&self) -> Value {
        let (came, went) = self.sums();
        let Range { from, to, opening, closing } = &self.range;
        let postings: Vec<Value> = self.postings.iter().map(|posting| posting.json(&self.account)).collect();
        json!({
            "schema": SCHEMA, "account": self.account.as_str(), "from": from, "to": to, "opening": opening.to_string(),
            "closing": closing.to_string(), "in": came.to_string(), "out": went.to_string(), "postings": postings,
        })
    }

    fn text(&self) -> String {
        let (came, went) = self.sums();
        let Range { from, to, opening, closing } = &self.range;
        let rows: Vec<Vec<String>> = self.postings.iter().map(|posting| posting.row(&self.account)).collect();
        format!(
            "account  {}\nopening  {opening}  before block {from}\n\n{}\n\nclosing  {closing}  after block {to}\n\
             in       {came}\nout      {went}",
            self.account,
            table(&HEADER, &rows, &RIGHT)
        )
    }
}

#[cfg(test)]
mod tests {
    use raftbank_ledger::{Account, Amount, Entry, Operation, Outcome, Request, RequestId};

    use super::{Posting, Range, Statement};

    #[test]
    fn what_came_and_went_leads_from_one_balance_to_the_other() {
        let account = Account::parse("a").expect("an account");
        let posting = |id: &str, credit: bool, change: i128, balance| {
            let amount = Amount::parse(&change.abs().to_string()).expect("an amount");
            let account = account.clone();
            let operation =
                if credit { Operation::Credit { account, amount } } else { Operation::Debit { account, amount } };
            let id = RequestId::parse(id).expect("an id");
            let request = Request::new(id, operation).expect("a request");
            let entry = Entry { request, outcome: Outcome::Committed };
            Posting { height: 3, index: 0, time_ms: 0, entry, sides: None, change, balance }
        };
        let postings = vec![posting("1", true, 10, 15), posting("2", false, -4, 11), posting("3", true, 1, 12)];
        let range = Range { from: 3, to: 3, opening: 5, closing: 12 };
        let statement = Statement { account, range, postings };
        assert_eq!(statement.sums(), (11, 4));
        let object = statement.json();
        assert_eq!((object["in"].as_str(), object["out"].as_str()), (Some("11"), Some("4")));
        assert_eq!(object["postings"][1]["change"], "-4");
        let text = statement.text();
        assert!(text.contains("opening  5") && text.contains("closing  12") && text.contains("-4"), "{text}");
    }
}
