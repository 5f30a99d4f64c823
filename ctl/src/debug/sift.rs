//! What must not leave the machine: log lines that may tell of accounts, and the secrets that are known here.

use std::collections::BTreeSet;
use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbank_wire::client::Client;
use toml::{Table, Value};

use crate::doctor::View;
use crate::local::files;

/// What stands in the place of what was removed.
const REMOVED: &str = "[removed]";
/// Words of log lines that may name an account, an amount or a memo beside them.
const TELLING: [&str; 8] = ["account", "balance", "memo", "transfer", "credit", "debit", "amount", "insufficient"];
/// A shorter name is no secret that could be told from a word. A number is not a name.
const NAME_BYTES_MIN: usize = 3;

/// Keeps of a journal what daemons say at the levels info, warn and error, and what systemd says of them. Lines are
/// left out that have no level (they may continue one that was left out) or may tell of accounts.
pub fn journal(text: &str) -> String {
    let (mut kept, mut left_out) = (String::new(), 0_u64);
    for line in text.lines() {
        match kept_of(line) {
            Some(line) => {
                kept.push_str(line);
                kept.push('\n');
            }
            None => left_out += 1,
        }
    }
    kept + &format!("({left_out} lines were left out: debug and trace, or such that may tell of accounts)\n")
}

fn kept_of(line: &str) -> Option<&str> {
    let (head, said) = line.split_once("]: ")?;
    if tells(said) {
        return None;
    }
    let by_systemd = head.split(' ').any(|word| word.starts_with("systemd["));
    let has_level = said.split_whitespace().take(2).any(|word| ["INFO", "WARN", "ERROR"].contains(&word));
    if by_systemd || has_level {
        return Some(line);
    }
    // Where it panicked, not with what words.
    (said.starts_with("thread '") && said.contains(" panicked at ")).then_some(line)
}

/// True for a sentence that may name an account or an amount.
pub fn tells(sentence: &str) -> bool {
    let small = sentence.to_lowercase();
    TELLING.iter().any(|word| small.contains(word))
}

/// What is known to be secret: the salt and the private key word by word, and the names of accounts.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Removed wherever they stand.
    texts: Vec<String>,
    /// Removed where they stand as a word.
    names: BTreeSet<String>,
}

impl Secrets {
    /// From the genesis file, and from the node, if it answers.
    pub async fn gather(view: &View, limit: Duration) -> Self {
        let mut secrets = Self::default();
        let genesis = view.node.as_ref().ok().and_then(|node| node.genesis.as_deref());
        if let Some(table) = genesis.and_then(|path| files::table(path).ok()) {
            secrets.of_genesis(&table);
        }
        let ask = async {
            let client = Client::connect(&view.place.socket, limit).await.ok()?;
            match client.call(ApiRequest::Accounts { local: true, timeout_ms: 1_000 }, limit).await {
                Ok(ApiReply::Accounts { accounts, .. }) => Some(accounts),
                _ => None,
            }
        };
        let accounts = tokio::time::timeout(limit, ask).await.ok().flatten().unwrap_or_default();
        accounts.into_iter().for_each(|(name, _)| secrets.name(&name));
        // A member may be called as an account is.
        if let Some(Ok(genesis)) = &view.genesis {
            secrets.names.retain(|name| !genesis.members.contains(name));
        }
        secrets
    }

    fn of_genesis(&mut self, table: &Table) {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |key: &str| table.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let salt = table.get("salt").and_then(Value::as_str).map(str::to_owned);
        self.texts.extend(salt.into_iter().filter(|salt| salt.len() >= NAME_BYTES_MIN));
        for account in list("accounts") {
            self.name(&text(&account, "name").unwrap_or_default());
        }
        for transfer in list("transfers") {
            self.texts.extend(text(&transfer, "memo").filter(|memo| memo.len() >= NAME_BYTES_MIN));
        }
    }

    fn name(&mut self, name: &str) {
        if name.len() >= NAME_BYTES_MIN && !name.bytes().all(|byte| byte.is_ascii_digit()) && name != "world" {
            self.names.insert(name.to_owned());
        }
    }

    /// The text without any of them.
    pub fn remove(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.texts {
            text = text.replace(secret.as_str(), REMOVED);
        }
        if self.names.is_empty() {
            return text;
        }
        let (mut out, mut rest) = (String::with_capacity(text.len()), text.as_str());
        // Words of the alphabet of account names.
        let of_name = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        while let Some(start) = rest.find(of_name) {
            let (before, from) = rest.split_at(start);
            let (word, after) = from.split_at(from.find(|c| !of_name(c)).unwrap_or(from.len()));
            out.push_str(before);
            // A full stop or a colon may follow a name.
            let bare = word.trim_end_matches(['.', ':']);
            let known = self.names.contains(word) || self.names.contains(bare);
            out.push_str(if known { REMOVED } else { word });
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::{Secrets, journal};

    #[test]
    fn a_journal_keeps_what_cannot_tell_of_accounts() {
        let head = "2026-01-01T00:00:00+0000 raftbankd[7]: 2026-01-01T00:00:00Z ";
        let lines = [
            format!("{head} INFO raftbankd::runtime::notices: block committed height=7"),
            format!("{head} WARN raftbankd: the disk took 1200 ms for one sync"),
            format!("{head}DEBUG raftbankd: height=7 who=\"mallory\" after=5"),
            format!("{head}TRACE raftbankd: mallory"),
            format!("{head}ERROR raftbankd: the Balance of mallory is 5"),
            "2026-01-01T00:00:00+0000 raftbankd[7]: mallory, a line that goes on".to_owned(),
            "mallory".to_owned(),
            "2026-01-01T00:00:00+0000 raftbankd[7]: thread 'store' panicked at daemon/src/x.rs:1:2:".to_owned(),
            "2026-01-01T00:00:00+0000 systemd[1]: raftbankd.service: Main process exited, code=exited, status=6"
                .to_owned(),
        ];
        let kept = journal(&lines.join("\n"));
        assert!(!kept.contains("mallory"), "{kept}");
        for part in ["block committed", "1200 ms", "panicked", "status=6", "(5 lines were left out"] {
            assert!(kept.contains(part), "{part}: {kept}");
        }
    }

    #[test]
    fn secrets_are_removed_wherever_they_stand() {
        let mut secrets = Secrets::default();
        let genesis = "salt = \"s4lt\"\n[[accounts]]\nname = \"alice\"\n[[accounts]]\nname = \"a\"\n\
                       [[transfers]]\nfrom = \"a\"\nto = \"alice\"\namount = 1\nmemo = \"for é\"\n";
        secrets.of_genesis(&genesis.parse().expect("toml"));
        let text = "alice, alices; alice. \"alice\" xs4ltx for é a é";
        let removed = secrets.remove(text);
        assert_eq!(removed, "[removed], alices; [removed] \"[removed]\" x[removed]x [removed] a é");
    }
}
