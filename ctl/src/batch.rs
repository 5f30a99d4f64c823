//! `transfer --batch`: a CSV file of transfers, many in a frame and many frames in flight, one result a row in the order
//! of the file.
//!
//! The whole file is checked before anything is sent: of a file with a bad row nothing is executed.

use std::collections::VecDeque;
use std::io::Read;
use std::iter::Peekable;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};
use raftbank_ledger::Request;
use raftbank_wire::api::{ApiReply, FailKind, Many, ManyResult, version_of};
use serde_json::json;

use crate::failure::Failure;
use crate::files;
use crate::output::{failure_json, line, note, progress_bar};
use crate::session::{Daemon, Session};
use crate::verbs::Context;
use crate::verbs::writes;

/// Most rows of one file.
const ROWS_MAX: usize = 1_000_000;
/// Most bytes of one file.
const BYTES_MAX: u64 = 256 << 20;
/// Most rows in one frame: its answer comes as soon as all of them are in a block.
const ROWS_EACH: usize = 1_000;
/// Frames in flight.
const WINDOW: usize = 16;

/// A checked row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub line: u64,
    pub request: Request,
}

/// Reads, checks, sends, prints. Returns the exit code: 5 if any outcome is unknown, else 4, else 3, else 0.
///
/// # Errors
/// The file cannot be read or has a bad row, or no node answers.
pub async fn run(context: &mut Context, file: &Path, prefix: Option<&str>) -> Result<u8, Failure> {
    let rows = read(files::open(file)?, prefix)?;
    // Nobody there is said once, not for each row.
    let mut session = Session::new(context.node.path(), Daemon::Node, context.timeout);
    let together = !is_before_0_2(session.client().await?.server());
    let bar = progress_bar("transfers");
    bar.set_length(u64::try_from(rows.len()).unwrap_or(0));
    let mut tally = Tally::default();
    let mut flying = VecDeque::new();
    let mut rows = rows.into_iter().peekable();
    loop {
        while flying.len() < WINDOW
            && let Some((sent, packed)) = pack(&mut rows, if together { ROWS_EACH } else { 1 })
        {
            let mut session = session.share();
            let task = tokio::spawn(async move {
                match packed {
                    Packed::One(id, request) => Answer::One(session.write(&id, request).await),
                    Packed::Many(requests) => Answer::Many(session.write_many(requests).await),
                }
            });
            flying.push_back((sent, task));
        }
        let Some((sent, task)) = flying.pop_front() else { break };
        let answer = task.await.unwrap_or_else(|error| Answer::Many(Err(Failure::internal(error.to_string()))));
        let count = sent.len();
        bar.suspend(|| {
            for ((number, id), result) in sent.iter().zip(answer.each(&sent)) {
                tally.row(context, *number, id, result.and_then(writes::written));
            }
        });
        bar.inc(u64::try_from(count).unwrap_or(0));
    }
    bar.finish_and_clear();
    if !context.out.is_json() {
        note(&tally.summary());
    }
    Ok(tally.exit_code())
}

/// Whether a node of this name and version is too old for batches, and for questions about what is held.
pub(crate) fn is_before_0_2(server: &str) -> bool {
    version_of(server).is_none_or(|version| version < (0, 2))
}

/// What is sent in one frame.
enum Packed {
    One(String, Vec<u8>),
    Many(Vec<u8>),
}

/// What came back.
enum Answer {
    One(Result<ApiReply, Failure>),
    Many(Result<ApiReply, Failure>),
}

/// Lines and ids of the rows in one frame.
type Sent = Vec<(u64, String)>;

/// The next rows that go into one frame.
fn pack(rows: &mut Peekable<impl Iterator<Item = Row>>, most: usize) -> Option<(Sent, Packed)> {
    if most == 1 {
        let row = rows.next()?;
        let id = row.request.id.as_str().to_owned();
        return Some((vec![(row.line, id.clone())], Packed::One(id, row.request.encode())));
    }
    let (mut sent, mut many) = (Vec::new(), Many::default());
    while sent.len() < most
        && let Some(row) = rows.peek()
        && many.push(&row.request.encode())
    {
        sent.push((row.line, row.request.id.as_str().to_owned()));
        rows.next();
    }
    (!many.is_empty()).then(|| (sent, Packed::Many(many.into_bytes())))
}

impl Answer {
    /// The answer to each row, as if it had been sent alone.
    fn each(self, sent: &Sent) -> Vec<Result<ApiReply, Failure>> {
        let of = |failure: &Failure, id: &str| {
            let next = match failure.kind {
                FailKind::Unknown => vec![format!("ask again with the same id; it executes once: --id {id}")],
                _ => failure.next.clone(),
            };
            Failure { id: Some(id.to_owned()), next, ..failure.clone() }
        };
        match self {
            Self::One(answer) => vec![answer],
            Self::Many(Ok(ApiReply::WrittenMany { results })) if results.len() == sent.len() => {
                sent.iter().zip(results).map(|((_, id), result)| as_single(id, result)).collect()
            }
            Self::Many(Ok(other)) => {
                let failure = writes::unexpected(&other);
                sent.iter().map(|(_, id)| Err(of(&failure, id))).collect()
            }
            Self::Many(Err(failure)) => sent.iter().map(|(_, id)| Err(of(&failure, id))).collect(),
        }
    }
}

fn as_single(id: &str, result: ManyResult) -> Result<ApiReply, Failure> {
    match result {
        ManyResult::Written { outcome, height, index, duplicate } => {
            Ok(ApiReply::Written { id: id.to_owned(), outcome, height, index, duplicate })
        }
        ManyResult::Failed { kind, code, message } => Err(Failure::new(kind, &code, message)),
    }
}

#[derive(Debug, Default)]
struct Tally {
    committed: usize,
    refused: usize,
    not_executed: usize,
    unknown: usize,
    failed: usize,
}

impl Tally {
    fn row(&mut self, context: &Context, number: u64, id: &str, result: Result<(serde_json::Value, String), Failure>) {
        match result {
            Ok((mut object, text)) => {
                self.committed += 1;
                object["line"] = json!(number);
                if context.out.is_json() {
                    line(&object.to_string());
                } else {
                    line(&format!("{number:>6}  {id}  {text}"));
                }
            }
            Err(failure) => {
                match failure.kind {
                    FailKind::Refused => self.refused += 1,
                    FailKind::NotExecuted => self.not_executed += 1,
                    FailKind::Unknown => self.unknown += 1,
                    FailKind::Usage | FailKind::Corruption | FailKind::Internal => self.failed += 1,
                }
                if context.out.is_json() {
                    let mut object = failure_json(&failure);
                    object["line"] = json!(number);
                    object["id"] = json!(id);
                    line(&object.to_string());
                } else {
                    line(&format!("{number:>6}  {id}  {}: {}", failure.code, failure.message));
                }
            }
        }
    }

    fn summary(&self) -> String {
        let Self { committed, refused, not_executed, unknown, failed } = self;
        let mut text =
            format!("{committed} committed, {refused} refused, {not_executed} not executed, {unknown} unknown");
        if *failed > 0 {
            text += &format!(", {failed} failed");
        }
        if self.not_executed + self.unknown > 0 {
            text += "\nrun the same file with the same ids again: what was executed is not executed twice";
        }
        text
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self { failed: 1.., .. } => 1,
            Self { unknown: 1.., .. } => 5,
            Self { not_executed: 1.., .. } => 4,
            Self { refused: 1.., .. } => 3,
            _ => 0,
        }
    }
}

/// The requests of a file, for the fuzz targets.
#[doc(hidden)]
pub fn requests(input: impl Read, prefix: Option<&str>) -> Result<Vec<Request>, Failure> {
    Ok(read(input, prefix)?.into_iter().map(|row| row.request).collect())
}

/// Reads and checks all rows.
pub(crate) fn read(input: impl Read, prefix: Option<&str>) -> Result<Vec<Row>, Failure> {
    let text = files::rows(input, BYTES_MAX)?;
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
    let mut lines = Lines { text: &text, at: 0, line: 1 };
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| Failure::usage("bad_row", error.to_string()))? {
        let line = lines.of(record.position().map_or(0, csv::Position::byte));
        if rows.is_empty() && record.iter().take(3).eq(["from", "to", "amount"]) {
            continue; // a header
        }
        if rows.len() == ROWS_MAX {
            return Err(Failure::usage("too_many_rows", format!("a file has at most {ROWS_MAX} rows; split it")));
        }
        rows.push(row(&record, line, prefix).map_err(|failure| {
            let message = format!("line {line}: {} (nothing was executed)", failure.message);
            Failure { message, ..failure }
        })?);
    }
    Ok(rows)
}

/// The lines of a file, by offset; they end in LF, CR LF or CR. The reader's own count is one behind where lines end in
/// CR LF or are blank.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the row that begins at or behind `offset`; offsets must not fall.
    fn of(&mut self, offset: u64) -> u64 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(byte) = self.text.get(self.at)
            && (self.at < offset || [b'\r', b'\n'].contains(byte))
        {
            // A CR alone ends a row, too: two rows must never be on one line, or they would get one id.
            let ends = *byte == b'\n' || (*byte == b'\r' && self.text.get(self.at + 1) != Some(&b'\n'));
            self.line += u64::from(ends);
            self.at += 1;
        }
        self.line
    }
}

fn row(record: &StringRecord, line: u64, prefix: Option<&str>) -> Result<Row, Failure> {
    let fields: Vec<&str> = record.iter().collect();
    let (from, to, amount, id, memo) = match fields[..] {
        [from, to, amount] => (from, to, amount, "", ""),
        [from, to, amount, id] => (from, to, amount, id, ""),
        [from, to, amount, id, memo] => (from, to, amount, id, memo),
        _ => {
            let message = format!("{} fields; a row is from,to,amount[,id[,memo]]", fields.len());
            return Err(Failure::usage("bad_row", message));
        }
    };
    let id = match (id, prefix) {
        ("", Some(prefix)) => format!("{prefix}:{line}"),
        ("", None) => return Err(Failure::usage("no_id", "the row has no id; give ids or --id-prefix PREFIX")),
        (id, _) => id.to_owned(),
    };
    let request = writes::request(writes::request_id(&id)?, writes::transfer(from, to, amount, memo)?)?;
    Ok(Row { line, request })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{is_before_0_2, read};

    fn ids(text: &str, prefix: Option<&str>) -> Result<Vec<String>, String> {
        read(text.as_bytes(), prefix)
            .map(|rows| rows.into_iter().map(|row| row.request.id.to_string()).collect())
            .map_err(|failure| failure.message)
    }

    #[test]
    fn ids_come_from_the_row_or_from_its_line() {
        assert_eq!(ids("a,b,1,x\na,b,2\n", Some("p")).unwrap(), ["x", "p:2"]);
        assert_eq!(ids("from,to,amount\r\na,b,1\r\na,b,2\r\n", Some("p")).unwrap(), ["p:2", "p:3"]);
        assert_eq!(ids("\na,b,1\n\n\na,b,2", Some("p")).unwrap(), ["p:2", "p:5"]);
        assert_eq!(ids("a,b,1,x,\"rent, \"\"May\"\"\nand June\"\na,b,2\n", Some("p")).unwrap(), ["x", "p:3"]);
        assert_eq!(ids("a,b,1\ra,b,1\r\r\na,b,1", Some("p")).unwrap(), ["p:1", "p:2", "p:4"], "no repeats");
        assert!(ids("", None).unwrap().is_empty());
    }

    #[test]
    fn a_node_of_the_first_version_is_asked_row_by_row() {
        for (server, wanted) in [
            ("raftbankd/0.1.0", false),
            ("raftbankd/0.1.9", false),
            ("raftbankd/0.2.0", true),
            ("raftbankd/0.10.0-rc1", true),
            ("raftbankd/1.0.0", true),
            ("raftbankd", false),
            ("", false),
        ] {
            assert_eq!(!is_before_0_2(server), wanted, "{server}");
        }
    }

    #[test]
    fn one_bad_row_spoils_the_file_and_is_named() {
        for (text, wanted) in [
            ("a,b,1,x\na,b\n", "line 2"),
            ("a,b,1\n", "no id"),
            ("a,b,0,x\n", "positive"),
            ("a,b,-5,x\n", "negative"),
            ("a,b,1.5,x\n", "fraction"),
            ("a,b c,1,x\n", "account name"),
            ("a,b,1,x,m,extra\n", "6 fields"),
            ("a,b,1,no good\n", "request id"),
        ] {
            let error = ids(text, None).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
