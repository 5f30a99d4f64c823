//! The accounts of a bank with their balances. An account keeps its number for ever, so what was found once is not looked for
//! again.

use std::collections::BTreeMap;

use crate::amount::Balance;
use crate::index::{Index, Short};
use crate::names::Account;
use crate::slab::Slab;

/// All accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    rows: Slab<(Account, Balance)>,
    index: Index,
}

impl Accounts {
    /// Those that a store has kept, hashed with a salt from the beginning.
    pub fn salted(rows: BTreeMap<Account, Balance>, salt: u64) -> Self {
        let mut accounts = Self { index: Index::seeded(salt), ..Self::default() };
        for (account, balance) in rows {
            accounts.insert(&account, balance);
        }
        accounts
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The hash that an account is found by.
    pub fn hash(&self, account: &Account) -> Short {
        self.index.hash(account.as_str())
    }

    /// The number of an account with this hash; most often there is only one.
    pub fn number(&self, hash: Short) -> Option<u32> {
        self.index.find(hash, |_| true)
    }

    /// An account's number.
    pub fn find(&self, account: &Account) -> Option<u32> {
        self.index.find(self.hash(account), |number| self.rows.at(number).0 == *account)
    }

    /// The balance of the account with this number.
    pub fn at(&self, number: u32) -> Balance {
        self.rows.at(number).1
    }

    /// Sets the balance of the account with this number.
    pub fn set(&mut self, number: u32, balance: Balance) {
        self.rows.at_mut(number).1 = balance;
    }

    /// An account's balance.
    pub fn get(&self, account: &Account) -> Option<Balance> {
        self.find(account).map(|number| self.at(number))
    }

    /// Sets a balance; opens the account if need be.
    pub fn insert(&mut self, account: &Account, balance: Balance) {
        if let Some(number) = self.find(account) {
            return self.set(number, balance);
        }
        let number = u32::try_from(self.rows.len()).expect("memory ends before numbers do");
        self.rows.push((account.clone(), balance));
        self.index.insert(self.hash(account), number);
    }

    /// All accounts in order of their names. Costs in all of them.
    pub fn sorted(&self) -> impl Iterator<Item = (&Account, Balance)> {
        let mut rows: Vec<(&Account, Balance)> = self.rows().collect();
        rows.sort_unstable_by_key(|(account, _)| *account);
        rows.into_iter()
    }

    /// All accounts, in order of their numbers.
    pub fn rows(&self) -> impl Iterator<Item = (&Account, Balance)> {
        let count = u32::try_from(self.rows.len()).expect("memory ends before numbers do");
        (0..count).map(|number| self.rows.at(number)).map(|(account, balance)| (account, *balance))
    }

    /// Mixes a number that nobody else knows into the hashes of the names. Costs in all accounts.
    pub fn salt(&mut self, salt: u64) {
        self.index = Index::seeded(salt);
        for number in (0..).take(self.rows.len()) {
            let hash = self.index.hash(self.rows.at(number).0.as_str());
            self.index.insert(hash, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Accounts;
    use crate::names::Account;

    proptest! {
        #[test]
        fn it_knows_what_a_map_knows_whatever_the_salt(
            names in prop::collection::vec("[a-c]{1,3}|[a-z0-9:._-]{64}", 0..300), salt in any::<u64>(), salted_at in 0_usize..300,
        ) {
            let (mut accounts, mut map) = (Accounts::default(), BTreeMap::new());
            for (balance, name) in names.iter().enumerate() {
                if balance == salted_at {
                    accounts.salt(salt);
                }
                let account = Account::parse(name).expect("valid");
                prop_assert_eq!(accounts.get(&account), map.get(&account).copied());
                accounts.insert(&account, balance as i128);
                map.insert(account, balance as i128);
            }
            prop_assert_eq!(accounts.len(), map.len());
            prop_assert!(accounts.sorted().eq(map.iter().map(|(account, balance)| (account, *balance))));
            let again = Accounts::salted(map, salt);
            prop_assert!(again.sorted().eq(accounts.sorted()));
        }
    }
}
