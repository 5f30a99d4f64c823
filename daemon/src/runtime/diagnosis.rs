//! What the shell around the node adds to its diagnosis: the relay link, the disk, the file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use raftbank_wire::api::{ApiReply, Diagnosis, FolderFigures, RelayConnection, SyncFigures, printable};
use raftbank_wire::link::LinkEvent;
use raftbank_wire::server::Responder;
use tokio::sync::Semaphore;

/// Looks at the file system at a time. A disk that hangs holds up one thread and no answer.
pub const LOOKS_MAX: usize = 1;
/// Most files of a data folder that are counted, and how deep they may lie.
const FILES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 4;
/// Longest refusal that is kept, in bytes.
const REFUSAL_BYTES_MAX: usize = 1_000;

/// What is known beside the node.
pub struct Around {
    address: String,
    data_dir: PathBuf,
    connected: bool,
    changed: Instant,
    refused: Option<String>,
    looks: Arc<Semaphore>,
}

impl Around {
    /// Not connected yet.
    pub fn new(address: &str, data_dir: &Path, now: Instant) -> Self {
        Self {
            address: address.to_owned(),
            data_dir: data_dir.to_owned(),
            connected: false,
            changed: now,
            refused: None,
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
        }
    }

    /// Something happened to the link.
    pub fn linked(&mut self, event: &LinkEvent) {
        let connected = match event {
            LinkEvent::Connected => {
                self.refused = None;
                true
            }
            LinkEvent::Disconnected => false,
            LinkEvent::Refused(message) => {
                self.refused = Some(refusal(message));
                false
            }
            LinkEvent::PeerUp(_) | LinkEvent::PeerDown(_) | LinkEvent::Frame { .. } => return,
        };
        if connected != self.connected {
            self.connected = connected;
            self.changed = Instant::now();
        }
    }

    /// Completes a diagnosis and answers with it, beside the loop.
    pub fn answer(&self, mut diagnosis: Box<Diagnosis>, syncs: SyncFigures, responder: Responder) {
        diagnosis.relay = RelayConnection {
            address: self.address.clone(),
            connected: self.connected,
            since_ms: u64::try_from(self.changed.elapsed().as_millis()).unwrap_or(u64::MAX),
            refused: self.refused.clone(),
        };
        diagnosis.syncs = syncs;
        let Ok(permit) = Arc::clone(&self.looks).try_acquire_owned() else {
            responder.finish(&ApiReply::Diagnosis(diagnosis));
            return;
        };
        let dir = self.data_dir.clone();
        tokio::task::spawn_blocking(move || {
            diagnosis.folder = figures(&dir);
            responder.finish(&ApiReply::Diagnosis(diagnosis));
            drop(permit);
        });
    }
}

/// A refusal as it may be shown: whoever listens at the relay's address has written it.
pub fn refusal(message: &str) -> String {
    printable(message, REFUSAL_BYTES_MAX)
}

/// Looks at a data folder and its file system.
fn figures(dir: &Path) -> Option<FolderFigures> {
    let system = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
    let mut left = FILES_MAX;
    let used_bytes = used(dir, DEPTH_MAX, &mut left);
    Some(FolderFigures { used_bytes, free_bytes: bytes(system.f_bavail), total_bytes: bytes(system.f_blocks) })
}

/// Bytes of the files below `dir`; what is gone meanwhile does not count.
fn used(dir: &Path, depth: usize, left: &mut usize) -> u64 {
    let mut bytes: u64 = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if *left == 0 {
            break;
        }
        *left -= 1;
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth > 0 {
            bytes = bytes.saturating_add(used(&entry.path(), depth - 1, left));
        } else {
            bytes = bytes.saturating_add(meta.len());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use raftbank_wire::link::LinkEvent;

    use super::{Around, figures};

    #[test]
    fn a_folder_is_measured() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("sled")).expect("made");
        std::fs::write(dir.path().join("sled/db"), [0; 5_000]).expect("written");
        let found = figures(dir.path()).expect("a file system");
        assert!(found.used_bytes >= 5_000 && found.total_bytes >= found.free_bytes, "{found:?}");
        assert_eq!(figures(&dir.path().join("missing")), None);
    }

    #[test]
    fn a_refusal_is_remembered_until_the_relay_lets_the_node_in() {
        let mut around = Around::new("a:1", "/".as_ref(), Instant::now());
        around.linked(&LinkEvent::Refused("no".to_owned()));
        assert_eq!((around.refused.as_deref(), around.connected), (Some("no"), false));
        // From a stranger: nothing in it may reach a terminal as it is.
        around.linked(&LinkEvent::Refused(format!("\x1b[2J\n{}", "é".repeat(5_000))));
        let shown = around.refused.clone().expect("refused");
        assert!(shown.starts_with("?[2J??") && shown.len() == 1_000, "{shown}");
        around.linked(&LinkEvent::Connected);
        assert_eq!((around.refused.as_deref(), around.connected), (None, true));
        around.linked(&LinkEvent::Disconnected);
        assert!(!around.connected);
    }
}
