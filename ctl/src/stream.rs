//! Streams of answers: each item within the timeout, and blocks that are looked at before they are believed.

use indicatif::ProgressBar;
use raftbank_ledger::{Block, Hash};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::client::Client;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::output::progress_bar;
use crate::session::{Session, unfailed};
use crate::verbs::writes::unexpected;

/// Answers to one question.
#[derive(Debug)]
pub struct Stream {
    items: mpsc::Receiver<ApiReply>,
    /// With the last clone of a client end its streams.
    _client: Client,
    limit: std::time::Duration,
}

impl Stream {
    /// Asks.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(node: &mut Session, request: ApiRequest) -> Result<Self, Failure> {
        let client = node.client().await?;
        Ok(Self { items: client.stream(request).await, limit: node.timeout(), _client: client })
    }

    /// The next answer; none comes for longer than the timeout.
    ///
    /// # Errors
    /// Nothing came, the connection was lost, or the daemon says that it failed.
    pub async fn next(&mut self) -> Result<ApiReply, Failure> {
        match timeout(self.limit, self.items.recv()).await {
            Ok(Some(reply)) => unfailed(reply),
            Ok(None) => Err(Failure::new(FailKind::NotExecuted, "connection_lost", "the node is gone")),
            Err(_) => {
                let limit = humantime::format_duration(self.limit);
                let message = format!("the node sent nothing for {limit}, with more to come");
                Err(Failure::new(FailKind::NotExecuted, "timeout", message).hint("a longer wait: --timeout 30s"))
            }
        }
    }

    /// The one answer behind any number of reports of progress, which go to a bar.
    ///
    /// # Errors
    /// As [`Stream::next`].
    pub async fn last(&mut self, unit: &str) -> Result<ApiReply, Failure> {
        let bar = progress_bar(unit);
        loop {
            match self.next().await? {
                ApiReply::Progress { done, total } => {
                    bar.set_length(total);
                    bar.set_position(done);
                }
                reply => {
                    bar.finish_and_clear();
                    return Ok(reply);
                }
            }
        }
    }
}

/// Blocks of a node, one after the other: each has the height that is asked for and names the hash of the one before.
#[derive(Debug)]
pub struct Blocks {
    stream: Stream,
    next: u64,
    previous: Option<Hash>,
    bar: ProgressBar,
}

impl Blocks {
    /// From one height to another; without `to`, to the node's head of this moment.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(node: &mut Session, from: u64, to: Option<u64>) -> Result<Self, Failure> {
        let stream = Stream::open(node, ApiRequest::Blocks { from, to }).await?;
        Ok(Self { stream, next: from, previous: None, bar: ProgressBar::hidden() })
    }

    /// Shows on a terminal how far it is, of so many blocks. Not for verbs that print as they go.
    #[must_use]
    pub fn with_bar(mut self, total: u64) -> Self {
        self.bar = progress_bar("blocks");
        self.bar.set_length(total);
        self
    }

    /// The next block; `None` after the last one.
    ///
    /// # Errors
    /// As [`Stream::next`]; corruption if it is not the next block.
    pub async fn next(&mut self) -> Result<Option<Block>, Failure> {
        match self.stream.next().await? {
            ApiReply::Block { bytes } => {
                let block = decode(&bytes)?;
                let header = &block.header;
                if header.height != self.next || self.previous.is_some_and(|hash| hash != header.previous) {
                    let message = format!(
                        "in the place of block {} the node sent block {}, which does not follow from the one before",
                        self.next, header.height
                    );
                    return Err(Failure::new(FailKind::Corruption, "bad_block", message).hint("bankctl verify"));
                }
                self.next += 1;
                self.previous = Some(block.hash());
                self.bar.inc(1);
                Ok(Some(block))
            }
            ApiReply::End { .. } => {
                self.bar.finish_and_clear();
                Ok(None)
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// One block of a node, at this height.
///
/// # Errors
/// No such block, no answer, or another block.
pub async fn block(node: &mut Session, height: u64) -> Result<Block, Failure> {
    match node.ask(ApiRequest::Block { height }).await? {
        ApiReply::Block { bytes } => {
            let block = decode(&bytes)?;
            if block.header.height == height {
                return Ok(block);
            }
            let message = format!("asked for block {height}, the node sent block {}", block.header.height);
            Err(Failure::new(FailKind::Corruption, "bad_block", message).hint("bankctl verify"))
        }
        other => Err(unexpected(&other)),
    }
}

fn decode(bytes: &[u8]) -> Result<Block, Failure> {
    Block::decode(bytes).map_err(|error| {
        Failure::new(FailKind::Corruption, "bad_block", format!("the node sent a block that is none: {error}"))
    })
}
