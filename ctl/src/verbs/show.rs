//! `show`: one request, with its outcome and its place.

use clap::Args;
use raftbank_ledger::{Block, Entry};
use raftbank_proofs::entry_json;
use raftbank_wire::api::{ApiReply, ApiRequest};
use serde_json::{Value, json};

use super::Context;
use super::writes::{request_id, unexpected};
use crate::describe;
use crate::failure::Failure;
use crate::files;
use crate::output::SCHEMA;
use crate::session::Session;
use crate::stream;

/// The command line of `show`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bankctl show invoice-17
  bankctl -o json show invoice-17     # the object of the block, with height, index and time_ms")]
pub struct ShowArgs {
    /// The request's id.
    #[arg(allow_hyphen_values = true)]
    pub id: String,
}

/// A request where it stands.
#[derive(Debug)]
pub struct Found {
    /// Its block.
    pub block: Block,
    /// Its place in the block.
    pub index: u32,
    /// The request with its outcome.
    pub entry: Entry,
}

/// Looks a request up.
///
/// # Errors
/// There is none with this id, no answer, or the block is another one.
pub async fn find(node: &mut Session, id: &str) -> Result<Found, Failure> {
    let id = request_id(id)?;
    let (height, index) = match node.ask(ApiRequest::Find { id: id.to_string() }).await? {
        ApiReply::Found { height, index } => (height, index),
        other => return Err(unexpected(&other)),
    };
    let block = stream::block(node, height).await?;
    let entry = usize::try_from(index).ok().and_then(|index| block.entries.get(index));
    match entry.filter(|entry| entry.request.id == id).cloned() {
        Some(entry) => Ok(Found { block, index, entry }),
        None => {
            let message = format!("the node says that {id} is request {index} of block {height}, but it is not");
            Err(files::not_valid("bad_block", message).hint("bankctl verify"))
        }
    }
}

/// `show`.
///
/// # Errors
/// As [`find`].
pub async fn run(context: &mut Context, args: &ShowArgs) -> Result<(), Failure> {
    let found = find(&mut context.node, &args.id).await?;
    context.out.result(&json_of(&found), || text_of(&found));
    Ok(())
}

fn json_of(found: &Found) -> Value {
    let header = &found.block.header;
    let mut object = entry_json(&found.entry);
    object["schema"] = json!(SCHEMA);
    object["height"] = json!(header.height);
    object["index"] = json!(found.index);
    object["time_ms"] = json!(header.time_ms);
    object
}

fn text_of(found: &Found) -> String {
    let header = &found.block.header;
    let request = &found.entry.request;
    format!(
        "id       {}\nrequest  {}  {}\noutcome  {}\nplace    block {}, request {}\ntime     {}",
        request.id,
        request.verb(),
        describe::about(&request.operation),
        found.entry.outcome.code(),
        header.height,
        found.index,
        describe::time(header.time_ms)
    )
}
