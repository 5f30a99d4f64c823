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
            toml::from_str(text).map_err(|error| fail(format!("is not valid: {}", unquoted(text, &error))))?;
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

/// Keys of a genesis file, which may be told; what stands beside them may not.
const KEYS: [&str; 11] =
    ["name", "salt", "members", "difficulty", "time_ms", "accounts", "balance", "transfers", "from", "to", "amount"];

/// Where the file is wrong, and how, without its text: the line may be the salt, and its value somebody's balance.
fn unquoted(text: &str, error: &toml::de::Error) -> String {
    let what = without_values(error.message());
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return what };
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split('=').next().map(str::trim).filter(|key| KEYS.contains(key));
    match key {
        Some(key) => format!("line {number}, {key}: {what}"),
        None => format!("line {number}: {what}"),
    }
}

/// A message of the parser on one line. Serde quotes the value that it did not expect: "invalid type: floating point
/// `1.5`, expected u64".
fn without_values(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((kind, rest)) = message.split_once(": ").filter(|(kind, _)| kind.starts_with("invalid ")) else {
        return message;
    };
    // The last: a value may have the word in it.
    let expected = rest.rfind(", expected ").map_or("", |at| &rest[at..]);
    let unexpected = rest.split(['`', '"']).next().unwrap_or_default();
    // Without a quote there is no value: "invalid type: map, expected a sequence".
    if unexpected.len() == rest.len() { message } else { format!("{kind}: {}{expected}", unexpected.trim_end()) }
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
    fn no_value_of_the_file_is_quoted() {
        for (text, words) in [
            (GOOD.replace("\"a salt\"", "\"s4lt"), ["line 3", "salt"]),
            (GOOD.replace("\"a salt\"", "s4lt"), ["line 3", "salt"]),
            (GOOD.replace("\"a salt\"", "31337"), ["line 3", "salt"]),
            (GOOD.replace("\"a salt\"", "\"s4lt\" \"s4lt\""), ["line 3", "salt"]),
            (GOOD.replace("= 100", "= 31337.5"), ["line 9", "balance"]),
            (GOOD.replace("= 100", "= \"31337, expected 31337\""), ["line 9", "expected"]),
            (GOOD.replace("= 100", "= -31337"), ["line 9", "balance"]),
            (GOOD.replace("\"alice\"", "7331.5"), ["line 8", "name"]),
        ] {
            let message = load(&text).expect_err("must be refused");
            assert!(words.iter().all(|word| message.contains(word)), "{words:?} missing in {message:?}");
            assert!(!["s4lt", "31337", "7331"].iter().any(|secret| message.contains(secret)), "{message:?}");
        }
    }

    #[test]
    fn another_salt_is_another_cluster() {
        let (a, b) = (load(GOOD).expect("valid"), load(&GOOD.replace("a salt", "b salt")).expect("valid"));
        assert_ne!(a.cluster_id, b.cluster_id);
    }
}
