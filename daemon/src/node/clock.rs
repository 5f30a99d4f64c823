//! A leader stamps blocks with its wall clock, so a node whose clock is far from the others' does not lead (`leaving`).
//! Nothing else depends on wall time.

use raftbank_consensus::Engine;

use super::Node;

/// A clock further than this from the median of the clocks that are heard is wrong.
pub const SKEW_MS_MAX: i64 = 10_000;

impl<E: Engine> Node<E> {
    /// Compares this node's clock with the median of its own and those it hears; needs a quorum of them.
    pub(super) fn judge_clock(&mut self) {
        let mut offsets: Vec<i64> = self.reachable().values().map(|peer| peer.clock_offset_ms).collect();
        offsets.push(0);
        if offsets.len() * 2 <= self.config.names.len() {
            return;
        }
        let skewed = median(&mut offsets).abs() > SKEW_MS_MAX;
        if skewed != self.clock_skew {
            self.clock_skew = skewed;
            if skewed {
                // What is not proposed yet waits for the next leader's clock.
                self.abandon_mining();
                self.reroute();
                self.warn(
                    "clock_skew: this node's clock is more than 10 s away from the other members' clocks; it will not \
                     lead until the clock is right"
                        .to_owned(),
                );
            } else {
                self.info("the clock agrees with the other members' again".to_owned());
            }
        }
    }
}

/// The median; of the two middle values of an even count the one nearer to zero, so that one clock against another
/// condemns neither.
fn median(offsets: &mut [i64]) -> i64 {
    offsets.sort_unstable();
    let upper = offsets.len() / 2;
    if offsets.len() % 2 == 1 {
        return offsets[upper];
    }
    let (a, b) = (offsets[upper - 1], offsets[upper]);
    if a.unsigned_abs() <= b.unsigned_abs() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_wrong_clock_of_three_is_outvoted() {
        assert_eq!(median(&mut [0, 3, 20_000]), 3);
        assert_eq!(median(&mut [0, 20_000, 20_001]), 20_000);
    }

    #[test]
    fn two_clocks_condemn_neither() {
        assert_eq!(median(&mut [0, 20_000]), 0);
        assert_eq!(median(&mut [-20_000, 0]), 0);
    }

    #[test]
    fn a_clock_against_three_is_wrong() {
        assert_eq!(median(&mut [0, 20_000, 20_001, 20_002]), 20_000);
    }
}
