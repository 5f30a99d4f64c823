//! A timer of the kernel's precision. Tokio's own counts in milliseconds, which is longer than many an answer takes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// Wakes its thread's runtime.
#[derive(Debug)]
pub struct Timer {
    /// Read like a pipe: tokio's one way to wait for any descriptor that needs no unsafe code.
    expiries: Receiver,
}

impl Timer {
    /// Of the runtime that it is made in.
    ///
    /// # Errors
    /// The operating system has no timer left.
    pub fn new() -> io::Result<Self> {
        let fd: OwnedFd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { expiries: Receiver::from_owned_fd_unchecked(fd)? })
    }

    /// Waits until then.
    ///
    /// # Errors
    /// The operating system refuses the timer.
    pub async fn until(&self, then: Instant) -> io::Result<()> {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Itimerspec { it_interval: none, it_value: timespec(left) };
            timerfd_settime(self.expiries.as_fd(), TimerfdTimerFlags::empty(), &value)?;
            self.expiries.readable().await?;
            // The number of expiries, until nothing is left: only then the next wait is one. Setting the timer has taken
            // back one that nobody had read.
            loop {
                match self.expiries.try_read(&mut [0; 8]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_wakes_too_early_and_a_wait_that_was_given_up_harms_nothing() {
        let timer = Timer::new().unwrap();
        let begun = Instant::now();
        let long = timer.until(begun + Duration::from_secs(3_600));
        assert!(tokio::time::timeout(Duration::from_millis(5), long).await.is_err());
        for micros in [0, 1, 300, 2_500] {
            let then = Instant::now() + Duration::from_micros(micros);
            timer.until(then).await.unwrap();
            assert!(Instant::now() >= then);
        }
        timer.until(begun).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3_000));
    }
}
