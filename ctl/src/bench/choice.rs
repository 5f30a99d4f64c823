//! Which accounts a request touches: uniform, by Zipf's law, or half of them one account.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Zipf};

use super::args::Skew;

/// The account that is touched by half of all requests.
pub const HOT: u32 = 0;

/// Chooses accounts by their numbers, from 0 on.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    accounts: u32,
    skew: Skew,
    zipf: Zipf<f64>,
}

impl Choice {
    /// Of so many accounts, at least 2.
    pub fn new(skew: Skew, accounts: u32) -> Self {
        let accounts = accounts.max(2);
        let zipf = Zipf::new(f64::from(accounts), 1.0).expect("at least two accounts, and an exponent above zero");
        Self { accounts, skew, zipf }
    }

    /// One account.
    pub fn one(&self, rng: &mut impl Rng) -> u32 {
        match self.skew {
            Skew::Uniform => rng.random_range(0..self.accounts),
            Skew::Zipf => self.rank(rng),
            Skew::Hot if rng.random() => HOT,
            Skew::Hot => rng.random_range(1..self.accounts),
        }
    }

    /// Who pays and who is paid, never the same. Of two accounts each transfer touches both.
    pub fn two(&self, rng: &mut impl Rng) -> (u32, u32) {
        match self.skew {
            Skew::Uniform => {
                let from = rng.random_range(0..self.accounts);
                (from, other(rng, 0..self.accounts, from))
            }
            Skew::Zipf => {
                let from = self.rank(rng);
                loop {
                    let to = self.rank(rng);
                    if to != from {
                        return (from, to);
                    }
                }
            }
            Skew::Hot => {
                let cold = rng.random_range(1..self.accounts);
                // In turn by chance payer and payee: the balance stays about where it is.
                match (rng.random(), rng.random()) {
                    (true, true) => (HOT, cold),
                    (true, false) => (cold, HOT),
                    (false, _) if self.accounts > 2 => (cold, other(rng, 1..self.accounts, cold)),
                    (false, _) => (cold, HOT),
                }
            }
        }
    }

    fn rank(&self, rng: &mut impl Rng) -> u32 {
        // A rank is a whole number from 1 to the number of accounts.
        (self.zipf.sample(rng) as u32).clamp(1, self.accounts) - 1
    }
}

/// One of the range's numbers that is not `taken`, which is one of them.
fn other(rng: &mut impl Rng, range: std::ops::Range<u32>, taken: u32) -> u32 {
    let drawn = rng.random_range(range.start..range.end - 1);
    drawn + u32::from(drawn >= taken)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const DRAWS: usize = 100_000;

    fn transfers(skew: Skew, accounts: u32) -> Vec<(u32, u32)> {
        let (choice, mut rng) = (Choice::new(skew, accounts), ChaCha8Rng::seed_from_u64(7));
        (0..DRAWS).map(|_| choice.two(&mut rng)).collect()
    }

    fn reads(skew: Skew, accounts: u32) -> Vec<usize> {
        let (choice, mut rng) = (Choice::new(skew, accounts), ChaCha8Rng::seed_from_u64(8));
        let mut counts = vec![0; accounts as usize];
        (0..DRAWS).for_each(|_| counts[choice.one(&mut rng) as usize] += 1);
        counts
    }

    /// Share of the draws, in thousandths.
    fn share(count: usize) -> usize {
        (count * 1_000 + DRAWS / 2) / DRAWS
    }

    #[test]
    fn payer_and_payee_are_two_accounts_that_exist() {
        for skew in [Skew::Hot, Skew::Zipf, Skew::Uniform] {
            for accounts in [2, 3, 10, 10_000_000] {
                for (from, to) in transfers(skew, accounts) {
                    assert!(from != to && from < accounts && to < accounts, "{skew} {accounts}: {from} {to}");
                }
            }
        }
    }

    #[test]
    fn uniform_touches_all_alike() {
        let mut pays = [0; 10];
        let mut paid = [0; 10];
        for (from, to) in transfers(Skew::Uniform, 10) {
            pays[from as usize] += 1;
            paid[to as usize] += 1;
        }
        for count in pays.into_iter().chain(paid).chain(reads(Skew::Uniform, 10)) {
            assert!((95..=105).contains(&share(count)), "{count}");
        }
    }

    #[test]
    fn half_of_all_touch_the_hot_account_which_pays_as_often_as_it_is_paid() {
        let all = transfers(Skew::Hot, 1_000);
        let pays = all.iter().filter(|(from, _)| *from == HOT).count();
        let paid = all.iter().filter(|(_, to)| *to == HOT).count();
        assert!((490..=510).contains(&share(pays + paid)), "{pays} {paid}");
        assert!((240..=260).contains(&share(pays)), "{pays}");
        let counts = reads(Skew::Hot, 11);
        assert!((490..=510).contains(&share(counts[0])), "{counts:?}");
        assert!(counts[1..].iter().all(|count| (45..=55).contains(&share(*count))), "{counts:?}");
    }

    #[test]
    fn by_zipfs_law_the_kth_account_has_a_share_of_one_kth() {
        let counts = reads(Skew::Zipf, 1_000);
        let sum: f64 = (1..=1_000).map(|rank| 1.0 / f64::from(rank)).sum();
        for (rank, count) in (1_u32..).zip(&counts).take(20) {
            let wanted = DRAWS as f64 / f64::from(rank) / sum;
            let error = (*count as f64 - wanted).abs();
            assert!(error < 5.0 * wanted.sqrt(), "rank {rank}: {count} instead of {wanted:.0}");
        }
        assert!(counts[500..].iter().sum::<usize>() > 0, "the tail is reached");
    }
}
