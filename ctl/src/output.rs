//! Printing: data to standard output, everything else to standard error. A closed pipe ends the program quietly.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::args::Format;
use crate::failure::Failure;

/// The version of every JSON object.
pub const SCHEMA: u32 = 1;

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// How results are printed.
    pub format: Format,
    colour: bool,
}

impl Out {
    /// Colours only on a terminal, and never if `NO_COLOR` is set.
    pub fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour: wanted && io::stdout().is_terminal() && format == Format::Table }
    }

    /// True if results are JSON.
    pub fn is_json(&self) -> bool {
        self.format != Format::Table
    }

    /// Prints a result: the object, or the text for people.
    pub fn result(&self, object: &Value, text: impl FnOnce() -> String) {
        if self.is_json() {
            line(&object.to_string());
        } else {
            line(&text());
        }
    }

    /// Prints a failure: the object on standard output, or the sentence and what to do next on standard error.
    pub fn failure(&self, failure: &Failure) {
        if self.is_json() {
            line(&failure_json(failure).to_string());
            return;
        }
        note(&format!("{} {}", self.red("error:"), failure.message));
        if let Some((height, index, duplicate)) = failure.recorded {
            let again = if duplicate { ", where it was before" } else { "" };
            note(&format!("       recorded at height {height}, index {index}{again}"));
        }
        for next in &failure.next {
            note(&format!("  next: {next}"));
        }
    }

    /// Bold on a terminal.
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Green on a terminal.
    pub fn green(&self, text: &str) -> String {
        self.styled("32", text)
    }

    /// Red on a terminal.
    pub fn red(&self, text: &str) -> String {
        self.styled("31", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A failure as JSON.
pub fn failure_json(failure: &Failure) -> Value {
    let mut object = json!({ "schema": SCHEMA, "error": { "code": failure.code, "message": failure.message } });
    if let Some(id) = &failure.id {
        object["id"] = json!(id);
    }
    if !failure.next.is_empty() {
        object["next"] = json!(failure.next);
    }
    if let Some((height, index, duplicate)) = failure.recorded {
        object["height"] = json!(height);
        object["index"] = json!(index);
        object["duplicate"] = json!(duplicate);
    }
    object
}

/// A line on standard output.
pub fn line(text: &str) {
    bytes(text.as_bytes());
    bytes(b"\n");
}

/// Bytes on standard output, at once.
pub fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        // Whoever read this has had enough, as `head` does.
        std::process::exit(0);
    }
}

/// A line on standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}"); // nobody may be there to read it
}

/// Rows under a header, columns aligned; `right` says which are numbers.
pub fn table(header: &[&str], rows: &[Vec<String>], right: &[bool]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header.get(column).map_or(0, |cell| cell.len())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let show = |cells: Vec<&str>| {
        let padded =
            cells.iter().zip(&widths).zip(right).map(|((cell, width), right)| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![show(header.to_vec())];
    lines.extend(rows.iter().map(|row| show(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A progress bar on a terminal, nothing elsewhere.
pub fn progress_bar(unit: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}  {{eta}} left"))
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
