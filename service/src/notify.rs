//! Word to the supervisor (`sd_notify(3)`). Without one, that is without `NOTIFY_SOCKET`, nothing happens.
//!
//! A supervisor that does not read must not hold a daemon up: what can be said again later is dropped when its socket is
//! full, and what cannot waits for at most [`WAIT_MAX`].

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

/// The service is up; and its first line of status.
pub fn ready(line: &str) {
    tell(&[NotifyState::Status(&one_line(line)), NotifyState::Ready], Urgency::Once);
}

/// One line for `systemctl status`; line breaks become spaces. It may be lost.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(&one_line(line))], Urgency::Again);
}

/// The service has begun to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping], Urgency::Once);
}

/// The last line of status: why the service has ended.
pub fn ended(reason: &str) {
    tell(&[NotifyState::Status(&one_line(reason))], Urgency::Once);
}

/// The start, or the stop, goes on: the supervisor waits for `more` from now on, with a line of status.
pub fn extend(more: Duration, line: &str) {
    let more = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(more), NotifyState::Status(&one_line(line))], Urgency::Again);
}

/// The service is alive.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog], Urgency::Again);
}

/// True if there is a supervisor to tell anything.
pub(crate) fn is_heard() -> bool {
    std::env::var_os(SOCKET).is_some()
}

/// What to do while the supervisor's socket is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Nothing: a later word says the same or more.
    Again,
    /// Wait a little: it is said only once.
    Once,
}

fn tell(states: &[NotifyState<'_>], urgency: Urgency) {
    let Some(name) = std::env::var_os(SOCKET) else { return };
    if let Err(error) = send(&name, states, urgency) {
        tracing::debug!("the supervisor cannot be told: {error}");
    }
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
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use sd_notify::NotifyState;

    use super::{Urgency, one_line, send};

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
