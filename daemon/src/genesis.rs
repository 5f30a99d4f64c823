//! The genesis file: who is in the bank, and block 0.

use std::io::Read;
use std::path::Path;

use raftbank_consensus::NodeId;
use raftbank_ledger::{Block, Genesis, Hash, NodeName};

use crate::error::Failure;

/// Largest genesis file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a node needs of its genesis file.
#[derive(Clone, Debug)]
pub struct Bank {
    /// Block 0.
    pub block: Block,
    /// The hash of block 0.
    pub cluster_id: Hash,
    /// The bank's name.
    pub name: String,
    /// All members, in the order of the file.
    pub members: Vec<NodeName>,
    /// Leading zero bits of each block's hash.
    pub difficulty: u8,
}

impl Bank {
    /// Reads and checks a genesis file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let fail = |what: String| Failure::Genesis { path: path.to_owned(), what };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| fail(format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(fail(format!("is longer than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(path, &text)
    }

    /// As [`Bank::load`], with `text` in place of what the file at `path` holds.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let fail = |what: String| Failure::Genesis { path: path.to_owned(), what };
        let genesis: Genesis =
            toml::from_str(text).map_err(|error| fail(format!("is not valid: {}", one_line(&error.to_string()))))?;
        let block = genesis.block().map_err(|error| fail(format!("is not valid: {error}")))?;
        Ok(Self {
            cluster_id: block.hash(),
            block,
            name: genesis.name,
            members: genesis.members,
            difficulty: genesis.difficulty,
        })
    }

    /// The position of `id` among the members.
    pub fn position(&self, id: &str) -> Result<NodeId, Failure> {
        self.members
            .iter()
            .position(|member| member.as_str() == id)
            .and_then(|position| u8::try_from(position).ok())
            .map(NodeId)
            .ok_or_else(|| Failure::NotMember { id: id.to_owned(), members: self.names() })
    }

    /// The members, separated by commas.
    pub fn names(&self) -> String {
        self.members.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::Bank;

    const GOOD: &str = r#"
name = "test"
salt = "a salt"
members = ["n1", "n2", "n3"]
difficulty = 8
time_ms = 1700000000000
[[accounts]]
name = "alice"
balance = 100
"#;

    fn load(text: &str) -> Result<Bank, String> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("genesis.toml");
        std::fs::write(&path, text).expect("written");
        Bank::load(&path).map_err(|failure| {
            assert_eq!(failure.exit_code(), 2);
            failure.to_string()
        })
    }

    #[test]
    fn a_node_finds_its_place() {
        let bank = load(GOOD).expect("valid");
        assert_eq!(bank.position("n3").expect("a member").0, 2);
        let failure = bank.position("n4").expect_err("no member");
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("n1, n2, n3"), "{failure}");
    }

    #[test]
    fn what_is_not_a_genesis_is_refused_by_name() {
        for (text, word) in [
            (GOOD.replace("salt =", "sallt ="), "sallt"),
            (GOOD.replace("balance = 100", "balance = 1.5"), "balance"),
            (GOOD.replace("balance = 100", "balance = -5"), "balance"),
            (GOOD.replace("difficulty = 8", "difficulty = 25"), "difficulty"),
            (GOOD.replace("\"n3\"", "\"n1\""), "n1"),
            ("name =".to_owned(), "genesis.toml"),
        ] {
            let message = load(&text).expect_err("must be refused");
            assert!(message.contains(word) && message.contains("genesis.toml"), "{word:?} missing in {message:?}");
            assert!(!message.contains('\n'), "{message:?}");
        }
    }

    #[test]
    fn another_salt_is_another_cluster() {
        let (a, b) = (load(GOOD).expect("valid"), load(&GOOD.replace("a salt", "b salt")).expect("valid"));
        assert_ne!(a.cluster_id, b.cluster_id);
    }
}
