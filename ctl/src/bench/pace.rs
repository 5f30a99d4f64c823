//! Hands out what falls due to the clients of a thread: one of them waits for the clock, the others for their turn.

use std::time::Instant;

use tokio::sync::Mutex;

use super::schedule::Schedule;
use super::timer::Timer;
use crate::failure::Failure;

/// The arrivals of a thread.
#[derive(Debug)]
pub struct Pace {
    begin: Instant,
    turn: Mutex<(Schedule, Timer)>,
}

impl Pace {
    /// From `begin` on.
    ///
    /// # Errors
    /// The operating system has no timer left.
    pub fn new(schedule: Schedule, begin: Instant) -> Result<Self, Failure> {
        let timer = Timer::new().map_err(|error| refused(&error))?;
        Ok(Self { begin, turn: Mutex::new((schedule, timer)) })
    }

    /// Waits until a request is due, and tells since when; none: there are no more. With it, how many others were
    /// given up.
    ///
    /// # Errors
    /// The operating system refuses the timer.
    pub async fn next(&self) -> Result<(u64, Option<Instant>), Failure> {
        let mut turn = self.turn.lock().await;
        let arrival = turn.0.take(self.begin.elapsed());
        let due = arrival.due.map(|due| self.begin + due);
        if let Some(due) = due {
            turn.1.until(due).await.map_err(|error| refused(&error))?;
        }
        Ok((arrival.late, due))
    }
}

fn refused(error: &std::io::Error) -> Failure {
    Failure::internal(format!("the timer does not work: {error}"))
}
