//! Links between members: cut or not, in each direction; and what may happen to a message on one.

use raftbank_consensus::NodeId;

use super::dice::Dice;

/// How unreliable the links are, all alike.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Messages lost, of 1000.
    pub drop_per_mille: u64,
    /// Messages that arrive twice, of 1000.
    pub repeat_per_mille: u64,
    /// Delay of a usual message. Each draws its own, so they overtake each other.
    pub delay_us: (u64, u64),
    /// Messages that take up to `straggle_us`, of 1000.
    pub straggler_per_mille: u64,
    /// Longest delay of a straggler.
    pub straggle_us: u64,
}

impl Weather {
    /// Quick and reliable.
    pub fn calm() -> Self {
        Self { drop_per_mille: 0, repeat_per_mille: 0, delay_us: (100, 2_000), straggler_per_mille: 0, straggle_us: 1 }
    }

    /// Drawn for a seed; a third of the seeds have reliable links.
    pub fn draw(dice: &mut Dice) -> Self {
        let slow = dice.pick(&[1_000, 3_000, 10_000, 60_000]);
        Self {
            drop_per_mille: dice.pick(&[0, 0, 5, 30, 100, 300]),
            repeat_per_mille: dice.pick(&[0, 0, 10, 100, 300]),
            delay_us: (100, slow),
            straggler_per_mille: dice.pick(&[0, 5, 20, 100]),
            straggle_us: dice.pick(&[50_000, 300_000, 1_500_000]),
        }
    }

    /// Delay of each copy that arrives; none if the message is lost.
    pub fn copies(&self, dice: &mut Dice) -> Vec<u64> {
        if dice.chance(self.drop_per_mille) {
            return Vec::new();
        }
        let copies = if dice.chance(self.repeat_per_mille) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let (min, max) = self.delay_us;
                if dice.chance(self.straggler_per_mille) {
                    dice.range(min, self.straggle_us.max(min))
                } else {
                    dice.range(min, max)
                }
            })
            .collect()
    }
}

/// Which links are cut.
#[derive(Debug)]
pub struct Links {
    members: usize,
    cut: Vec<bool>,
}

impl Links {
    /// All whole.
    pub fn new(members: usize) -> Self {
        Self { members, cut: vec![false; members * members] }
    }

    fn at(&self, from: NodeId, to: NodeId) -> usize {
        usize::from(from.0) * self.members + usize::from(to.0)
    }

    /// True if messages pass in that direction.
    pub fn open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut[self.at(from, to)]
    }

    /// Cuts or mends one direction.
    pub fn set(&mut self, from: NodeId, to: NodeId, open: bool) {
        let at = self.at(from, to);
        self.cut[at] = !open;
    }

    /// Mends all.
    pub fn heal(&mut self) {
        self.cut.fill(false);
    }

    /// Leaves exactly the links within each group.
    pub fn split(&mut self, group_of: impl Fn(NodeId) -> u64) {
        self.only(|a, b| group_of(a) == group_of(b));
    }

    /// Leaves exactly these links, both ways.
    pub fn only(&mut self, open: impl Fn(NodeId, NodeId) -> bool) {
        for a in 0..self.members as u8 {
            for b in 0..self.members as u8 {
                self.set(NodeId(a), NodeId(b), open(NodeId(a), NodeId(b)));
            }
        }
    }
}
