//! Lines for the journal in its native protocol, with priorities and fields, through the crate `tracing-journald`.
//!
//! That crate sends on the calling thread and waits for as long as the journal's socket is full. So lines wait in a
//! bounded queue for a thread of their own, which hands them to the crate; a journal that takes nothing, or is not there,
//! costs lines, which are counted, and never holds a daemon up.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Value, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt};

use crate::log::{NOTICE, QUEUED_BYTES_MAX, QUEUED_LINES_MAX};

/// Before the name of each field of a line: `RAFTBANK_HEIGHT`.
const PREFIX: &str = "RAFTBANK";
/// How long the start waits to learn whether there is a journal, and the end until it has taken all lines.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Where the journal listens; the crate has it built in.
const SOCKET: &str = "/run/systemd/journal/socket";
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

impl Line {
    /// Bytes of text.
    fn bytes(&self) -> usize {
        self.message.len() + self.fields.iter().flatten().map(String::len).sum::<usize>()
    }

    /// As one line for standard error, with its priority as the journal reads it there.
    fn plain(&self) -> String {
        let priority = match *self.metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO if self.metadata.name() == NOTICE => 5,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        format!("<{priority}>{}\n", self.message.replace(['\n', '\r'], " "))
    }
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
    load: Arc<Load>,
}

/// What the queue holds and what it did not take.
#[derive(Default)]
struct Load {
    /// Bytes of the lines that wait.
    bytes: AtomicUsize,
    /// Lines that are not in the journal, since that was told last.
    lost: AtomicU64,
}

impl Journal {
    /// Starts the thread. `name` is the program's (`SYSLOG_IDENTIFIER`), `about` are fields that each line has.
    ///
    /// # Errors
    /// There is no journal, or no thread can be started.
    pub fn start(name: &str, about: &[(&str, &str)]) -> io::Result<Self> {
        let name = name.to_owned();
        let about: Vec<_> = about.iter().map(|(key, value)| (format!("{PREFIX}_{key}"), (*value).to_owned())).collect();
        let make = move || {
            let info = to_journal(&name, &about, Priority::Informational)?;
            let notice = to_journal(&name, &about, Priority::Notice)?;
            let probe = UnixDatagram::unbound()?;
            Ok(move |line: &Line| {
                // The crate does not say that nobody listens; this does, without sending anything.
                let is_there = probe.connect(SOCKET).is_ok();
                if is_there {
                    send(if line.metadata.name() == NOTICE { &notice } else { &info }, line);
                }
                is_there
            })
        };
        let to_stderr = |line: &str| drop(io::stderr().write_all(line.as_bytes()));
        Self::start_with(WAIT_MAX, make, to_stderr)
    }

    /// As [`Self::start`]. `make` makes what hands a line over, and says whether it could; if it fails only after `wait`,
    /// lines go to `plain` for ever.
    fn start_with<H: FnMut(&Line) -> bool>(
        wait: Duration,
        make: impl FnOnce() -> io::Result<H> + Send + 'static,
        mut plain: impl FnMut(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUED_LINES_MAX);
        let (started, start) = mpsc::sync_channel(1);
        let load = Arc::new(Load::default());
        let journal = Self { queue, load: Arc::clone(&load) };
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            // Through the queue like any other line, and into the files, too.
            let tell = |lost| tracing::warn!("{lost} lines are not in the journal: it did not take them in time");
            // This, too, waits for a journal that takes nothing.
            match make() {
                Ok(hand_over) => {
                    let _ = started.send(Ok(()));
                    work(&jobs, &load, hand_over, tell);
                }
                Err(error) => {
                    let mut why = Some(format!(
                        "<4>the journal's socket cannot be used, so lines go to standard error: {error}\n"
                    ));
                    // Whoever hears this in time drops the queue, and nothing follows. Who has waited long enough
                    // counts on this thread.
                    let _ = started.send(Err(error));
                    let hand_over = |line: &Line| {
                        why.take().iter().for_each(|why| plain(why));
                        plain(&line.plain());
                        true
                    };
                    work(&jobs, &load, hand_over, tell);
                }
            }
        })?;
        match start.recv_timeout(wait) {
            Ok(result) => result.map(|()| journal),
            // It is there and takes nothing now: lines wait for it.
            Err(RecvTimeoutError::Timeout) => Ok(journal),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread of the journal has ended")),
        }
    }

    fn push(&self, line: Line) {
        let bytes = line.bytes();
        let waiting = self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting.saturating_add(bytes) > QUEUED_BYTES_MAX || self.queue.try_send(Job::Line(line)).is_err() {
            self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.load.lost.fetch_add(1, Ordering::Relaxed);
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

/// Hands over lines until nobody queues any more. `tell` is told how many were lost since the last time, when one has gone
/// through: before that the word would be lost, too.
fn work(jobs: &Receiver<Job>, load: &Load, mut hand_over: impl FnMut(&Line) -> bool, mut tell: impl FnMut(u64)) {
    while let Ok(job) = jobs.recv() {
        let line = match job {
            Job::Line(line) => line,
            Job::Flush(done) => {
                // Nobody waits any more, perhaps.
                let _ = done.send(());
                continue;
            }
        };
        let is_taken = hand_over(&line);
        load.bytes.fetch_sub(line.bytes(), Ordering::Relaxed);
        if !is_taken {
            load.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match load.lost.swap(0, Ordering::Relaxed) {
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
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;
    use std::time::Duration;

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Job, Journal, Line, Load, names, work};
    use crate::log::QUEUED_BYTES_MAX;

    /// Longer than anything takes here.
    const LONG: Duration = Duration::from_secs(30);

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
        (Journal { queue, load: Arc::new(Load::default()) }, jobs)
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
        assert_eq!(journal.load.lost.load(Ordering::Relaxed), 7);
        journal.flush();
        let (taken, told) = worked(journal, &jobs, |_| true);
        assert_eq!(taken, ["said number=0", "said number=1", "said number=2"]);
        assert_eq!(told, [7]);
    }

    /// Works all that is queued off: the lines that were tried, and the losses that were told.
    fn worked(
        journal: Journal,
        jobs: &mpsc::Receiver<Job>,
        mut takes: impl FnMut(&str) -> bool,
    ) -> (Vec<String>, Vec<u64>) {
        let load = Arc::clone(&journal.load);
        drop(journal);
        let (mut tried, mut told) = (Vec::new(), Vec::new());
        let hand_over = |line: &Line| {
            tried.push(line.message.clone());
            takes(&line.message)
        };
        work(jobs, &load, hand_over, |lost| told.push(lost));
        assert_eq!(load.bytes.load(Ordering::Relaxed), 0, "nothing waits any more");
        (tried, told)
    }

    #[test]
    fn lines_that_the_journal_did_not_get_are_counted_and_told_once_it_is_back() {
        let (journal, jobs) = queue(8);
        tracing::subscriber::with_default(Registry::default().with(journal.clone()), || {
            for number in 0..5 {
                tracing::info!("{number}");
            }
        });
        let (tried, told) = worked(journal, &jobs, |line| line == "0" || line == "4");
        assert_eq!((tried.len(), told), (5, vec![3]));
    }

    #[test]
    fn long_lines_are_bounded_together() {
        let (journal, jobs) = queue(64);
        let long = "x".repeat(QUEUED_BYTES_MAX / 4);
        tracing::subscriber::with_default(Registry::default().with(journal.clone()), || {
            for _ in 0..6 {
                tracing::info!("{long}");
            }
            tracing::info!("{long}{long}{long}{long}{long}");
        });
        assert!(journal.load.bytes.load(Ordering::Relaxed) <= QUEUED_BYTES_MAX);
        let (tried, told) = worked(journal, &jobs, |_| true);
        assert_eq!((tried.len(), told), (4, vec![3]));
    }

    #[test]
    fn lines_go_to_standard_error_when_the_journal_fails_after_the_start() {
        let (release, released) = mpsc::channel::<()>();
        let (plain, lines) = mpsc::channel();
        let make = move || {
            released.recv_timeout(LONG).expect("released");
            Err::<fn(&Line) -> bool, _>(io::Error::from_raw_os_error(111))
        };
        let plain = move |line: &str| plain.send(line.to_owned()).expect("somebody listens");
        let journal = Journal::start_with(Duration::ZERO, make, plain).expect("started: nothing has failed yet");
        tracing::subscriber::with_default(Registry::default().with(journal.clone()), || tracing::warn!("be\nfore"));
        release.send(()).expect("waited for");
        tracing::subscriber::with_default(Registry::default().with(journal), || {
            tracing::info!(name: crate::log::NOTICE, "after");
        });
        let line = || lines.recv_timeout(LONG).expect("a line");
        assert!(line().starts_with("<4>the journal's socket cannot be used"));
        assert_eq!((line().as_str(), line().as_str()), ("<4>be fore\n", "<5>after\n"));
    }
}
