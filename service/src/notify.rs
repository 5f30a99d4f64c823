//! Word to the supervisor (`sd_notify(3)`). Without one, that is without `NOTIFY_SOCKET`, nothing happens.
//!
//! A supervisor that does not read must not hold a daemon up: what can be said again later is dropped when its socket is
//! full ([`ready`] tells its caller so), and what cannot waits for at most [`WAIT_MAX`].

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// How long a word that must not be lost waits for a supervisor whose socket is full.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// Longest line of status, in bytes; what is beyond is cut.
const STATUS_BYTES_MAX: usize = 1_024;
/// Name of the variable that says where the supervisor listens: a path, or `@` and an abstract name.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Between two attempts to say that the service is up.
pub const READY_AGAIN: Duration = Duration::from_millis(200);

/// The service is up; and its first line of status. Does not wait. False: the supervisor has not heard it, so it must be
/// said again, [`READY_AGAIN`] later; a supervisor that never hears it ends the service.
#[must_use]
pub fn ready(line: &str) -> bool {
    ready_at(std::env::var_os(SOCKET).as_deref(), line)
}

fn ready_at(name: Option<&OsStr>, line: &str) -> bool {
    tell(name, &[NotifyState::Status(&one_line(line)), NotifyState::Ready], Urgency::Again)
}

/// One line for `systemctl status`; line breaks become spaces. It may be lost.
pub fn status(line: &str) {
    say(&[NotifyState::Status(&one_line(line))], Urgency::Again);
}

/// The service has begun to stop.
pub fn stopping() {
    say(&[NotifyState::Stopping], Urgency::Once);
}

/// The last line of status: why the service has ended.
pub fn ended(reason: &str) {
    say(&[NotifyState::Status(&one_line(reason))], Urgency::Once);
}

/// The start, or the stop, goes on: the supervisor waits for `more` from now on, with a line of status. What follows may
/// be long and silent, so this word waits for a supervisor that is slow: were it lost, a start that goes well would be ended.
pub fn extend(more: Duration, line: &str) {
    extend_at(std::env::var_os(SOCKET).as_deref(), more, line);
}

fn extend_at(name: Option<&OsStr>, more: Duration, line: &str) -> bool {
    let more = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    tell(name, &[NotifyState::ExtendTimeoutUsec(more), NotifyState::Status(&one_line(line))], Urgency::Once)
}

/// The service is alive.
pub(crate) fn alive() {
    say(&[NotifyState::Watchdog], Urgency::Again);
}

/// True if there is a supervisor to tell anything.
pub(crate) fn is_heard() -> bool {
    std::env::var_os(SOCKET).is_some()
}

/// What to do while the supervisor's socket is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Nothing: it is said again, or a later word says the same or more.
    Again,
    /// Wait a little: it is said only once.
    Once,
}

fn say(states: &[NotifyState<'_>], urgency: Urgency) {
    // A word that may be lost.
    let _ = tell(std::env::var_os(SOCKET).as_deref(), states, urgency);
}

/// False: it is lost. Without a supervisor there is nobody to miss it.
fn tell(name: Option<&OsStr>, states: &[NotifyState<'_>], urgency: Urgency) -> bool {
    let sent = name.map_or(Ok(()), |name| send(name, states, urgency));
    if let Err(error) = &sent {
        tracing::debug!("the supervisor cannot be told: {error}");
    }
    sent.is_ok()
}

fn send(name: &OsStr, states: &[NotifyState<'_>], urgency: Urgency) -> io::Result<()> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    match urgency {
        Urgency::Again => socket.set_nonblocking(true)?,
        Urgency::Once => socket.set_write_timeout(Some(WAIT_MAX))?,
    }
    let mut text = String::new();
    for state in states {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{state}");
    }
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

fn one_line(text: &str) -> String {
    let mut end = text.len().min(STATUS_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\n', '\r'], " ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::Duration;

    use sd_notify::NotifyState;

    use super::{Urgency, extend_at, one_line, ready_at, send};

    /// Fills a supervisor's socket until it takes no more.
    fn fill(name: &OsStr) {
        assert!((0..100_000).any(|_| send(name, &[NotifyState::Watchdog], Urgency::Again).is_err()));
    }

    #[test]
    fn ready_is_known_to_be_lost_and_reaches_a_supervisor_that_reads_again() {
        assert!(ready_at(None, "up"), "without a supervisor nobody misses it");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        fill(path.as_os_str());
        assert!(!ready_at(Some(path.as_os_str()), "up"));
        socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 64];
        while socket.recv(&mut bytes).is_ok() {}
        assert!(ready_at(Some(path.as_os_str()), "up"));
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"STATUS=up\nREADY=1\n");
    }

    #[test]
    fn a_longer_start_is_asked_for_also_of_a_slow_supervisor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        fill(path.as_os_str());
        let reader = std::thread::spawn(move || {
            // Begins to read only after the word was tried for the first time, most likely.
            std::thread::sleep(Duration::from_millis(100));
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut bytes = [0; 64];
            loop {
                let length = socket.recv(&mut bytes).unwrap();
                if bytes[..length].starts_with(b"EXTEND_TIMEOUT_USEC=30000000\n") {
                    return;
                }
            }
        });
        assert!(extend_at(Some(path.as_os_str()), Duration::from_secs(30), "loading"));
        reader.join().unwrap();
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("raftbank-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, variable) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            send(&variable, &[NotifyState::Status("up"), NotifyState::Ready], Urgency::Once).unwrap();
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"STATUS=up\nREADY=1\n");
        }
    }

    #[test]
    fn a_supervisor_that_does_not_read_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        // The kernel's bound on waiting datagrams is some hundreds at most; without ours this never ends.
        let full = (0..100_000).any(|_| send(path.as_os_str(), &[NotifyState::Watchdog], Urgency::Again).is_err());
        assert!(full);
        assert!(send(path.as_os_str(), &[NotifyState::Ready], Urgency::Once).is_err());
    }

    #[test]
    fn a_status_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\r\nc"), "a b  c");
        let long = "ä".repeat(10_000);
        assert!(one_line(&long).len() <= super::STATUS_BYTES_MAX);
    }
}
