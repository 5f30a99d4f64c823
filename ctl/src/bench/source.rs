//! The requests themselves, made cheaply: canonical bytes of one transfer are made once, and then only digits change.

use raftbank_ledger::{Account, Amount, Operation, Request, RequestId};
use raftbank_wire::api::ApiRequest;
use rand::rngs::StdRng;

use super::choice::Choice;

/// Begin of the names of all accounts; seven digits follow.
pub const ACCOUNTS: &str = "bench:";
const ACCOUNT_DIGITS: usize = 7;
const SEQUENCE_DIGITS: usize = 12;
/// So many ids has each thread.
const THREAD_IDS: u64 = 10_u64.pow(10);

/// One transfer or read, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Unique in a run.
    pub sequence: u64,
    /// Payer, or the account that is read.
    pub from: u32,
    /// Payee.
    pub to: u32,
}

/// Draws items.
#[derive(Debug)]
pub struct Source {
    choice: Choice,
    rng: StdRng,
    sequence: u64,
}

impl Source {
    /// Of thread `index`, at most 99.
    pub fn new(choice: Choice, rng: StdRng, index: usize) -> Self {
        Self { choice, rng, sequence: THREAD_IDS * index as u64 }
    }

    /// The next transfer.
    pub fn transfer(&mut self) -> Item {
        let (from, to) = self.choice.two(&mut self.rng);
        self.sequence += 1;
        Item { sequence: self.sequence, from, to }
    }

    /// The next read.
    pub fn read(&mut self) -> Item {
        let from = self.choice.one(&mut self.rng);
        Item { sequence: 0, from, to: from }
    }
}

/// The bytes of all transfers of a run.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    sequence: usize,
    from: usize,
    to: usize,
}

impl Template {
    /// For ids that begin with `run`.
    pub fn new(run: &str) -> Self {
        // Digits of which none contains another, so that their places can be found.
        let (sequence, from, to) = (123_456_789_012_u64, 7_654_321, 9_876_543);
        let id = format!("{}{sequence:012}", prefix(run));
        let operation =
            Operation::Transfer { from: account(from), to: account(to), amount: amount(1), memo: String::new() };
        let bytes = request(&id, operation).encode();
        let find = |digits: String| {
            // The last place: the run's own digits may look alike, and stand before all of these.
            bytes.windows(digits.len()).rposition(|place| place == digits.as_bytes()).expect("what was just written")
        };
        let (sequence, from, to) = (find(sequence.to_string()), find(from.to_string()), find(to.to_string()));
        Self { bytes, sequence, from, to }
    }

    /// The transfer.
    pub fn transfer(&self, item: Item) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        digits(&mut bytes[self.sequence..self.sequence + SEQUENCE_DIGITS], item.sequence);
        digits(&mut bytes[self.from..self.from + ACCOUNT_DIGITS], item.from.into());
        digits(&mut bytes[self.to..self.to + ACCOUNT_DIGITS], item.to.into());
        bytes
    }
}

/// The linearizable balance of the item's account.
pub fn balance(item: Item, timeout_ms: u32) -> ApiRequest {
    ApiRequest::Balance { account: name(item.from), local: false, timeout_ms }
}

/// Begin of all ids of a run; twelve digits follow.
pub fn prefix(run: &str) -> String {
    format!("bench-{run}-")
}

/// The name of an account.
pub fn name(number: u32) -> String {
    let mut name = Vec::with_capacity(ACCOUNTS.len() + ACCOUNT_DIGITS);
    name.extend_from_slice(ACCOUNTS.as_bytes());
    name.resize(ACCOUNTS.len() + ACCOUNT_DIGITS, b'0');
    digits(&mut name[ACCOUNTS.len()..], number.into());
    String::from_utf8(name).expect("letters and digits")
}

/// An account.
pub fn account(number: u32) -> Account {
    Account::parse(&name(number)).expect("letters, a colon and digits")
}

/// An amount above zero.
pub fn amount(units: u64) -> Amount {
    Amount::parse(&units.to_string()).expect("a small number above zero")
}

/// A request.
pub fn request(id: &str, operation: Operation) -> Request {
    let id = RequestId::parse(id).expect("letters, digits and dashes, of bounded length");
    Request::new(id, operation).expect("no memo, key or value")
}

/// Writes a number right-aligned, with zeros in front.
fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_transfer() {
        // The second run's id looks like the digits that are searched for.
        for run in ["00000000000000ff", "7654321987654312"] {
            let template = Template::new(run);
            for (sequence, from, to) in [(0, 0, 1), (999_999_999_999, 9_999_999, 0), (7_654_321, 7_654_321, 9_876_543)]
            {
                let bytes = template.transfer(Item { sequence, from, to });
                let operation = Operation::Transfer {
                    from: Account::parse(&format!("bench:{from:07}")).unwrap(),
                    to: Account::parse(&format!("bench:{to:07}")).unwrap(),
                    amount: Amount::parse("1").unwrap(),
                    memo: String::new(),
                };
                let id = RequestId::parse(&format!("bench-{run}-{sequence:012}")).unwrap();
                assert_eq!(Request::decode(&bytes).unwrap(), Request { id, operation });
            }
        }
    }

    #[test]
    fn threads_never_use_the_same_id() {
        use rand::SeedableRng;
        let choice = Choice::new(super::super::args::Skew::Uniform, 10);
        let mut ids = std::collections::BTreeSet::new();
        for thread in 0..4 {
            let mut source = Source::new(choice, StdRng::seed_from_u64(1), thread);
            assert!((0..1_000).all(|_| ids.insert(source.transfer().sequence)));
        }
    }
}
