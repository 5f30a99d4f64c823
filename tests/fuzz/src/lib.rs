//! What the fuzz targets share: futures without I/O, the properties that hold of everything decoded, and [`node`].

pub mod node;
mod script;

use std::path::Path;
use std::time::Duration;

use raftbank_codec::{decode, encode};
use serde::{Serialize, de::DeserializeOwned};

/// Longer than any target runs: what is read here is either there or not.
pub const LIMIT: Duration = Duration::from_secs(3_600);

/// Runs a future whose inputs are all in memory.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// What decodes has exactly one spelling: the bytes it was read from.
pub fn canonical<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: u64) -> Option<T> {
    let value: T = decode(bytes, limit).ok()?;
    assert_eq!(encode(&value), bytes, "another spelling of the same value was accepted");
    Some(value)
}

/// Puts the bytes into a file of this process, in memory where there is such a place.
pub fn with_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let path = dir.join(format!("raftbank-fuzz-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    read(&path);
    let _ = std::fs::remove_file(&path);
}
