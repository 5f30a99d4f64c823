//! Bytes as a source of small decisions. What has run out reads as zero.

use raftbank_codec::encode;
use raftbank_ledger::{Account, Amount, Leg, Operation, Request, RequestId, State};

use crate::node::records;

/// The rest of a script.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Up to 255 bytes, after their length.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.u8()).min(self.0.len());
        let (front, rest) = self.0.split_at(length);
        self.0 = rest;
        front
    }

    /// A number near `base`, or a far one.
    fn near(&mut self, base: u64) -> u64 {
        match self.u8() {
            255 => u64::MAX,
            254 => u64::MAX >> 1,
            253 => 1 << 62,
            byte @ 128.. => base.saturating_sub(u64::from(byte - 127)),
            byte => base.saturating_add(u64::from(byte)),
        }
    }

    /// One of a few requests on few accounts.
    pub fn request(&mut self) -> Request {
        let account = |byte: u8| Account::parse(["a", "b", "c", "d"][usize::from(byte % 4)]).expect("a name");
        let (id, kind) = (self.u8() % 32, self.u8());
        let amount = Amount::new(1 + u64::from(kind >> 4)).expect("positive");
        let operation = match kind % 8 {
            0 => Operation::Open { account: account(self.u8()) },
            1 => Operation::Credit { account: account(self.u8()), amount },
            2 => Operation::Debit { account: account(self.u8()), amount },
            3 => {
                let (from, to) = (account(self.u8()), account(self.u8()));
                Operation::Transfer { from, to, amount, memo: String::new() }
            }
            4 => {
                let leg = |from: u8, to: u8| Leg { from: account(from), to: account(to), amount, memo: String::new() };
                Operation::Linked { legs: vec![leg(self.u8(), self.u8()), leg(self.u8(), self.u8())] }
            }
            5 => {
                let (from, to) = (account(self.u8()), account(self.u8()));
                let timeout_ms = 1 + u64::from(self.u8());
                Operation::Pending { from, to, amount, timeout_ms, memo: String::new() }
            }
            6 => {
                let pending = RequestId::parse(&format!("r{}", self.u8() % 32)).expect("an id");
                if self.u8() % 2 == 0 {
                    Operation::Void { pending }
                } else {
                    Operation::Post { pending, amount: Amount::new(u64::from(kind >> 4)).ok() }
                }
            }
            _ => Operation::Put { key: vec![self.u8()], value: self.bytes().to_vec() },
        };
        let id = RequestId::parse(&format!("r{id}")).expect("an id");
        Request::new(id, operation).expect("a small request")
    }

    /// The encoding of a consensus message, as the body of an envelope: its kinds and fields in their order.
    pub fn message(&mut self, term: u64, applied: u64, state: &State) -> Vec<u8> {
        let term = self.near(term);
        let head = |kind: u32| encode(&(0_u32, term, kind));
        match self.u8() % 7 {
            0 => [head(0), encode(&(self.near(term), self.near(applied)))].concat(),
            1 => [head(1), encode(&(self.near(term), self.u8() % 2 == 0))].concat(),
            2 => [head(2), encode(&(self.near(term), self.near(applied)))].concat(),
            3 => [head(3), encode(&(self.u8() % 2 == 0))].concat(),
            4 => {
                let (prev, prev_term) = (self.near(applied), self.near(term));
                let (commit, round, last) = (self.near(applied), self.near(0), self.near(applied));
                let nonce = self.near(0);
                let records = records(self, prev.wrapping_add(1), term, state);
                [head(4), encode(&(prev, prev_term, commit, round, last, nonce, records))].concat()
            }
            5 => {
                let (verified, acknowledged, round) = (self.near(applied), self.near(applied), self.near(0));
                let options = self.u8();
                let conflict = (options & 1 == 1).then(|| (self.near(applied), self.near(applied), self.near(term)));
                let disputed = (options & 2 == 2).then(|| self.near(applied));
                let rejoining = (options & 4 == 4).then(|| self.near(0));
                [head(5), encode(&(verified, acknowledged, round, conflict, disputed, rejoining))].concat()
            }
            _ => head(6),
        }
    }
}
