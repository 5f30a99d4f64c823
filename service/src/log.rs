//! Logs: to the journal in its own protocol where standard error is one of its streams ([`crate::journal`]), else as lines
//! to standard error; and to daily files when a folder is given.
//!
//! Lines of this project's own crates are shown from the given level on, those of other crates from `warn` on. The
//! lines for files go through a thread of their own; none is dropped: when the disk falls behind by
//! [`QUEUED_LINES_MAX`] lines, logging waits for it.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::journal::{self, Journal};

/// Lines that may wait for the disk, and for the journal.
pub const QUEUED_LINES_MAX: usize = 8_192;
/// Bytes of text that may wait for the journal.
pub const QUEUED_BYTES_MAX: usize = 16 << 20;
/// The name (`name: NOTICE`) of an event of level info that is normal and yet worth an operator's eye: priority 5 in the
/// journal instead of 6.
pub const NOTICE: &str = "notice";
/// Daily files that are kept.
pub const FILES_MAX: usize = 14;

/// Why logs cannot be written as wanted.
#[derive(Debug, Error)]
pub enum LogError {
    /// The level has another name.
    #[error("log.level = \"{level}\" {what}")]
    Level {
        /// As given.
        level: String,
        /// What is wrong with it.
        what: String,
    },
    /// The folder cannot be used.
    #[error("log.dir = \"{}\" cannot be used: {source}", dir.display())]
    Dir {
        /// As given.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Logging was set up before in this process.
    #[error("logging is already set up: {0}")]
    Already(String),
}

/// The running log. Dropping it writes out what waits for the disk: keep it until the process ends.
pub struct Logging {
    name: String,
    filter: reload::Handle<Targets, Registry>,
    output: Output,
    journal: Option<Journal>,
}

/// Starts logging for this process. `name` is the program's and begins the names of the files, as in
/// `raftbankd.2026-01-31.log`; `about` are fields that each line has in the journal, such as `("NODE", "n1")`.
///
/// # Errors
/// An unknown level, a folder that cannot be made or written, or a second call.
pub fn init(name: &str, about: &[(&str, &str)], level: &str, dir: Option<&Path>) -> Result<Logging, LogError> {
    let (filter, filter_handle) = reload::Layer::new(targets(level)?);
    let file = file(name, dir)?;
    let (journal, without) = match journal::is_stderr().then(|| Journal::start(name, about)) {
        Some(Ok(journal)) => (Some(journal), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let output = Output { to_stderr: journal.is_none(), file: Arc::default() };
    output.replace(file);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(output.clone());
    let layers = Registry::default().with(filter).with(lines).with(journal.clone());
    layers.try_init().map_err(|error| LogError::Already(error.to_string()))?;
    if let Some(error) = without {
        tracing::warn!("the journal's socket cannot be used, so lines go to standard error: {error}");
    }
    Ok(Logging { name: name.to_owned(), filter: filter_handle, output, journal })
}

impl Logging {
    /// Takes another level and opens the files anew, also in another folder or in none.
    ///
    /// # Errors
    /// As [`init`]; nothing has changed then.
    pub fn reload(&self, level: &str, dir: Option<&Path>) -> Result<(), LogError> {
        let targets = targets(level)?;
        let file = file(&self.name, dir)?;
        self.filter.reload(targets).map_err(|error| LogError::Already(error.to_string()))?;
        self.output.replace(file);
        Ok(())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.output.replace(None);
        if let Some(journal) = &self.journal {
            journal.flush();
        }
    }
}

/// Checks a level's name: `off`, `error`, `warn`, `info`, `debug` or `trace`.
///
/// # Errors
/// What is wrong, to be put after the name.
pub fn check_level(level: &str) -> Result<(), String> {
    parse_level(level).map(drop)
}

fn parse_level(level: &str) -> Result<LevelFilter, String> {
    Ok(match level {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err("is not a level: write off, error, warn, info, debug or trace".to_owned()),
    })
}

fn targets(level: &str) -> Result<Targets, LogError> {
    let filter = parse_level(level).map_err(|what| LogError::Level { level: level.to_owned(), what })?;
    // A prefix covers all crates of this project.
    Ok(Targets::new().with_default(filter.min(LevelFilter::WARN)).with_target("raftbank", filter))
}

fn file(name: &str, dir: Option<&Path>) -> Result<Option<LogFile>, LogError> {
    let Some(dir) = dir else { return Ok(None) };
    let error = |source| LogError::Dir { dir: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(error)?;
    let appender = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .filename_suffix("log")
        .max_log_files(FILES_MAX)
        .build(dir)
        .map_err(|cause| error(system_error(&cause)))?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(QUEUED_LINES_MAX)
        .thread_name("log")
        .finish(appender);
    Ok(Some(LogFile { writer, _guard: guard }))
}

/// What the operating system said, with its kind.
fn system_error(error: &InitError) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(source.map_or(io::ErrorKind::Other, io::Error::kind), error.to_string()),
    }
}

/// An open log file; dropping the guard writes out what waits.
struct LogFile {
    writer: NonBlocking,
    _guard: WorkerGuard,
}

/// Where formatted lines go: standard error, unless the journal gets them, and the file of the moment.
#[derive(Clone)]
struct Output {
    to_stderr: bool,
    file: Arc<Mutex<Option<LogFile>>>,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Option<LogFile>> {
        // A panic elsewhere must not take the log with it.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, file: Option<LogFile>) {
        let old = std::mem::replace(&mut *self.lock(), file);
        // Outside the lock: this waits for the old file's last lines.
        drop(old);
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Tee;

    fn make_writer(&'a self) -> Tee {
        Tee { to_stderr: self.to_stderr, file: self.lock().as_ref().map(|file| file.writer.clone()) }
    }
}

/// Writes each line to both. An error of one way does not stop the other, and never the program.
struct Tee {
    to_stderr: bool,
    file: Option<NonBlocking>,
}

impl Write for Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line);
        }
        if self.to_stderr {
            let _ = io::stderr().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::{LogError, check_level, init};

    fn text(dir: &Path) -> String {
        let mut text = String::new();
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("sample.") && name.ends_with(".log"), "{name}");
            text += &std::fs::read_to_string(&path).unwrap();
        }
        text
    }

    // One test: logging is set up once per process.
    #[test]
    fn lines_reach_the_files_and_follow_a_reload() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(matches!(init("sample", &[], "loud", None), Err(LogError::Level { .. })));
        assert!(matches!(init("sample", &[], "info", Some(Path::new("/proc/none"))), Err(LogError::Dir { .. })));
        // A folder in which no file can be made: the system's own error is kept.
        let Err(LogError::Dir { source, .. }) = init("sample", &[], "info", Some(Path::new("/proc"))) else { panic!() };
        assert!(source.raw_os_error().is_some(), "{source:?}");

        let logging = init("sample", &[], "info", Some(first.path())).unwrap();
        assert!(matches!(init("sample", &[], "info", None), Err(LogError::Already(_))));
        tracing::info!(target: "raftbankd::node", "one");
        tracing::debug!(target: "raftbankd::node", "two");
        tracing::info!(target: "elsewhere", "three");

        assert!(logging.reload("loud", Some(second.path())).is_err());
        assert!(logging.reload("debug", Some(Path::new("/proc/none"))).is_err());
        tracing::info!(target: "raftbank_wire", "four");
        logging.reload("debug", Some(second.path())).unwrap();
        tracing::debug!(target: "raftbankd::node", "five");
        drop(logging);

        let (first, second) = (text(first.path()), text(second.path()));
        assert!(first.contains("one") && first.contains("four"), "{first}");
        assert!(!first.contains("two") && !first.contains("three") && !first.contains("five"), "{first}");
        assert!(second.contains("five") && !second.contains("four"), "{second}");
    }

    #[test]
    fn levels_have_six_names() {
        for level in ["off", "error", "warn", "info", "debug", "trace"] {
            check_level(level).unwrap();
        }
        for level in ["", "INFO", "verbose", "info,sled=debug"] {
            assert!(check_level(level).unwrap_err().contains("is not a level"));
        }
    }
}
