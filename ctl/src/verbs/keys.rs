//! `keys`: the public keys of all members, for whoever wants to check what the bank says.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use raftbank_ledger::{Hash, NodeName};
use raftbank_proofs::{KeyKind, Keys, VerifierKey, node_key_name};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Context;
use super::writes::unexpected;
use crate::describe;
use crate::failure::Failure;
use crate::files;
use crate::output::{SCHEMA, bytes, note};

/// Between two looks, while keys are missing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The command line of `keys`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Whoever holds this file decides by it whom to believe: get it on a way that you trust, and keep it.

Examples:
  bankctl keys > keys.txt
  bankctl verify-receipt invoice-17.txt --keys keys.txt")]
pub struct KeysArgs {
    /// Write the keys file here instead of to standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `keys`.
///
/// # Errors
/// No answer, a member whose key this node does not know yet, or the file cannot be written.
pub async fn run(context: &mut Context, args: &KeysArgs) -> Result<(), Failure> {
    let status = match context.node.ask(ApiRequest::Status).await? {
        ApiReply::Status(status) => status,
        other => return Err(unexpected(&other)),
    };
    let deadline = Instant::now() + context.timeout;
    let keys = loop {
        let members = match context.node.ask(ApiRequest::Keys).await? {
            ApiReply::Keys { members } => members,
            other => return Err(unexpected(&other)),
        };
        match keys_of(Hash(status.cluster_id), &members) {
            // A node that has just started hears them soon.
            Err(failure) if failure.kind == FailKind::NotExecuted && Instant::now() < deadline => {
                sleep(LOOK_EVERY).await;
            }
            keys => break keys?,
        }
    };
    let text = keys.to_string();
    if let Some(path) = &args.out {
        files::write(path, &text)?;
    }
    if context.out.is_json() {
        context.out.result(&json_of(&keys, &text), String::new);
    } else if let Some(path) = &args.out {
        note(&format!("the keys of {} members are in {}", keys.nodes().len(), path.display()));
    } else {
        bytes(text.as_bytes());
    }
    Ok(())
}

/// The keys file of these members.
fn keys_of(cluster_id: Hash, members: &[(String, Option<[u8; 32]>)]) -> Result<Keys, Failure> {
    let unknown: Vec<&str> = members.iter().filter(|(_, key)| key.is_none()).map(|(name, _)| name.as_str()).collect();
    if !unknown.is_empty() {
        let message = format!("this node has not heard the key of {} yet", unknown.join(", "));
        return Err(Failure::new(FailKind::NotExecuted, "keys_incomplete", message)
            .hint("they tell it when they are connected: bankctl status shows who is, then ask again"));
    }
    let wrong = |error: String| Failure::internal(format!("the node's keys cannot be used: {error}"));
    let mut keys = Vec::new();
    for (name, public) in members.iter().filter_map(|(name, key)| Some((name, key.as_ref()?))) {
        let node = NodeName::parse(name).map_err(|error| wrong(error.to_string()))?;
        let name = node_key_name(&cluster_id, &node);
        keys.push(VerifierKey::new(&name, KeyKind::Node, public).map_err(|error| wrong(error.to_string()))?);
    }
    Keys::new(keys).map_err(|error| wrong(error.to_string()))
}

fn json_of(keys: &Keys, text: &str) -> Value {
    let members: Vec<Value> =
        keys.nodes().iter().map(|key| json!({ "id": describe::signer(key.name()), "key": key.to_string() })).collect();
    json!({
        "schema": SCHEMA, "origin": keys.origin(), "majority": keys.majority(), "members": members, "keys": text,
    })
}

#[cfg(test)]
mod tests {
    use raftbank_ledger::Hash;
    use raftbank_proofs::{KeyKind, Keys, SignerKey};

    use super::{json_of, keys_of};

    fn public(seed: u8) -> [u8; 32] {
        SignerKey::new("n", KeyKind::Node, &[seed; 32]).expect("a key").verifier().public()
    }

    #[test]
    fn the_file_names_every_member() {
        let members = [("n1".to_owned(), Some(public(1))), ("n2".to_owned(), Some(public(2)))];
        let keys = keys_of(Hash([7; 32]), &members).expect("keys");
        let text = keys.to_string();
        assert_eq!(Keys::parse(&text).expect("a keys file"), keys);
        let object = json_of(&keys, &text);
        assert_eq!(object["members"][1]["id"], "n2");
        assert_eq!(object["keys"], text);
        assert_eq!(object["majority"], 2);
    }

    #[test]
    fn a_key_that_is_missing_is_asked_for_later() {
        let members = [("n1".to_owned(), Some(public(1))), ("n2".to_owned(), None), ("n3".to_owned(), None)];
        let failure = keys_of(Hash([7; 32]), &members).expect_err("incomplete");
        assert_eq!((failure.exit_code(), failure.code.as_str()), (4, "keys_incomplete"));
        assert!(failure.message.contains("n2, n3"), "{}", failure.message);
    }

    #[test]
    fn bytes_that_are_no_key_are_told() {
        let failure = keys_of(Hash([7; 32]), &[("n1".to_owned(), Some([0; 32]))]).expect_err("no key");
        assert_eq!(failure.exit_code(), 1);
    }
}
