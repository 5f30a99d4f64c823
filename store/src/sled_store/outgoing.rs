//! Rows on their way into sled.
//!
//! A batch of sled is atomic, and costs a write and a wait of its own: sled closes its buffer before the batch and once more
//! behind the batch's first message. Parts of records that follow each other need no batch: sled keeps a beginning of what
//! it was given in order, and an end of the log that did not arrive whole is a torn tail.

use crate::{engine::Engine, error::StoreError};

/// Rows in order.
#[derive(Default)]
pub(super) struct Outgoing {
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    bytes: usize,
    /// All of it or nothing.
    together: bool,
}

impl Outgoing {
    /// About how many bytes there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of a record, after all parts and records before it.
    pub fn append(&mut self, key: &[u8], value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.rows.push((key.to_vec(), Some(value)));
    }

    /// Any other row.
    pub fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.together = true;
        self.append(key, value);
    }

    /// A row that goes away.
    pub fn remove(&mut self, key: &[u8]) {
        self.together = true;
        self.bytes += key.len();
        self.rows.push((key.to_vec(), None));
    }

    /// Hands all of it over; nothing is left.
    pub fn hand_over(&mut self, engine: &mut Engine) -> Result<(), StoreError> {
        let Outgoing { rows, bytes, together } = std::mem::take(self);
        if together && rows.len() > 1 {
            let mut batch = sled::Batch::default();
            for (key, value) in rows {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            return engine.apply(batch, bytes);
        }
        for (key, value) in rows {
            engine.change(&key, value)?;
        }
        Ok(())
    }
}
