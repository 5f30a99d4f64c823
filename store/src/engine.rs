//! sled, and everything its interface does not tell: panics, syncs, and which errors mean what.
//!
//! Rules of this file (each has a reason in docs/storage.md):
//! - every call into sled is guarded: a panic on damaged data becomes [`StoreError::Corrupt`];
//! - `flush()` is not durable on Linux, so it is followed by `sync_data()` on a handle of our own, opened once before
//!   the first write, because a write-back error is reported once per open file description;
//! - no more than [`UNSYNCED_BYTES_MAX`] are written between two syncs: sled reuses a segment once its successor was
//!   *written*, and a power cut must not find the old copy overwritten while the new one is only in the page cache;
//! - what a batch has replaced in memory is freed by us: sled frees less than a large batch replaces.

use crate::{counts, crashsafe, error::StoreError, quiet};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    ops::RangeBounds,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// More written bytes than this force a sync in between; far below a segment.
pub(crate) const UNSYNCED_BYTES_MAX: usize = 4 << 20;

/// Replaced pages are freed when batches of so many bytes have been applied.
const REPLACED_BYTES_MAX: usize = 64 << 10;
/// What became garbage two collections ago can be freed, hence some more than one; each frees at most 512 old pages.
const COLLECTIONS_MIN: usize = 4;
/// A row has some 40 bytes at least, so 512 of them more than this.
const BYTES_PER_COLLECTION: usize = 4 << 10;

/// How often and how long a lock on the folder is waited for: a predecessor that was killed or closed just now may
/// still be letting go.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// sled's settings that were measured rather than left at their defaults; see docs/storage.md.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// sled's page cache in bytes. Its default is 1 GiB per database.
    pub cache_bytes: u64,
    /// Size of a segment of sled's file, a power of two up to 16 MiB; fixed when the folder is made. A leaf page above a
    /// quarter of it would go to `blobs/`, which sled never syncs.
    pub segment_bytes: usize,
    /// Period of the background thread of sled in ms. `None` runs none: measured, its garbage collection saves no space
    /// under the load of a ledger, and an idle node must not sync.
    pub flush_every_ms: Option<u64>,
    /// When results go to sled.
    pub limits: Limits,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { cache_bytes: 64 << 20, segment_bytes: 16 << 20, flush_every_ms: None, limits: Limits::default() }
    }
}

/// When results go to sled, and how.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows grown to so many bytes in memory are written back: with one more block the bound of a batch, a fraction of a
    /// segment, as all that lies between two syncs.
    pub rows_bytes: usize,
    /// Changed accounts, too many for rows, grown to so many bytes in memory make a new base. With a large base, twice as
    /// many as it has.
    pub accounts_bytes: usize,
    /// Once so many bytes of the log have come since, all is written back: the bound of what a start executes again. With a
    /// large base, three times its bytes.
    pub log_bytes: usize,
    /// So many changed accounts make a new base; fewer are rows.
    pub rewrite_rows: usize,
    /// About how large the pieces of a base are; at most 60 KiB. While a base is made, two are written with each so many bytes of the log.
    pub piece_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            rows_bytes: 2 << 20,
            accounts_bytes: 8 << 20,
            log_bytes: 16 << 20,
            rewrite_rows: 4_096,
            piece_bytes: 48 << 10,
        }
    }
}

/// True if a test asked for a store that does not sync, to prove that the power-cut test would notice.
/// Only with the feature `fault-injection`; the environment variable is `RAFTBANK_TEST_UNSAFE_NO_SYNC`.
pub(crate) fn syncs_are_off() -> bool {
    if planted!(SyncDoesNothing) {
        return true;
    }
    #[cfg(feature = "fault-injection")]
    {
        static OFF: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *OFF.get_or_init(|| std::env::var_os("RAFTBANK_TEST_UNSAFE_NO_SYNC").is_some())
    }
    #[cfg(not(feature = "fault-injection"))]
    false
}

/// The readable side: cheap to clone, used from any thread.
#[derive(Clone)]
pub(crate) struct Tree {
    db: sled::Db,
    config: sled::Config,
    dir: PathBuf,
}

/// The writable side: one per folder.
pub(crate) struct Engine {
    tree: Tree,
    /// Our own handle on sled's file `db`, for the syncs that count.
    handle: File,
    handle_path: PathBuf,
    unsynced_bytes: usize,
    /// Applied in batches since replaced pages were last freed.
    replaced_bytes: usize,
    /// Written since the last sync.
    dirty: bool,
}

impl Engine {
    /// Opens or makes sled's files in `sled_dir`. `data_dir` is only for messages.
    pub fn open(sled_dir: &Path, data_dir: &Path, tuning: Tuning) -> Result<Engine, StoreError> {
        let handle_path = sled_dir.join("db");
        let existing = handle_path.exists();
        let handle = if existing {
            let handle = open_handle(&handle_path)?;
            // What a killed predecessor left in the page cache becomes durable before sled builds on it.
            sync_handle(&handle, &handle_path)?;
            remove_unfinished(sled_dir)?;
            Some(handle)
        } else {
            None
        };
        let config = config(sled_dir, tuning);
        let db = open_locked(&config, data_dir)?;
        // A fresh file: sled itself wrote its first page while opening; that write was not promised to anybody.
        let handle = match handle {
            Some(handle) => handle,
            None => open_handle(&handle_path)?,
        };
        let mut engine = Engine {
            tree: Tree { db, config, dir: data_dir.to_owned() },
            handle,
            handle_path,
            unsynced_bytes: 0,
            replaced_bytes: 0,
            dirty: true,
        };
        engine.sync()?;
        Ok(engine)
    }

    /// The readable side.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Applies one batch atomically. `bytes` is its size, about.
    pub fn apply(&mut self, batch: sled::Batch, bytes: usize) -> Result<(), StoreError> {
        self.make_room(bytes)?;
        self.tree.guard("writing to", |db| db.apply_batch(batch))?;
        self.replaced(bytes);
        Ok(())
    }

    /// Sets or removes one row.
    pub fn change(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        self.make_room(bytes)?;
        self.tree.guard("writing to", |db| match value {
            Some(value) => db.insert(key, value).map(drop),
            None => db.remove(key).map(drop),
        })?;
        self.replaced(bytes);
        Ok(())
    }

    /// Lets sled free the pages that so many bytes have replaced, now and then.
    fn replaced(&mut self, bytes: usize) {
        self.replaced_bytes = self.replaced_bytes.saturating_add(bytes);
        if self.replaced_bytes >= REPLACED_BYTES_MAX {
            free_replaced(self.replaced_bytes);
            self.replaced_bytes = 0;
        }
    }

    /// Syncs first if so many bytes more would be too many.
    fn make_room(&mut self, bytes: usize) -> Result<(), StoreError> {
        if self.unsynced_bytes > 0 && self.unsynced_bytes.saturating_add(bytes) > UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        self.dirty = true;
        self.unsynced_bytes = self.unsynced_bytes.saturating_add(bytes);
        counts::handed(bytes);
        Ok(())
    }

    /// Makes everything applied so far durable. Does nothing when nothing was applied.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        self.tree.guard("flushing", |db| db.flush())?;
        if !syncs_are_off() {
            sync_handle(&self.handle, &self.handle_path)?;
        }
        self.dirty = false;
        self.unsynced_bytes = 0;
        Ok(())
    }
}

impl Tree {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.guard("reading", |db| db.get(key))
    }

    /// Rows in key order; from both ends.
    pub fn scan<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, range: R) -> Result<Scan, StoreError> {
        let iter = self.guard("reading", |db| Ok(db.range(range)))?;
        Ok(Scan { tree: self.clone(), iter: Some(iter) })
    }

    /// All rows whose key begins with `prefix`, in key order.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<Scan, StoreError> {
        let iter = self.guard("reading", |db| Ok(db.scan_prefix(prefix)))?;
        Ok(Scan { tree: self.clone(), iter: Some(iter) })
    }

    /// Corruption found by the layers above, with the folder's name.
    pub fn corrupt(&self, what: impl std::fmt::Display) -> StoreError {
        StoreError::corrupt(format!("{what} (data folder {})", self.dir.display()))
    }

    fn guard<T>(&self, doing: &str, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        match quiet::catch(|| work(&self.db)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(classify(doing, &self.dir, error)),
            Err(message) => Err(panicked(doing, &self.dir, &self.config, &message)),
        }
    }
}

fn config(sled_dir: &Path, tuning: Tuning) -> sled::Config {
    sled::Config::new()
        .path(sled_dir)
        .cache_capacity(tuning.cache_bytes)
        .segment_size(tuning.segment_bytes)
        .flush_every_ms(tuning.flush_every_ms)
        .mode(sled::Mode::LowSpace)
}

/// Opens sled behind the store's back, for tests that damage it. As patient as the store: whoever has closed it just now
/// may still be letting go.
///
/// # Errors
/// `InUse`, `Corrupt`, `Io`.
#[doc(hidden)]
pub fn sled_for_tests(data_dir: &Path) -> Result<sled::Db, StoreError> {
    open_locked(&config(&data_dir.join("sled"), Tuning::default()), data_dir)
}

/// Rows of a range; ends after the first error.
pub(crate) struct Scan {
    tree: Tree,
    iter: Option<sled::Iter>,
}

type Row = Result<(sled::IVec, sled::IVec), StoreError>;

impl Scan {
    fn step(
        &mut self,
        advance: impl FnOnce(&mut sled::Iter) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Option<Row> {
        let mut iter = self.iter.take()?;
        let row = self.tree.guard("reading", |_| advance(&mut iter).transpose()).transpose()?;
        if row.is_ok() {
            self.iter = Some(iter);
        }
        Some(row)
    }
}

impl Iterator for Scan {
    type Item = Row;
    fn next(&mut self) -> Option<Row> {
        self.step(Iterator::next)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Row> {
        self.step(DoubleEndedIterator::next_back)
    }
}

/// Removes the snapshots that sled began to write and did not finish: a full disk or a power cut leaves them. sled itself
/// takes them for finished ones (it looks for another suffix than it writes) and reports corruption. The snapshot before
/// is kept until the new one has its name, so nothing is lost.
fn remove_unfinished(sled_dir: &Path) -> Result<(), StoreError> {
    let listed = std::fs::read_dir(sled_dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut removed = false;
    for entry in listed.map_err(|error| StoreError::io("reading the folder", sled_dir, error))? {
        let file_name = entry.file_name();
        let file_name = file_name.to_string_lossy();
        if file_name.starts_with("snap.") && file_name.ends_with(".generating") {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(|error| StoreError::io("removing", &path, error))?;
            removed = true;
        }
    }
    if removed { crashsafe::sync_dir(sled_dir) } else { Ok(()) }
}

fn open_handle(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| StoreError::io("opening", path, error))
}

/// Frees the copies of pages that batches of about so many bytes have replaced. sled leaves them to crossbeam-epoch, which
/// frees at most 512 for every 128 calls into sled; a batch is one call and replaces a page for each of its rows.
fn free_replaced(bytes: usize) {
    for _ in 0..COLLECTIONS_MIN + bytes / BYTES_PER_COLLECTION {
        crossbeam_epoch::pin().flush();
    }
}

fn sync_handle(handle: &File, path: &Path) -> Result<(), StoreError> {
    counts::synced();
    handle.sync_data().map_err(|error| StoreError::io("syncing", path, error))
}

fn open_locked(config: &sled::Config, dir: &Path) -> Result<sled::Db, StoreError> {
    for attempt in 1..=LOCK_TRIES {
        match quiet::catch(|| config.open()) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) if is_lock_error(&error) => {
                if attempt < LOCK_TRIES {
                    thread::sleep(LOCK_PAUSE);
                }
            }
            Ok(Err(error)) => return Err(classify("opening", dir, error)),
            Err(message) => return Err(panicked("opening", dir, config, &message)),
        }
    }
    Err(StoreError::InUse { dir: dir.to_owned() })
}

/// sled has no variant for it: it wraps the refused `flock` in an error of kind `Other` with these words.
fn is_lock_error(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(source)
        if source.kind() == ErrorKind::Other && source.to_string().starts_with("could not acquire lock"))
}

fn classify(doing: &str, dir: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) if !means_damage(&source) => StoreError::io(doing, dir, source),
        other => StoreError::corrupt(format!("sled failed while {doing} {}: {other}", dir.display())),
    }
}

/// A file shorter than its own index says, or with impossible contents, is damaged; the device itself is fine.
fn means_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}

fn panicked(doing: &str, dir: &Path, config: &sled::Config, message: &str) -> StoreError {
    // A failed write on one of sled's threads can surface as a panic elsewhere: the first error is the true one.
    if let Err(sled::Error::Io(source)) = config.global_error()
        && !means_damage(&source)
    {
        return StoreError::io(doing, dir, source);
    }
    StoreError::corrupt(format!("sled gave up while {doing} {}: {message}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_corruption_and_a_short_file_is() {
        let dir = Path::new("/d");
        let full = sled::Error::Io(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(classify("writing to", dir, full).exit_code(), 7);
        let short = sled::Error::Io(io::Error::from(ErrorKind::UnexpectedEof));
        assert_eq!(classify("reading", dir, short).exit_code(), 6);
        let bug = sled::Error::ReportableBug("x".to_owned());
        assert_eq!(classify("reading", dir, bug).exit_code(), 6);
        let unsupported = sled::Error::Unsupported("segment size".to_owned());
        assert_eq!(classify("opening", dir, unsupported).exit_code(), 6);
    }

    #[test]
    fn rows_come_back_in_order_from_both_ends_after_a_reopen() {
        let base = tempfile::tempdir().unwrap();
        let sled_dir = base.path().join("sled");
        {
            let mut engine = Engine::open(&sled_dir, base.path(), Tuning::default()).unwrap();
            let mut batch = sled::Batch::default();
            for number in 0..100_u8 {
                batch.insert(&[b'k', number], &[number]);
            }
            engine.apply(batch, 300).unwrap();
            assert!(engine.dirty);
            engine.sync().unwrap();
            assert!(!engine.dirty);
        }
        let engine = Engine::open(&sled_dir, base.path(), Tuning::default()).unwrap();
        let forward: Vec<u8> = engine.tree().scan_prefix(b"k").unwrap().map(|row| row.unwrap().1[0]).collect();
        assert_eq!(forward, (0..100).collect::<Vec<u8>>());
        let range = vec![b'k', 10]..=vec![b'k', 12];
        let backward: Vec<u8> = engine.tree().scan(range).unwrap().rev().map(|row| row.unwrap().1[0]).collect();
        assert_eq!(backward, [12, 11, 10]);
        assert_eq!(engine.tree().get(&[b'k', 99]).unwrap().unwrap(), &[99]);
    }

    #[test]
    fn much_written_at_once_is_synced_on_the_way() {
        let base = tempfile::tempdir().unwrap();
        let mut engine = Engine::open(&base.path().join("sled"), base.path(), Tuning::default()).unwrap();
        for number in 0..100_u8 {
            let mut batch = sled::Batch::default();
            batch.insert(&[number], vec![number; 65536]);
            engine.apply(batch, 65536).unwrap();
            assert!(engine.unsynced_bytes <= UNSYNCED_BYTES_MAX);
        }
    }

    #[test]
    fn opening_twice_says_in_use() {
        let base = tempfile::tempdir().unwrap();
        let sled_dir = base.path().join("sled");
        let _first = Engine::open(&sled_dir, base.path(), Tuning::default()).unwrap();
        let Err(error) = Engine::open(&sled_dir, base.path(), Tuning::default()) else { panic!("opened twice") };
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    }
}
