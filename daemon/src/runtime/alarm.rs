//! The loop's alarm clock: exact to microseconds, and one wake-up of the thread for each time it rings.
//!
//! The runtime's own timers count milliseconds, and cost a sleeping thread two or three wake-ups each: one to hear of a
//! timer that is earlier than the one it sleeps for, one for each level of their wheel, one when it is time.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::net::unix::pipe::Receiver;

/// A timer of the system (`timerfd_create(2)`). The runtime takes any descriptor that becomes readable for a pipe.
#[derive(Debug)]
pub struct Alarm {
    timer: Receiver,
    set: Option<Instant>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// The system has no more descriptors or memory.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: Receiver::from_owned_fd_unchecked(timer)?, set: None })
    }

    /// Waits until `at`, or less: it may ring for a moment that it was set to before. To be called again after each ring.
    ///
    /// # Errors
    /// The system's; none is known for a timer that could be made.
    pub async fn ring(&mut self, at: Instant) -> io::Result<()> {
        if self.set != Some(at) {
            // Zero would mean never.
            let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let it_value = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.set = Some(at);
        }
        // Not read: setting it again takes the count back, and each ring is told once.
        self.timer.readable().await?;
        let _ = self.timer.try_io(|| io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        self.set = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::time::timeout;

    use super::Alarm;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Calls again until it is time, as the loop does, and counts the rings.
    async fn rings_until(alarm: &mut Alarm, at: Instant) -> u32 {
        let mut rings = 0;
        while Instant::now() < at {
            timeout(LIMIT, alarm.ring(at)).await.expect("it rings").expect("a timer");
            rings += 1;
        }
        rings
    }

    #[tokio::test]
    async fn it_rings_once_for_each_time_and_never_for_a_time_that_was_replaced() {
        let mut alarm = Alarm::new().expect("a timer");
        let mut rings = 0;
        for ms in [5, 0, 1, 20, 3] {
            // Given up before it rings, as when something else wakes the loop.
            let later = Instant::now() + Duration::from_secs(3_600);
            timeout(Duration::from_millis(1), alarm.ring(later)).await.expect_err("not in an hour");
            rings += rings_until(&mut alarm, Instant::now() + Duration::from_millis(ms)).await;
        }
        assert!(rings <= 5, "{rings} rings");
        // A moment that has passed rings at once.
        timeout(LIMIT, alarm.ring(Instant::now())).await.expect("it rings").expect("a timer");
    }

    #[tokio::test]
    async fn what_rang_unheard_is_heard_with_the_next_wait() {
        let mut alarm = Alarm::new().expect("a timer");
        let at = Instant::now() + Duration::from_millis(10);
        timeout(Duration::from_millis(1), alarm.ring(at)).await.expect_err("too early");
        std::thread::sleep(Duration::from_millis(20));
        timeout(LIMIT, alarm.ring(at)).await.expect("it rings").expect("a timer");
    }
}
