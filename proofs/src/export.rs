//! Reading an export: blocks as JSON lines, one after the other.

use std::io::{BufRead, Read};

use raftbank_ledger::Block;

use crate::error::ProofError;
use crate::json::parse_block;

/// Longest line, in bytes: a block of 4 MiB in JSON, with every character of every memo escaped, is shorter.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Why an export cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("the export cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A line is no block.
    #[error("line {line}: {error}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong.
        error: ProofError,
    },
}

/// The blocks of an export, each spelled as it must be. Whether they make a chain is for [`raftbank_ledger::Verifier`] to
/// say. Ends after the first error.
#[derive(Debug)]
pub struct Export<R> {
    reader: R,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Export<R> {
    /// Reads from `reader`, one line in memory at a time.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 0, buffer: Vec::new(), ended: false }
    }

    fn read(&mut self) -> Result<Option<Block>, ExportError> {
        self.buffer.clear();
        self.line += 1;
        let line = self.line;
        let wrong = |why: &str| ExportError::Line { line, error: ProofError::malformed("the export", why) };
        let read = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let Some(text) = self.buffer.strip_suffix(b"\n") else {
            return Err(wrong("this line does not end, or is too long for a block"));
        };
        let text = std::str::from_utf8(text).map_err(|_| wrong("this line is not UTF-8"))?;
        parse_block(text).map(Some).map_err(|error| ExportError::Line { line, error })
    }
}

impl<R: BufRead> Iterator for Export<R> {
    type Item = Result<Block, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}
