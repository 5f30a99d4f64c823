//! How a batch travels: in one frame, or in several at the same time if it is larger than one may be. The one place that
//! knows.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::crew::Crew;
use super::link::Link;
use super::tally::Fate;

/// Sends one batch, and waits until all of it is over. True: all of it has an outcome.
pub async fn send(crew: &Arc<Crew>, link: &Arc<Link>) -> bool {
    let mut left = crew.plan.batch;
    let first = crew.many(left);
    left -= count(first.len());
    if left == 0 {
        return frame(crew, link, first).await;
    }
    let mut frames = JoinSet::new();
    let mut next = first;
    loop {
        let (crew_of, link_of) = (Arc::clone(crew), Arc::clone(link));
        frames.spawn(async move { frame(&crew_of, &link_of, next).await });
        if left == 0 {
            break;
        }
        next = crew.many(left);
        left -= count(next.len());
    }
    let mut answered = true;
    while let Some(frame) = frames.join_next().await {
        answered &= frame.unwrap_or(false);
    }
    answered
}

fn count(transfers: usize) -> u32 {
    u32::try_from(transfers).expect("a batch is bounded")
}

/// Sends one frame. True: all of it has an outcome.
async fn frame(crew: &Arc<Crew>, link: &Arc<Link>, many: raftbank_wire::api::Many) -> bool {
    let transfers = many.len();
    match link.write_many(&many.into_bytes(), crew.plan.timeout).await {
        Ok(fates) => {
            let answered = !fates.iter().any(|fate| matches!(fate, Fate::Failed(..)));
            crew.count(|tally| fates.into_iter().for_each(|fate| tally.fate(fate)));
            answered
        }
        Err(fate) => {
            crew.count(|tally| (0..transfers).for_each(|_| tally.fate(fate.clone())));
            false
        }
    }
}
