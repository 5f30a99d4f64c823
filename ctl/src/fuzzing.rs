//! For tests and fuzz targets only: what `bankctl` reads from people and their files, with what must be true of it.

use clap::Parser;
use raftbank_ledger::{Amount, Operation, Request};

use crate::args::Args;
use crate::verbs::admin;

/// A file of transfers; the requests if it has no bad row.
///
/// # Panics
/// If a row got an id, a line or content that does not fit.
pub fn batch(file: &[u8], prefix: Option<&str>) -> Option<Vec<Request>> {
    let rows = match crate::batch::read(file, prefix) {
        Ok(rows) => rows,
        Err(failure) => {
            assert_eq!(failure.exit_code(), 2, "a bad file is wrong usage: {failure:?}");
            assert!(!failure.message.is_empty());
            return None;
        }
    };
    let lines = 1 + file.iter().filter(|byte| [b'\r', b'\n'].contains(byte)).count() as u64;
    let mut last = 0;
    for row in &rows {
        assert!(row.line <= lines, "line {} of {lines}", row.line);
        // An id is made from the prefix and the line: on one line, a second transfer would be the repeat of the first.
        assert!(row.line > last, "two rows on line {}", row.line);
        last = row.line;
        let request = &row.request;
        assert_eq!(Request::decode(&request.encode()).as_ref(), Ok(request), "what is sent is what is read");
        assert!(matches!(request.operation, Operation::Transfer { .. }));
    }
    Some(rows.into_iter().map(|row| row.request).collect())
}

/// A line of the shell: its words, and whether they are a command.
///
/// # Panics
/// If the words, quoted, are other words.
pub fn shell_line(text: &str) -> Option<bool> {
    let words = crate::shell::split(text).ok()?;
    if let Some(line) = words.iter().map(|word| quoted(word)).collect::<Option<Vec<String>>>() {
        assert_eq!(crate::shell::split(&line.join(" ")).as_ref(), Ok(&words), "{line:?}");
    }
    Some(Args::try_parse_from(std::iter::once("bankctl").chain(words.iter().map(String::as_str))).is_ok())
}

/// Quotes that the word itself does not have.
fn quoted(word: &str) -> Option<String> {
    let quote = ['"', '\''].into_iter().find(|quote| !word.contains(*quote))?;
    Some(format!("{quote}{word}{quote}"))
}

/// The arguments of `link delay` and `link loss`, and an amount.
///
/// # Panics
/// If one is out of its range.
pub fn numbers(text: &str) -> (bool, bool, bool) {
    let delay = admin::delay(text).ok();
    assert!(delay.is_none_or(|(min, max)| min <= max));
    let loss = admin::loss(text).ok();
    assert!(loss.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
    let amount = Amount::parse(text).ok();
    assert!(amount.is_none_or(|amount| (1..=Amount::MAX).contains(&amount.get())));
    (delay.is_some(), loss.is_some(), amount.is_some())
}
