//! One side of a comparison: a running node, or the data folder of a stopped one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use raftbank_ledger::{Account, Block, Hash};
use raftbank_proofs::parse_block;
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::client::Client;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::Stored;
use crate::dev::binary;
use crate::failure::Failure;
use crate::session::{Daemon, Session, unfailed};
use crate::verbs::writes::unexpected;

/// A block of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub block: Block,
    pub committed: bool,
}

/// Blocks from 0 on, then what is stored.
pub(super) enum Side {
    Node { stream: Receiver<ApiReply>, stored: Stored, ended: bool, patience: Duration, _client: Client },
    Folder { name: String, child: Box<Child>, lines: Box<BufReader<ChildStdout>>, stored: Stored, ended: bool },
}

impl Side {
    /// A folder is one that is a folder; everything else is taken for a socket.
    pub async fn open(name: &str, patience: Duration) -> Result<Self, Failure> {
        if Path::new(name).is_dir() { Self::folder(name) } else { Self::node(name, patience).await }
    }

    async fn node(name: &str, patience: Duration) -> Result<Self, Failure> {
        let client = Session::new(Path::new(name), Daemon::Node, patience).client().await?;
        let mut stored = Stored::default();
        let mut stream = client.stream(ApiRequest::Rows).await;
        loop {
            match item(&mut stream, patience).await? {
                ApiReply::Rows { height, accounts, values } => {
                    stored.height = Some(height);
                    for (name, balance) in accounts {
                        let account = Account::parse(&name).map_err(|error| bad(&error.to_string()))?;
                        stored.accounts.insert(account, balance);
                    }
                    stored.values.extend(values.into_iter().map(|(key, hash)| (key, Hash(hash))));
                }
                ApiReply::End { .. } => break,
                other => return Err(unexpected(&other)),
            }
        }
        let stream = client.stream(ApiRequest::Blocks { from: 0, to: stored.height }).await;
        Ok(Self::Node { stream, stored, ended: false, patience, _client: client })
    }

    fn folder(name: &str) -> Result<Self, Failure> {
        let program = binary("raftbankd")?;
        let mut child = Command::new(&program)
            .arg("--dump")
            .arg(name)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::internal(format!("{} cannot be started: {error}", program.display())))?;
        let lines = child.stdout.take().ok_or_else(|| Failure::internal("raftbankd has no standard output"))?;
        let (lines, stored) = (Box::new(BufReader::new(lines)), Stored::default());
        Ok(Self::Folder { name: name.to_owned(), child: Box::new(child), lines, stored, ended: false })
    }

    /// The next block; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Item>, Failure> {
        match self {
            Self::Node { ended: true, .. } => Ok(None),
            Self::Node { stream, patience, ended, .. } => match item(stream, *patience).await? {
                ApiReply::Block { bytes } => {
                    let block = Block::decode(&bytes).map_err(|error| bad(&error.to_string()))?;
                    Ok(Some(Item { block, committed: true }))
                }
                ApiReply::End { .. } => {
                    *ended = true;
                    Ok(None)
                }
                other => Err(unexpected(&other)),
            },
            Self::Folder { name, child, lines, stored, ended } => {
                while !*ended {
                    let mut line = String::new();
                    let read = lines.read_line(&mut line).await.map_err(|error| bad(&error.to_string()))?;
                    if read == 0 {
                        *ended = true;
                        let status = child.wait().await.map_err(|error| bad(&error.to_string()))?;
                        if !status.success() {
                            let message = format!("{name} cannot be read; raftbankd has said why");
                            let kind = if status.code() == Some(6) { FailKind::Corruption } else { FailKind::Usage };
                            return Err(Failure::new(kind, "unreadable", message));
                        }
                        break;
                    }
                    if let Some(item) = dumped(line.trim_end(), stored)? {
                        return Ok(Some(item));
                    }
                }
                Ok(None)
            }
        }
    }

    /// What is stored, once all blocks were read.
    pub fn stored(self) -> Result<Stored, Failure> {
        match self {
            Self::Node { stored, .. } | Self::Folder { stored, .. } => Ok(stored),
        }
    }
}

async fn item(stream: &mut Receiver<ApiReply>, patience: Duration) -> Result<ApiReply, Failure> {
    match timeout(patience, stream.recv()).await {
        Ok(Some(reply)) => unfailed(reply),
        Ok(None) => Err(Failure::new(FailKind::NotExecuted, "connection_lost", "the node is gone")),
        Err(_) => Err(Failure::new(FailKind::NotExecuted, "timeout", "the node stopped sending")),
    }
}

fn bad(why: &str) -> Failure {
    Failure::new(FailKind::Corruption, "unreadable", format!("a side cannot be read: {why}"))
}

/// Takes a line of `raftbankd --dump`.
fn dumped(line: &str, stored: &mut Stored) -> Result<Option<Item>, Failure> {
    let wrong = || bad("raftbankd --dump printed something unexpected: are both programs of one version?");
    let mut value: Value = serde_json::from_str(line).map_err(|_| wrong())?;
    let text = |value: &Value, field: &str| value[field].as_str().map(str::to_owned).ok_or_else(wrong);
    match value["stored"].as_str() {
        None => {
            let object = value.as_object_mut().ok_or_else(wrong)?;
            let committed = object.remove("uncommitted").is_none();
            let block = parse_block(&value.to_string()).map_err(|error| bad(&error.to_string()))?;
            return Ok(Some(Item { block, committed }));
        }
        Some("account") => {
            let account = Account::parse(&text(&value, "account")?).map_err(|_| wrong())?;
            stored.accounts.insert(account, text(&value, "balance")?.parse().map_err(|_| wrong())?);
        }
        Some("value") => {
            let key = unhex(&text(&value, "key_hex")?).ok_or_else(wrong)?;
            stored.values.insert(key, text(&value, "value_sha256")?.parse().map_err(|_| wrong())?);
        }
        Some("tip") => {
            stored.height = value["height"].as_u64();
            stored.stopped = value["stopped"].as_str().map(str::to_owned);
            let damage = value["damage"].as_array().ok_or_else(wrong)?;
            stored.damage = damage.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        Some(_) => return Err(wrong()),
    }
    Ok(None)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
