//! What must not leave the machine: log lines that may tell of accounts, and the secrets that are known here.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbank_wire::client::Client;
use toml::{Table, Value};

use crate::doctor::View;
use crate::local::files;

/// What stands in the place of what was removed.
const REMOVED: &str = "[removed]";
/// Words of log lines that may name an account, an amount, a memo, or a client's own key or request id beside them.
const TELLING: [&str; 12] = [
    "account",
    "balance",
    "memo",
    "transfer",
    "credit",
    "debit",
    "amount",
    "insufficient",
    "row of key",
    "the id ",
    "): outcome ",
    " is stored as ",
];
/// A parser that quotes the line which it does not understand.
const QUOTING: &str = "toml parse error";
/// `info` of syslog; `debug` is above it.
const PRIORITY_INFO: u8 = 6;
/// A shorter name is not told from a word, nor a shorter number from a figure: they are removed only where they stand in
/// quotes, as logs and answers write names.
const NAME_BYTES_MIN: usize = 3;
const NUMBER_BYTES_MIN: usize = 6;
/// Words of the parts themselves, which stand in quotes there.
const OWN_WORDS: [&str; 2] = ["ok", "world"];

/// Keeps of a journal what daemons say at the levels info, warn and error, and what systemd says of them. Entries are
/// left out that may be of a finer level, or may tell of accounts. `text` is what `journalctl -r -o json` prints, one
/// entry a line, the newest first; the result is in the order of time.
pub fn journal(text: &str) -> String {
    let entries: Vec<Option<String>> = text.lines().map(kept_of).collect();
    let left_out = entries.iter().filter(|entry| entry.is_none()).count();
    let kept: String = entries.into_iter().flatten().rev().collect();
    kept + &format!("({left_out} lines were left out: debug and trace, or such that may tell of accounts)\n")
}

/// An entry as a line, if it may be told.
fn kept_of(line: &str) -> Option<String> {
    let entry: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| entry.get(key).and_then(serde_json::Value::as_str);
    // What is no text, or too long, comes as something else.
    let message = text("MESSAGE")?;
    if tells(message) {
        return None;
    }
    let who = text("SYSLOG_IDENTIFIER").unwrap_or("?");
    let priority: u8 = text("PRIORITY").and_then(|priority| priority.parse().ok()).unwrap_or(PRIORITY_INFO);
    let fine = match (who, text("_TRANSPORT")) {
        // Of the daemon's own making: its level is the priority.
        ("systemd", _) | (_, Some("journal")) => priority <= PRIORITY_INFO,
        // A line of standard error has the priority of info unless it says another, whatever its level is.
        _ => priority < PRIORITY_INFO || has_level(message),
    };
    let time: u64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let time = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(time))?);
    let said = message.replace('\n', "\\n");
    fine.then(|| format!("{time} {who}[{}] <{priority}>: {said}\n", text("_PID").unwrap_or("?")))
}

/// A line of a daemon's log at a level that may be told; or where it panicked, not with what words.
fn has_level(message: &str) -> bool {
    message.split_whitespace().take(2).any(|word| ["INFO", "WARN", "ERROR"].contains(&word))
        || (message.starts_with("thread '") && message.contains(" panicked at "))
}

/// True for a sentence that may name an account or an amount, or quote a line of a genesis file.
pub fn tells(sentence: &str) -> bool {
    let small = sentence.to_lowercase();
    TELLING.iter().any(|word| small.contains(word)) || small.contains(QUOTING) || of_genesis(&small)
}

/// True for a sentence that says what is wrong with a genesis file.
pub fn of_genesis(sentence: &str) -> bool {
    let small = sentence.to_lowercase();
    small.contains("genesis file") && small.contains("is not valid")
}

/// What is known to be secret: the salt and the private key word by word, and the names of accounts.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Removed wherever they stand.
    texts: Vec<String>,
    /// Removed where they stand as a word.
    names: BTreeSet<String>,
    /// Removed where they stand as a word in quotes.
    short_names: BTreeSet<String>,
}

impl Secrets {
    /// From the genesis file, and from the node, if it answers.
    pub async fn gather(view: &View, limit: Duration) -> Self {
        let mut secrets = Self::default();
        let genesis = view.node.as_ref().ok().and_then(|node| node.genesis.clone());
        // On another thread, for a disk may hang.
        let read = tokio::task::spawn_blocking(move || files::table(&genesis?).ok());
        if let Ok(Ok(Some(table))) = tokio::time::timeout(limit / 4, read).await {
            secrets.of_genesis(&table);
        }
        let ask = async {
            let client = Client::connect(&view.place.socket, limit).await.ok()?;
            match client.call(ApiRequest::Accounts { local: true, timeout_ms: 1_000 }, limit).await {
                Ok(ApiReply::Accounts { accounts, .. }) => Some(accounts),
                _ => None,
            }
        };
        let accounts = tokio::time::timeout(limit / 4 * 3, ask).await.ok().flatten().unwrap_or_default();
        accounts.into_iter().for_each(|(name, _)| secrets.name(&name));
        // A member may be called as an account is.
        if let Some(Ok(genesis)) = &view.genesis {
            secrets.names.retain(|name| !genesis.members.contains(name));
            secrets.short_names.retain(|name| !genesis.members.contains(name));
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
    }

    fn name(&mut self, name: &str) {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let least = if digits { NUMBER_BYTES_MIN } else { NAME_BYTES_MIN };
        if !name.is_empty() && !OWN_WORDS.contains(&name) {
            let names = if name.len() < least { &mut self.short_names } else { &mut self.names };
            names.insert(name.to_owned());
        }
    }

    /// The text without any of them.
    pub fn remove(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.texts {
            text = text.replace(secret.as_str(), REMOVED);
        }
        if self.names.is_empty() && self.short_names.is_empty() {
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
            let quoted = || before.ends_with(['"', '\'', '`']) && after.starts_with(['"', '\'', '`', '\\']);
            let known =
                self.names.contains(word) || self.names.contains(bare) || (self.short_names.contains(word) && quoted());
            out.push_str(if known { REMOVED } else { word });
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::{Secrets, journal};

    fn entry(who: &str, transport: &str, priority: u8, message: &str) -> String {
        let entry = serde_json::json!({
            "__REALTIME_TIMESTAMP": "1767225600000000", "_PID": "7", "SYSLOG_IDENTIFIER": who, "_TRANSPORT": transport,
            "PRIORITY": priority.to_string(), "MESSAGE": message,
        });
        entry.to_string()
    }

    #[test]
    fn a_journal_keeps_what_cannot_tell_of_accounts() {
        let head = "2026-01-01T00:00:00Z ";
        let lines = [
            entry("raftbankd", "journal", 6, "block committed height=7"),
            entry("raftbankd", "journal", 4, "slow: 1200 ms\nand more"),
            entry("raftbankd", "journal", 7, "who=mallory after=5"),
            entry("raftbankd", "journal", 3, "the Balance of mallory is 5"),
            entry("raftbankd", "stdout", 6, &format!("{head} INFO raftbankd: old style")),
            entry("raftbankd", "stdout", 6, &format!("{head}DEBUG raftbankd: who=mallory")),
            entry("raftbankd", "stdout", 6, "mallory, a line that goes on"),
            entry("raftbankd", "stdout", 3, "raftbankd: data folder missing"),
            entry("raftbankd", "stdout", 6, "thread 'store' panicked at daemon/src/x.rs:1:2:"),
            entry("systemd", "journal", 5, "raftbankd.service: Main process exited, code=exited, status=6"),
            entry("raftbankd", "journal", 3, "genesis file /g: is not valid: TOML parse error | salt = \"mallory"),
            entry("raftbankd", "journal", 3, "TOML parse error at line 1 | salt = \"mallory"),
            entry("raftbankd", "journal", 3, "corruption: the row of key \"mallory\" is damaged"),
            entry("raftbankd", "journal", 3, "block 7: the id mallory is in the chain already"),
            entry("raftbankd", "journal", 3, "request 3 (mallory): outcome ok where execution gives refused"),
            entry("raftbankd", "journal", 6, "cut mallory")[..60].to_owned(),
            "{\"MESSAGE\":[109,97],\"__REALTIME_TIMESTAMP\":\"1\"}".to_owned(),
        ];
        let kept = journal(&lines.join("\n"));
        assert!(!kept.contains("mallory"), "{kept}");
        let told: Vec<&str> = kept.lines().collect();
        assert_eq!(told.len(), 7, "{kept}");
        assert_eq!(told[5], "2026-01-01T00:00:00.000Z raftbankd[7] <6>: block committed height=7");
        let parts =
            ["status=6", "panicked", "folder missing", "old style", "1200 ms\\nand", "committed", "(11 lines were"];
        for (line, part) in told.iter().zip(parts) {
            assert!(line.contains(part), "{part}: {kept}");
        }
    }

    #[test]
    fn secrets_are_removed_wherever_they_stand() {
        let mut secrets = Secrets::default();
        let genesis = "salt = \"s4lt\"\n[[accounts]]\nname = \"alice\"\n[[accounts]]\nname = \"a\"\n\
                       [[accounts]]\nname = \"42\"\n[[accounts]]\nname = \"4081781\"\n[[accounts]]\nname = \"ok\"\n";
        secrets.of_genesis(&genesis.parse().expect("toml"));
        let text = "alice, alices; alice. \"alice\" xs4ltx a é 42 \"42\" \\\"a\\\" 'a' 4081781 \"ok\"";
        let removed = secrets.remove(text);
        assert_eq!(
            removed,
            "[removed], alices; [removed] \"[removed]\" x[removed]x a é 42 \"[removed]\" \\\"[removed]\\\" '[removed]' \
             [removed] \"ok\""
        );
    }
}
