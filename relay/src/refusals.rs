//! Who was not let in lately, and why: for operators, who see nothing of a node that never gets in.

use std::collections::VecDeque;
use std::time::Instant;

use raftbank_wire::api::{Refused, RefusedNode, printable};

use crate::admission::Refusal;

/// So many are remembered; the one that was refused longest ago goes.
const KEPT_MAX: usize = 16;
/// Longest name and message that is kept, in bytes. The name is a stranger's.
const NODE_BYTES_MAX: usize = 32;
const MESSAGE_CHARS_MAX: usize = 1_000;

/// The last refusals, the newest last.
#[derive(Debug, Default)]
pub struct Refusals(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    node: String,
    code: &'static str,
    message: String,
    times: u64,
    last: Instant,
}

impl Refusals {
    /// A node was refused.
    pub fn add(&mut self, node: &str, refusal: &Refusal, now: Instant) {
        let node = printable(node, NODE_BYTES_MAX);
        let known = self.0.iter().position(|entry| entry.node == node && entry.code == refusal.code);
        let times = known.and_then(|at| self.0.remove(at)).map_or(0, |entry| entry.times) + 1;
        if self.0.len() >= KEPT_MAX {
            self.0.pop_front();
        }
        let message = refusal.message.chars().take(MESSAGE_CHARS_MAX).collect();
        self.0.push_back(Entry { node, code: refusal.code, message, times, last: now });
    }

    /// A node was let in: what was held against it is over.
    pub fn forget(&mut self, node: &str) {
        self.0.retain(|entry| entry.node != node);
    }

    /// For operators.
    pub fn shown(&self, now: Instant) -> Vec<RefusedNode> {
        let shown = |entry: &Entry| RefusedNode {
            node: entry.node.clone(),
            times: entry.times,
            refused: Refused {
                code: entry.code.to_owned(),
                message: entry.message.clone(),
                ago_ms: u64::try_from(now.saturating_duration_since(entry.last).as_millis()).unwrap_or(u64::MAX),
            },
        };
        self.0.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{KEPT_MAX, Refusals};
    use crate::admission::Refusal;

    fn refusal(code: &'static str) -> Refusal {
        Refusal { code, message: "no".to_owned() }
    }

    #[test]
    fn the_same_refusal_is_counted_and_others_are_bounded() {
        let (now, mut refusals) = (Instant::now(), Refusals::default());
        for _ in 0..3 {
            refusals.add("n1", &refusal("other_cluster"), now);
        }
        refusals.add("n2\n", &refusal("not_a_member"), now);
        let shown = refusals.shown(now);
        assert_eq!((shown.len(), shown[0].times, shown[1].node.as_str()), (2, 3, "n2?"));
        refusals.forget("n1");
        assert_eq!(refusals.shown(now).len(), 1);
        for number in 0..100 {
            refusals.add(&format!("n{number}"), &refusal("not_a_member"), now);
        }
        let shown = refusals.shown(now);
        assert_eq!((shown.len(), shown[KEPT_MAX - 1].node.as_str()), (KEPT_MAX, "n99"));
    }
}
