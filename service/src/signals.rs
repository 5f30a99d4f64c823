//! Signals, on a thread of their own: `SIGTERM` and `SIGINT` stop, `SIGHUP` reloads.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop cleanly.
    Stop,
    /// Read the log settings again and reopen the log files.
    Reload,
}

/// Ends the watching thread when dropped; the signals are ignored from then on.
#[derive(Debug)]
pub struct Watch {
    handle: Handle,
}

/// Calls `handler` on a thread for every signal. The handler may block, but not for long: the next signal waits.
///
/// # Errors
/// The signal handlers or the thread cannot be set up.
pub fn watch(mut handler: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            handler(if signal == SIGHUP { Signal::Reload } else { Signal::Stop });
        }
    })?;
    Ok(Watch { handle })
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use signal_hook::consts::{SIGHUP, SIGTERM};

    use super::{Signal, watch};

    #[test]
    fn signals_arrive_in_words() {
        let (sender, receiver) = mpsc::channel();
        let guard = watch(move |signal| sender.send(signal).unwrap()).unwrap();
        for (number, word) in [(SIGHUP, Signal::Reload), (SIGTERM, Signal::Stop)] {
            signal_hook::low_level::raise(number).unwrap();
            assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), word);
        }
        drop(guard);
    }
}
