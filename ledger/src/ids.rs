//! The request ids of a chain, with what became of each. There are as many as there were requests, so they are kept short: an
//! id takes its own length, its record, and some ten bytes to find it.

use crate::bank::IdRecord;
use crate::index::{Index, Short};
use crate::names::RequestId;
use crate::slab::Slab;

/// Bytes of ids in one piece of memory. No id lies in two.
const PIECE: usize = 1 << 16;

#[derive(Clone, Debug)]
struct Row {
    /// Where the id's text begins.
    piece: u32,
    offset: u16,
    length: u8,
    record: IdRecord,
}

/// All request ids of a chain.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    rows: Slab<Row>,
    texts: Vec<Vec<u8>>,
    index: Index,
}

impl Ids {
    /// None yet. `salt` is a number that nobody else knows: no choice of ids makes them slow to find.
    pub fn salted(salt: u64) -> Self {
        Self { index: Index::seeded(salt), ..Self::default() }
    }

    /// The number it was made with, 0 without.
    pub(crate) fn salt_of(&self) -> u64 {
        self.index.seed()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of a request.
    pub fn get(&self, id: &RequestId) -> Option<&IdRecord> {
        self.record(id.as_str().as_bytes())
    }

    /// The hash that an id is found by.
    pub(crate) fn hash(&self, id: &RequestId) -> Short {
        self.index.hash(id.as_str().as_bytes())
    }

    /// True if an id with this hash is there.
    pub(crate) fn is_there(&self, hash: Short) -> bool {
        self.index.find(hash, |_| true).is_some()
    }

    fn record(&self, text: &[u8]) -> Option<&IdRecord> {
        let number = self.index.find(self.index.hash(text), |number| self.text(number) == text)?;
        Some(&self.rows.at(number).record)
    }

    /// Adds an id. Tells whether it is new; if not, nothing is changed.
    pub fn insert(&mut self, id: &RequestId, record: IdRecord) -> bool {
        let text = id.as_str().as_bytes();
        let hash = self.index.hash(text);
        if self.index.find(hash, |number| self.text(number) == text).is_some() {
            return false;
        }
        let number = u32::try_from(self.rows.len()).expect("memory ends before numbers do");
        if self.texts.last().is_none_or(|last| last.len() + text.len() > PIECE) {
            // Most tests have a few ids; whoever fills one piece fills more.
            self.texts.push(Vec::with_capacity(if self.texts.is_empty() { 0 } else { PIECE }));
        }
        let piece = u32::try_from(self.texts.len() - 1).expect("memory ends before numbers do");
        let last = self.texts.last_mut().expect("one was added");
        let offset = u16::try_from(last.len()).expect("it begins within a piece");
        last.extend_from_slice(text);
        let length = u8::try_from(text.len()).expect("at most 64 bytes");
        self.rows.push(Row { piece, offset, length, record });
        self.index.insert(hash, number);
        true
    }

    /// All of them, in order of their ids. Costs in all of them.
    pub fn sorted(&self) -> Vec<(RequestId, IdRecord)> {
        let mut numbers: Vec<u32> = (0..).take(self.rows.len()).collect();
        numbers.sort_unstable_by_key(|number| self.text(*number));
        let row = |number| {
            let text = std::str::from_utf8(self.text(number)).expect("it was a text");
            (RequestId::parse(text).expect("it was an id"), self.rows.at(number).record.clone())
        };
        numbers.into_iter().map(row).collect()
    }

    /// Mixes a number that nobody else knows into its hashes. Costs in all ids.
    pub(crate) fn salt(&mut self, salt: u64) {
        self.index = Index::seeded(salt);
        for number in (0..).take(self.rows.len()) {
            let hash = self.index.hash(self.text(number));
            self.index.insert(hash, number);
        }
    }

    fn text(&self, number: u32) -> &[u8] {
        let row = self.rows.at(number);
        let from = usize::from(row.offset);
        &self.texts[row.piece as usize][from..from + usize::from(row.length)]
    }
}

impl PartialEq for Ids {
    fn eq(&self, other: &Self) -> bool {
        // As many, and each is there.
        let mut numbers = (0..).take(self.len());
        self.len() == other.len()
            && numbers.all(|number| other.record(self.text(number)) == Some(&self.rows.at(number).record))
    }
}

impl FromIterator<(RequestId, IdRecord)> for Ids {
    /// Of an id that comes twice the first counts.
    fn from_iter<I: IntoIterator<Item = (RequestId, IdRecord)>>(rows: I) -> Self {
        let mut ids = Self::default();
        for (id, record) in rows {
            ids.insert(&id, record);
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Ids, PIECE};
    use crate::bank::IdRecord;
    use crate::hash::Hash;
    use crate::names::RequestId;
    use crate::outcome::Outcome;

    fn record(height: u64) -> IdRecord {
        IdRecord { height, index: 7, digest: Hash::of(&[&height.to_be_bytes()]), outcome: Outcome::Committed }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_map_knows_whatever_the_salt(
            names in prop::collection::vec("[a-c]{1,3}|[a-z0-9:._-]{64}", 0..300), salt in any::<u64>(), salted_at in 0_usize..300,
        ) {
            let (mut ids, mut map) = (Ids::default(), BTreeMap::new());
            for (height, name) in names.iter().enumerate() {
                if height == salted_at {
                    ids.salt(salt);
                }
                let (id, record) = (RequestId::parse(name).expect("valid"), record(height as u64));
                prop_assert_eq!(ids.get(&id), map.get(&id));
                prop_assert_eq!(ids.insert(&id, record.clone()), !map.contains_key(&id));
                map.entry(id).or_insert(record);
            }
            prop_assert_eq!(ids.len(), map.len());
            prop_assert!(ids.sorted().iter().map(|(id, record)| (id, record)).eq(map.iter()));
            prop_assert_eq!(ids.get(&RequestId::parse("never").expect("valid")), None);
            prop_assert_eq!(map.into_iter().collect::<Ids>(), ids);
        }
    }

    #[test]
    fn ids_that_fill_several_pieces_are_all_there() {
        let name = |number: usize| RequestId::parse(&format!("{number:0>61}")).expect("valid");
        let count = 3 * PIECE / 61;
        let mut ids: Ids = (0..count).map(|number| (name(number), record(number as u64))).collect();
        assert!(ids.texts.len() > 3);
        ids.salt(5);
        assert!((0..count).all(|number| ids.get(&name(number)) == Some(&record(number as u64))));
        assert!(!ids.insert(&name(0), record(9)) && ids.insert(&name(count), record(9)));
    }
}
