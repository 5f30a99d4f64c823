//! `bankctl shell`: the verbs at a prompt, with history and completion; a script may be piped in as well.

use std::io::{BufRead, IsTerminal};

use clap::{CommandFactory, Parser};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};

use crate::args::{Args, Verb};
use crate::failure::Failure;
use crate::output::{line, note};
use crate::verbs::Context;

const HELP: &str = "\
use ACCOUNT       choose the account that query, credit N and debit N act on
query             its balance
credit N          cash in
debit N           cash out
exit              leave (or Ctrl-D)
and every verb of bankctl: open, balance, accounts, transfer, post, void, pending, linked, put, get, show, history,
statement, receipt, status, block, blocks, verify, partition, link";

const OWN: [&str; 7] = ["use", "query", "credit", "debit", "help", "exit", "quit"];

/// Runs until the input ends. A failed command does not end the shell.
///
/// # Errors
/// The terminal cannot be used.
pub async fn run(context: &mut Context, args: &Args) -> Result<(), Failure> {
    let mut teller = Teller { account: None, args: args.clone() };
    if !std::io::stdin().is_terminal() {
        for text in std::io::stdin().lock().lines() {
            let text = text.map_err(|error| Failure::internal(error.to_string()))?;
            if !teller.obey(context, &text).await {
                return Ok(());
            }
        }
        return Ok(());
    }
    let mut editor: Editor<Completion, DefaultHistory> =
        Editor::new().map_err(|error| Failure::internal(format!("the terminal cannot be used: {error}")))?;
    editor.set_helper(Some(Completion::new()));
    note("raftbank teller; help lists the commands, exit leaves");
    loop {
        let prompt = teller.account.as_ref().map_or_else(|| "bank> ".to_owned(), |account| format!("{account}> "));
        match editor.readline(&prompt) {
            Ok(text) => {
                let _ = editor.add_history_entry(&text); // a full history is no reason to stop
                if !teller.obey(context, &text).await {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::internal(format!("the terminal cannot be read: {error}"))),
        }
    }
}

struct Teller {
    account: Option<String>,
    args: Args,
}

impl Teller {
    /// Does what one line says; `false` to leave.
    async fn obey(&mut self, context: &mut Context, text: &str) -> bool {
        let words = match split(text) {
            Ok(words) => words,
            Err(problem) => {
                note(&format!("error: {problem}"));
                return true;
            }
        };
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            [] => return true,
            ["exit" | "quit"] => return false,
            ["help"] => {
                line(HELP);
                return true;
            }
            ["use", account] => {
                match crate::verbs::writes::account(account) {
                    Ok(account) => self.account = Some(account.to_string()),
                    Err(failure) => context.out.failure(&failure),
                }
                return true;
            }
            ["query"] | ["credit" | "debit", _] => {
                let Some(account) = &self.account else {
                    note("error: no account is chosen; choose one with: use ACCOUNT");
                    return true;
                };
                if words[0] == "query" {
                    words[0] = "balance";
                }
                words.insert(1, account);
            }
            _ => {}
        }
        let known = Args::command().get_subcommands().any(|verb| verb.get_name() == words[0]);
        if !known {
            note(&format!("error: Invalid command {:?}; help lists the commands", words[0]));
            return true;
        }
        let args = match Args::try_parse_from(std::iter::once("bankctl").chain(words)) {
            Ok(args) => Args { verb: args.verb, ..self.args.clone() },
            Err(error) => {
                note(error.to_string().trim_end());
                return true;
            }
        };
        if matches!(args.verb, Verb::Shell | Verb::Dev { .. } | Verb::Bench(_) | Verb::Demo { .. }) {
            note("error: this verb does not run inside the shell");
            return true;
        }
        match Box::pin(crate::dispatch(context, &args)).await {
            Ok(_) => {}
            Err(failure) => context.out.failure(&failure),
        }
        true
    }
}

/// Words between spaces; quotes keep spaces in a word.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote, mut started) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                started = true;
            }
            None if c.is_whitespace() => {
                if started || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
            }
            None => word.push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if started || !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Completes the first word.
struct Completion {
    verbs: Vec<String>,
}

impl Completion {
    fn new() -> Self {
        let mut verbs: Vec<String> = Args::command()
            .get_subcommands()
            .map(|verb| verb.get_name().to_owned())
            .filter(|verb| !["shell", "dev", "demo", "help"].contains(&verb.as_str()))
            .chain(OWN.map(str::to_owned))
            .collect();
        verbs.sort();
        verbs.dedup();
        Self { verbs }
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, text: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = text.get(..at).unwrap_or(text);
        if typed.contains(' ') {
            return Ok((at, Vec::new()));
        }
        Ok((0, self.verbs.iter().filter(|verb| verb.starts_with(typed)).map(|verb| format!("{verb} ")).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_and_quotes() {
        assert_eq!(
            split("transfer a b 1 --memo 'two words'"),
            Ok(["transfer", "a", "b", "1", "--memo", "two words"].map(str::to_owned).to_vec())
        );
        assert_eq!(split("  put k \"\" "), Ok(["put", "k", ""].map(str::to_owned).to_vec()));
        assert_eq!(split(""), Ok(Vec::new()));
        assert!(split("put k 'open").is_err());
    }
}
