//! Messages under way, in the order in which they were sent, and what a script may do with them. All commands take the
//! same filter: `from=n1 to=n2 kind=append`, of those the first `count=2`, or only the second (`pick=2`).

use std::error::Error;

use raftbank_consensus::{Input, Message};

use super::Name;
use super::world::{World, id};

/// A message between two nodes.
#[derive(Clone)]
pub struct Letter {
    pub from: Name,
    pub to: Name,
    pub message: Message,
}

/// Which messages.
pub struct Filter {
    from: Option<Name>,
    to: Option<Name>,
    kind: Option<String>,
    count: Option<usize>,
    pick: Option<usize>,
}

impl Filter {
    pub fn parse(arguments: &mut goldenscript::ArgumentConsumer<'_>) -> Result<Self, Box<dyn Error>> {
        let mut key = |key: &str| arguments.take_key(key).map(str::to_owned);
        Ok(Self {
            from: key("from").map(|text| text.parse()).transpose()?,
            to: key("to").map(|text| text.parse()).transpose()?,
            kind: key("kind"),
            count: key("count").map(|text| text.parse()).transpose()?,
            pick: key("pick").map(|text| text.parse()).transpose()?,
        })
    }

    fn fits(&self, letter: &Letter) -> bool {
        self.from.is_none_or(|from| from == letter.from)
            && self.to.is_none_or(|to| to == letter.to)
            && self.kind.as_ref().is_none_or(|kind| kind == letter.message.kind())
    }

    /// Takes these out of `letters`. A script that means messages which do not exist is wrong.
    fn take(&self, letters: &mut Vec<Letter>) -> Result<Vec<Letter>, Box<dyn Error>> {
        let mut seen = 0;
        let (taken, left): (Vec<_>, Vec<_>) = std::mem::take(letters).into_iter().partition(|letter| {
            let fits = self.fits(letter);
            seen += usize::from(fits);
            fits && self.count.is_none_or(|count| seen <= count) && self.pick.is_none_or(|pick| seen == pick)
        });
        *letters = left;
        if taken.is_empty() { Err("no such message".into()) } else { Ok(taken) }
    }
}

impl World {
    pub fn mail_command(&mut self, command: &str, filter: &Filter) -> Result<(), Box<dyn Error>> {
        match command {
            // Those under way now, not those that they cause.
            "deliver" => {
                for letter in filter.take(&mut self.mail)? {
                    self.deliver(letter)?;
                }
            }
            "drop" => {
                for letter in filter.take(&mut self.mail)? {
                    self.print_letter("lost", &letter);
                }
            }
            // Keeps them back until they are released.
            "hold" => {
                for letter in filter.take(&mut self.mail)? {
                    self.print_letter("held", &letter);
                    self.held.push(letter);
                }
            }
            // Keeps a second copy back.
            "copy" => {
                for letter in filter.take(&mut self.mail.clone())? {
                    self.print_letter("copied", &letter);
                    self.held.push(letter);
                }
            }
            // They are under way again, behind all others.
            "release" => {
                let letters = filter.take(&mut self.held)?;
                self.mail.extend(letters);
            }
            _ => return Err(format!("no such command: {command}").into()),
        }
        Ok(())
    }

    fn print_letter(&mut self, what: &str, letter: &Letter) {
        let text = self.reader.message(&letter.message);
        self.line(&format!("{what}: n{} -> n{} {text}", letter.from.0 + 1, letter.to.0 + 1));
    }

    /// Sends over a link that may be cut, to a node that may be down.
    pub fn send(&mut self, from: Name, to: Name, message: Message) {
        self.check_promise(from, &message);
        let lost = self.cut.contains(&(from, to)) || self.nodes[to.0].engine.is_none();
        let text = self.reader.message(&message);
        self.line(&format!("  -> n{} {text}{}", to.0 + 1, if lost { " (lost)" } else { "" }));
        if !lost {
            self.mail.push(Letter { from, to, message });
        }
    }

    pub fn deliver(&mut self, letter: Letter) -> Result<(), Box<dyn Error>> {
        if self.nodes[letter.to.0].engine.is_none() {
            self.print_letter("lost", &letter);
            return Ok(());
        }
        let head = format!("<- n{} {}", letter.from.0 + 1, self.reader.message(&letter.message));
        self.step(letter.to, &head, Input::Receive { from: id(letter.from), message: letter.message })
    }

    /// Nothing leaves that promises more than the sender's disk holds: a second look at what `gated` is for.
    fn check_promise(&self, from: Name, message: &Message) {
        let (durable, term) = (&self.nodes[from.0].disk.durable, message.term());
        match message.kind() {
            "vote" | "transfer-vote" => {
                assert!(durable.hard.term >= term, "a vote is asked for in a term that is not durable")
            }
            "vote-granted" => assert!(durable.hard.term >= term, "a vote is not durable"),
            _ => {}
        }
        if let Some(index) = message.acknowledged() {
            let end = durable.records.len() as u64;
            assert!(index <= end && durable.hard.term >= term, "record {index} is not durable, the log ends at {end}");
        }
    }
}
