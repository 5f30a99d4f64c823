//! How far the opening of a data folder has come, told by the opening itself: one that hangs tells nothing.

/// Rows between two words.
const EVERY: u64 = 256;

/// A step of [`SledStore::open_watched`](crate::SledStore::open_watched).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// sled begins to read its files. That is one call, which tells nothing before it has ended.
    Opening {
        /// Length of sled's file.
        bytes: u64,
    },
    /// Rows are being read.
    Reading {
        /// What is counted, in the plural.
        what: &'static str,
        /// So many are read.
        done: u64,
        /// Of so many, where that is known beforehand.
        total: Option<u64>,
    },
}

/// Who wants to know.
pub(crate) type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// Counts rows of one kind and tells of them now and then.
pub(crate) struct Counter<'a> {
    on_progress: OnProgress<'a>,
    what: &'static str,
    done: u64,
    total: Option<u64>,
}

impl<'a> Counter<'a> {
    /// None is read yet, which is told.
    pub fn new(on_progress: OnProgress<'a>, what: &'static str, total: Option<u64>) -> Self {
        on_progress(Progress::Reading { what, done: 0, total });
        Self { on_progress, what, done: 0, total }
    }

    /// So many more are read.
    pub fn add(&mut self, rows: u64) {
        let before = self.done / EVERY;
        self.done = self.done.saturating_add(rows);
        if self.done / EVERY > before {
            (self.on_progress)(Progress::Reading { what: self.what, done: self.done, total: self.total });
        }
    }
}
