//! The commands of the scripts. Time, disks, links and messages do only what a script says, so each step is in the
//! reader's hands. What a command prints: what happened to a node, and indented what the node made of it. `->` is a
//! message that leaves, `after #2 ->` one that leaves once group 2 is durable.

mod disk;
mod driver;
mod mail;
mod print;
mod time;
mod wire;
mod world;

use std::error::Error;
use std::str::FromStr;

use raftbank_consensus::{BarrierId, Index, Input, Term};

use self::mail::Filter;
pub use self::world::World;

/// A node: `n1`, `n2`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub usize);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix('n').and_then(|number| number.parse::<usize>().ok());
        number
            .filter(|number| (1..=7).contains(number))
            .map(|number| Self(number - 1))
            .ok_or(format!("no node: {text}"))
    }
}

/// Values joined by dots: the terms of a log (`1.1.4`), or the nodes of a group (`n1.n2`).
pub struct Dotted<T>(Vec<T>);

impl<T: FromStr> FromStr for Dotted<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.split('.').map(T::from_str).collect::<Result<_, _>>().map(Self)
    }
}

/// Beside these, `mail.rs` has: deliver, drop, hold, copy, release.
#[derive(goldenscript::Command)]
pub enum Command {
    /// Starts nodes with empty disks, and timers in ticks: a heartbeat, and the shortest and longest election timeout.
    Cluster {
        #[arg(key)]
        nodes: usize,
        #[arg(key)]
        heartbeat: Option<u32>,
        #[arg(key)]
        min: Option<u32>,
        #[arg(key)]
        max: Option<u32>,
        /// Bytes of records in one message.
        #[arg(key)]
        chunk: Option<usize>,
        /// Bytes of committed records in memory.
        #[arg(key)]
        cache: Option<usize>,
    },
    /// Gives a node another past: the terms of its records, its term and vote. It starts anew on them.
    Disk {
        node: Name,
        #[arg(key)]
        log: Option<Dotted<Term>>,
        #[arg(key)]
        term: Option<Term>,
        #[arg(key)]
        vote: Option<Name>,
        #[arg(key)]
        applied: Option<Index>,
    },

    /// Time passes at these nodes only.
    Tick { nodes: Dotted<Name>, ticks: Option<u32> },
    /// Time passes at one node until it campaigns, or asks again.
    Campaign { node: Name },
    /// Time passes everywhere, and all is delivered and synced after each tick.
    Pass { ticks: u32 },
    /// Everything is delivered and synced (but on slow disks) until nothing is left to do.
    Settle,
    /// The short way to a leader: the others wait out their leader and do not campaign, this one does; all settles.
    Elect { node: Name },

    /// The oldest groups become durable: all of them, or so many.
    Sync { node: Name, groups: Option<usize> },
    /// `settle` does not sync this disk.
    Slow { node: Name },
    /// `settle` syncs it again.
    Fast { node: Name },
    /// Forgets what is not durable, but for the oldest `keep` groups.
    Crash {
        node: Name,
        #[arg(key)]
        keep: Option<usize>,
    },
    /// Starts again on what is durable.
    Restart { node: Name },
    /// The node ends, its disk is gone, and it starts anew as rejoining.
    #[command(name = "lose-disk")]
    LoseDisk { node: Name },
    /// Every other member tells the rejoining node its durable term.
    Terms { node: Name },
    /// The driver has cleared the rejoining flag.
    Promote { node: Name },

    /// Cuts all links between groups of nodes, as in `partition n1.n2 n3`.
    Partition { groups: Vec<Dotted<Name>> },
    /// Cuts one direction of a link.
    Cut { from: Name, to: Name },
    /// All links work.
    Heal,
    /// The driver of the first node notices that its link to the second was interrupted.
    #[command(name = "link-reset")]
    LinkReset { node: Name, peer: Name },

    /// Proposes an entry, built on the node's term and last record unless others are given.
    Propose {
        node: Name,
        entry: String,
        #[arg(key)]
        term: Option<Term>,
        #[arg(key)]
        last: Option<Index>,
        /// Its size.
        #[arg(key)]
        bytes: Option<usize>,
    },
    /// Asks for a linearizable read.
    Read { node: Name, id: BarrierId },
    /// The driver computed another result for a record that it has just been given.
    Dispute { node: Name, index: Index },
    /// A leader is to hand over to another.
    Transfer { node: Name },
    /// Whether a node may lead.
    Eligible { node: Name, eligible: bool },
    /// Answers the oldest load: with all that was asked for, or with so many records.
    Load { node: Name, records: Option<usize> },

    /// How the nodes see themselves.
    Status { node: Option<Name> },
    /// What the nodes hold.
    Log { node: Option<Name> },
    #[command(other)]
    Mail(goldenscript::Command),
}

impl goldenscript::Runner for World {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        self.out.clear();
        let done = self.execute(command);
        // Seen only if the script fails, and then useful: the walk up to there.
        println!("{}", self.out);
        done.map(|()| std::mem::take(&mut self.out))
    }
}

impl World {
    fn execute(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Cluster { nodes, heartbeat, min, max, chunk, cache } => {
                let timers = raftbank_consensus::Timers {
                    heartbeat_ticks: heartbeat.unwrap_or(2),
                    election_ticks_min: min.unwrap_or(10),
                    election_ticks_max: max.unwrap_or(20),
                };
                self.cluster(*nodes, timers, chunk.unwrap_or(1 << 20), cache.unwrap_or(1 << 20));
            }
            Command::Disk { node, log, term, vote, applied } => {
                let terms = log.as_ref().map_or(&[][..], |log| &log.0);
                self.replace_disk(*node, terms, *term, *vote, applied.unwrap_or(0));
            }
            Command::Tick { nodes, ticks } => {
                for _ in 0..ticks.unwrap_or(1) {
                    nodes.0.iter().try_for_each(|node| self.tick(*node))?;
                }
            }
            Command::Campaign { node } => self.campaign(*node)?,
            Command::Pass { ticks } => self.pass(*ticks)?,
            Command::Settle => self.settle()?,
            Command::Elect { node } => self.elect(*node)?,
            Command::Sync { node, groups } => self.sync(*node, *groups)?,
            Command::Slow { node } => self.node(*node)?.slow = true,
            Command::Fast { node } => self.node(*node)?.slow = false,
            Command::Crash { node, keep } => self.crash(*node, keep.unwrap_or(0))?,
            Command::Restart { node } => self.restart(*node)?,
            Command::LoseDisk { node } => self.lose_disk(*node)?,
            Command::Terms { node } => self.terms(*node)?,
            Command::Promote { node } => self.step(*node, "promoted", Input::Promote)?,
            Command::Partition { groups } => {
                for (at, one) in groups.iter().enumerate() {
                    for other in &groups[..at] {
                        for (a, b) in one.0.iter().flat_map(|a| other.0.iter().map(|b| (*a, *b))) {
                            self.cut.extend([(a, b), (b, a)]);
                        }
                    }
                }
            }
            Command::Cut { from, to } => _ = self.cut.insert((*from, *to)),
            Command::Heal => self.cut.clear(),
            Command::LinkReset { node, peer } => {
                let input = Input::LinkReset(world::id(*peer));
                self.step(*node, &format!("lost its link to n{}", peer.0 + 1), input)?;
            }
            Command::Propose { node, entry, term, last, bytes } => {
                self.propose(*node, entry, *term, *last, bytes.unwrap_or(0))?;
            }
            Command::Read { node, id } => {
                self.step(*node, &format!("is asked for read {id}"), Input::ReadBarrier(*id))?
            }
            Command::Dispute { node, index } => self.dispute(*node, *index)?,
            Command::Transfer { node } => self.step(*node, "is to hand over", Input::TransferLeadership)?,
            Command::Eligible { node, eligible } => {
                let head = if *eligible { "may lead" } else { "must not lead" };
                self.step(*node, head, Input::Eligible(*eligible))?;
            }
            Command::Load { node, records } => self.load(*node, *records)?,
            Command::Status { node } => self.each(*node, Self::print_status),
            Command::Log { node } => self.each(*node, Self::print_log),
            Command::Mail(command) => {
                let mut arguments = command.consume_args();
                let filter = Filter::parse(&mut arguments)?;
                arguments.reject_next()?;
                self.mail_command(&command.name, &filter)?;
            }
        }
        Ok(())
    }
}
