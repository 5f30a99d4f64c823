//! What the supervisor is told while the chain is loaded, which may take minutes: a line of status, and that the start
//! may take longer. Only the loading itself calls this, so a loading that hangs gets no more time.

use std::time::{Duration, Instant};

use raftbank_service::notify;
use raftbank_store::Progress;

use crate::status::grouped;

/// The start may take this much longer from now on.
const EXTENSION: Duration = Duration::from_secs(30);
/// How often that is said.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// How often the line of status is told.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// sled opens its files in one call, which tells nothing; a disk that reads slower than this, per second, hangs.
const SLED_BYTES_PER_SECOND: u64 = 4 << 20;

/// Tells how the loading goes on.
#[derive(Debug, Default)]
pub struct Loading {
    shown: Option<Instant>,
    extended: Option<Instant>,
}

/// What to tell.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    extension: Option<Duration>,
    line: String,
}

impl Loading {
    /// The loading has come so far.
    pub fn on(&mut self, progress: &Progress) {
        // Most chains are loaded before anybody could read this.
        let is_long = self.shown.is_some();
        match self.word(progress, Instant::now()) {
            None => {}
            Some(Word { extension: Some(extension), line }) => {
                if is_long {
                    tracing::info!("{line}");
                }
                notify::extend(extension, &line);
            }
            Some(Word { extension: None, line }) => notify::status(&line),
        }
    }

    fn word(&mut self, progress: &Progress, now: Instant) -> Option<Word> {
        let is_due = |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        let extension = match progress {
            Progress::Opening { bytes } => Some(EXTENSION + Duration::from_secs(bytes / SLED_BYTES_PER_SECOND)),
            Progress::Reading { .. } => is_due(self.extended, EXTEND_EVERY).then_some(EXTENSION),
        };
        if extension.is_some() {
            self.extended = Some(now);
        } else if !is_due(self.shown, SHOW_EVERY) {
            return None;
        }
        self.shown = Some(now);
        Some(Word { extension, line: line(progress) })
    }
}

/// As in `loading: 120,000 of 1,000,000 request ids`.
fn line(progress: &Progress) -> String {
    match progress {
        Progress::Opening { bytes } => format!("loading: opening {} KiB", grouped(bytes.div_ceil(1_024))),
        Progress::Reading { what, done, total: None } => format!("loading: {} {what}", grouped(*done)),
        Progress::Reading { what, done, total: Some(total) } => {
            format!("loading: {} of {} {what}", grouped(*done), grouped(*total))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use raftbank_store::Progress;

    use super::{EXTENSION, Loading};

    fn reading(done: u64) -> Progress {
        Progress::Reading { what: "request ids", done, total: Some(1_000_000) }
    }

    #[test]
    fn time_is_asked_for_every_ten_seconds_and_the_line_told_every_second() {
        let (mut loading, start) = (Loading::default(), Instant::now());
        let (mut lines, mut extended) = (0, Vec::new());
        // Four words a second for a minute.
        for quarter in 0..240_u64 {
            let now = start + Duration::from_millis(quarter * 250);
            if let Some(word) = loading.word(&reading(quarter * 1_000), now) {
                lines += 1;
                if let Some(extension) = word.extension {
                    assert_eq!(extension, EXTENSION);
                    extended.push(quarter / 4);
                }
            }
        }
        assert_eq!(lines, 60);
        assert_eq!(extended, [0, 10, 20, 30, 40, 50]);
    }

    #[test]
    fn lines_say_how_much_of_what() {
        let mut loading = Loading::default();
        let word = loading.word(&Progress::Opening { bytes: 40 << 20 }, Instant::now()).expect("told");
        assert_eq!(
            (word.line.as_str(), word.extension),
            ("loading: opening 40,960 KiB", Some(Duration::from_secs(40)))
        );
        assert_eq!(super::line(&reading(120_000)), "loading: 120,000 of 1,000,000 request ids");
        let accounts = Progress::Reading { what: "accounts", done: 1_204, total: None };
        assert_eq!(super::line(&accounts), "loading: 1,204 accounts");
    }
}
