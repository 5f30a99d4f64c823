//! Short waits, on a thread of its own: the runtime's timers count milliseconds, and a block is ready in one or two.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// How long the next block waits for clients that were answered just now. About what an answer, the next request and the
/// switches between them take; a sync and the way through the relay take several times as long.
pub const GATHER: Duration = Duration::from_micros(250);

/// The thread. One turn is waited for at a time, the newest. It ends by itself when this is dropped.
pub struct Gather {
    turns: Sender<u64>,
}

impl Gather {
    /// Starts the thread; `over` is called on it when the time of a turn is over. False: nobody listens any more.
    pub fn start(over: impl Fn(u64) -> bool + Send + 'static) -> std::io::Result<Self> {
        let (turns, queue) = mpsc::channel();
        std::thread::Builder::new().name("gather".to_owned()).spawn(move || {
            while let Ok(turn) = queue.recv() {
                std::thread::sleep(GATHER);
                // What was asked for meanwhile replaces what was waited for.
                if !over(queue.try_iter().last().unwrap_or(turn)) {
                    return;
                }
            }
        })?;
        Ok(Self { turns })
    }

    /// Waits for this turn from now on.
    pub fn wait(&self, turn: u64) {
        // The thread ends early only when nobody listens any more.
        let _ = self.turns.send(turn);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Gather;

    #[test]
    fn the_newest_turn_is_always_told() {
        let (sender, told) = mpsc::channel();
        let gather = Gather::start(move |turn| sender.send(turn).is_ok()).expect("a thread");
        (1..=100).for_each(|turn| gather.wait(turn));
        let mut last = 0;
        while last < 100 {
            let turn = told.recv_timeout(Duration::from_secs(60)).expect("told");
            assert!(turn > last, "{turn} after {last}");
            last = turn;
        }
    }
}
