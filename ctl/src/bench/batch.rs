//! How a batch travels: as single transfers, many in flight on one connection. The one place that knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

use super::crew::Crew;
use super::link::Link;
use super::tally::Fate;

/// Most transfers of one batch in flight: as many as a node takes of one connection.
const WINDOW: u32 = 1_024;
/// Most transfers in flight of all batches of a process: half of what a node takes.
const IN_FLIGHT_MAX: u32 = 32_768;

/// Of a batch, when so many clients send one each.
pub fn window(batch: u32, clients: u32) -> u32 {
    batch.min(WINDOW).min(IN_FLIGHT_MAX / clients.max(1)).max(1)
}

/// Sends one batch, and waits until all of it is over. True: all of it has an outcome.
pub async fn send(crew: &Arc<Crew>, link: &Arc<Link>) -> bool {
    let left = Arc::new(AtomicU32::new(crew.plan.batch));
    let mut lanes = JoinSet::new();
    for _ in 0..window(crew.plan.batch, crew.plan.clients) {
        lanes.spawn(lane(Arc::clone(crew), Arc::clone(link), Arc::clone(&left)));
    }
    let mut answered = true;
    while let Some(lane) = lanes.join_next().await {
        answered &= lane.unwrap_or(false);
    }
    answered
}

/// One of those in flight: takes the next until none is left.
async fn lane(crew: Arc<Crew>, link: Arc<Link>, left: Arc<AtomicU32>) -> bool {
    let mut answered = true;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let fate = crew.transfer(&link).await;
        answered &= !matches!(fate, Fate::Failed(..));
        crew.count(|tally| tally.fate(fate));
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::window;

    #[test]
    fn what_is_in_flight_is_bounded_however_many_clients_there_are() {
        assert_eq!(window(8_000, 1), 1_024);
        assert_eq!(window(10, 4), 10);
        for clients in [1, 31, 32, 33, 10_000] {
            assert!(u64::from(window(100_000, clients)) * u64::from(clients) <= u64::from(super::IN_FLIGHT_MAX));
        }
    }
}
