//! Lines for the journal in its native protocol, with priorities and fields, through the crate `tracing-journald`.
//!
//! That crate sends on the calling thread and waits for as long as the journal's socket is full. So lines wait in a
//! bounded queue for a thread of their own, which hands them to the crate; a journal that takes nothing costs lines,
//! which are counted, and never holds a daemon up.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Value, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt};

use crate::log::{NOTICE, QUEUED_LINES_MAX};

/// Before the name of each field of a line: `RAFTBANK_HEIGHT`.
const PREFIX: &str = "RAFTBANK";
/// How long the start waits to learn whether there is a journal, and the end until it has taken all lines.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two looks at a queue that is full.
const PAUSE: Duration = Duration::from_millis(10);

/// True if standard error is a stream of the journal: `JOURNAL_STREAM` names its device and inode (`systemd.exec(5)`).
pub fn is_stderr() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let found = io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    found.is_ok_and(|found| names(&stream, found.dev(), found.ino()))
}

/// To be put before an error that is printed to standard error, so that the journal knows that it is one.
pub fn error_prefix() -> &'static str {
    if is_stderr() { "<3>" } else { "" }
}

/// Whether a value of `JOURNAL_STREAM` names this file.
fn names(stream: &OsStr, device: u64, inode: u64) -> bool {
    let numbers = stream.to_str().and_then(|text| text.split_once(':'));
    numbers.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// One event on its way to the journal.
struct Line {
    metadata: &'static Metadata<'static>,
    /// What `journalctl` shows: the message, and the fields behind it.
    message: String,
    /// All fields of the event as text, in the order in which its metadata names them.
    fields: Vec<Option<String>>,
}

/// From an event to the journal's socket.
type Way = Layered<tracing_journald::Layer, Registry>;

enum Job {
    Line(Line),
    /// Say when all before is done.
    Flush(SyncSender<()>),
}

/// The layer that queues lines. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Journal {
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Journal {
    /// Starts the thread. `name` is the program's (`SYSLOG_IDENTIFIER`), `about` are fields that each line has.
    ///
    /// # Errors
    /// There is no journal, or no thread can be started.
    pub fn start(name: &str, about: &[(&str, &str)]) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUED_LINES_MAX);
        let (started, start) = mpsc::sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let journal = Self { queue, lost: Arc::clone(&lost) };
        let name = name.to_owned();
        let about: Vec<_> = about.iter().map(|(key, value)| (format!("{PREFIX}_{key}"), (*value).to_owned())).collect();
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            // This, too, waits for a journal that takes nothing.
            let made = to_journal(&name, &about, Priority::Informational)
                .and_then(|info| Ok((info, to_journal(&name, &about, Priority::Notice)?)));
            match made {
                // Whoever started this may have waited long enough.
                Err(error) => drop(started.send(Err(error))),
                Ok((info, notice)) => {
                    let _ = started.send(Ok(()));
                    let hand_over = |job: &Line| send(if job.metadata.name() == NOTICE { &notice } else { &info }, job);
                    // Through the queue like any other line, and into the files, too.
                    let tell =
                        |lost| tracing::warn!("{lost} lines are not in the journal: it did not take them in time");
                    work(&jobs, &lost, hand_over, tell);
                }
            }
        })?;
        match start.recv_timeout(WAIT_MAX) {
            Ok(result) => result.map(|()| journal),
            // It is there and takes nothing now: lines wait for it.
            Err(RecvTimeoutError::Timeout) => Ok(journal),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread of the journal has ended")),
        }
    }

    fn push(&self, line: Line) {
        match self.queue.try_send(Job::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until the journal has taken all lines, or for a while.
    pub fn flush(&self) {
        let deadline = Instant::now() + WAIT_MAX;
        let (done, is_done) = mpsc::sync_channel(1);
        let mut job = Job::Flush(done);
        while let Err(error) = self.queue.try_send(job) {
            match error {
                TrySendError::Full(back) if Instant::now() < deadline => job = back,
                _ => return,
            }
            std::thread::sleep(PAUSE);
        }
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text { message: String::new(), shown: String::new(), fields: Vec::new() };
        text.fields.resize(metadata.fields().len(), None);
        event.record(&mut text);
        let Text { mut message, shown, fields } = text;
        message.push_str(&shown);
        self.push(Line { metadata, message, fields });
    }
}

/// Collects an event's fields.
struct Text {
    message: String,
    /// ` key=value` for each field but the message.
    shown: String,
    fields: Vec<Option<String>>,
}

impl Text {
    fn take(&mut self, field: &Field, shown: &dyn fmt::Display, value: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        // Where a line of the crate `log` comes from is said by fields of the journal.
        if !field.name().starts_with("log.") {
            // Writing to a string cannot fail.
            let _ = write!(self.shown, " {}={shown}", field.name());
        }
        if let Some(slot) = self.fields.get_mut(field.index()) {
            *slot = Some(value);
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, &format_args!("{value:?}"), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.take(field, &text.clone(), text);
    }
}

/// Hands over lines until nobody queues any more. `tell` is told how many were lost since the last time.
fn work(jobs: &Receiver<Job>, lost: &AtomicU64, mut hand_over: impl FnMut(&Line), mut tell: impl FnMut(u64)) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Line(line) => hand_over(&line),
            Job::Flush(done) => drop(done.send(())),
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => tell(lost),
        }
    }
}

/// The crate's way to the journal. `info` is the priority of that level.
fn to_journal(name: &str, about: &[(String, String)], info: Priority) -> io::Result<Way> {
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = tracing_journald::layer()?
        .with_syslog_identifier(name.to_owned())
        .with_field_prefix(Some(PREFIX.to_owned()))
        .with_priority_mappings(priorities)
        .with_custom_fields(about.iter().map(|(key, value)| (key, value)));
    Ok(Registry::default().with(layer))
}

/// Makes the event anew, on this thread. The way is asked directly and is nobody's default: it must not change which
/// lines the program's own filter lets through.
fn send(way: &Way, line: &Line) {
    let fields = line.metadata.fields();
    let values: Vec<Option<&dyn Value>> = fields
        .iter()
        .map(|field| match field.name() {
            "message" => Some(&line.message as &dyn Value),
            _ => line.fields.get(field.index())?.as_ref().map(|value| value as &dyn Value),
        })
        .collect();
    way.event(&Event::new(line.metadata, &fields.value_set_all(&values)));
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Job, Journal, Line, names, work};

    #[test]
    fn only_the_stream_of_this_very_file_counts() {
        assert!(names(OsStr::new("8:4242"), 8, 4242));
        for stream in ["8:4243", "9:4242", "", "8", "8:", ":4242", "8:4242:1", "x:y", "-8:4242", " 8:4242"] {
            assert!(!names(OsStr::new(stream), 8, 4242), "{stream}");
        }
    }

    /// A queue of so many places, and nobody who takes anything yet.
    fn queue(places: usize) -> (Journal, mpsc::Receiver<Job>) {
        let (queue, jobs) = mpsc::sync_channel(places);
        (Journal { queue, lost: Arc::new(AtomicU64::new(0)) }, jobs)
    }

    #[test]
    fn a_line_has_its_fields_apart_and_in_its_message() {
        let (journal, jobs) = queue(8);
        tracing::subscriber::with_default(Registry::default().with(journal), || {
            tracing::info!(height = 7, hash = %"ab", role = "leader", "block {}", "committed");
            tracing::error!("alone");
        });
        let Ok(Job::Line(line)) = jobs.try_recv() else { panic!("no line") };
        assert_eq!(line.message, "block committed height=7 hash=ab role=\"leader\"");
        let fields: Vec<(&str, Option<&str>)> =
            line.metadata.fields().iter().map(|field| (field.name(), line.fields[field.index()].as_deref())).collect();
        let expected = [("message", None), ("height", Some("7")), ("hash", Some("ab")), ("role", Some("leader"))];
        assert_eq!(fields.len(), 4);
        assert!(expected.iter().all(|field| fields.contains(field)), "{fields:?}");
        let Ok(Job::Line(line)) = jobs.try_recv() else { panic!("no line") };
        assert_eq!((line.message.as_str(), *line.metadata.level()), ("alone", tracing::Level::ERROR));
    }

    #[test]
    fn a_journal_that_takes_nothing_costs_lines_and_no_time() {
        let (journal, jobs) = queue(3);
        tracing::subscriber::with_default(Registry::default().with(journal.clone()), || {
            // Without a bound on the wait this never ends: nobody takes a line.
            for number in 0..10 {
                tracing::info!(number, "said");
            }
        });
        assert_eq!(journal.lost.load(Ordering::Relaxed), 7);
        journal.flush();
        let lost = Arc::clone(&journal.lost);
        drop(journal);
        let (mut taken, mut told) = (Vec::new(), Vec::new());
        work(&jobs, &lost, |line: &Line| taken.push(line.message.clone()), |lost| told.push(lost));
        assert_eq!(taken, ["said number=0", "said number=1", "said number=2"]);
        assert_eq!(told, [7]);
    }
}
