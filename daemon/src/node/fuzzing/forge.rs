//! Frames that a hostile member makes up: well-formed, about terms, records and blocks that could be, and lies.
//!
//! A message of consensus cannot be made from outside, so it is spelled byte by byte, as its golden tests have it.

use raftbank_ledger::{Block, Hash, Header, NodeName, State, pow};
use raftbank_proofs::{Checkpoint, Head};
use raftbank_store::Reader;
use raftbank_wire::api::{ApiReply, FailKind, WriteOutcome};

use super::super::message::{Ask, Body, CallName};
use super::machine::{Machine, Process, signer};
use super::{MEMBERS, Program, rules};

/// The bytes of a frame around the bytes of its body.
pub(super) fn envelope(cluster: Hash, incarnation: u64, wall_ms: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = cluster.0.to_vec();
    bytes.extend(incarnation.to_le_bytes());
    bytes.extend(wall_ms.to_le_bytes());
    bytes.extend(body);
    bytes
}

impl Machine {
    /// A body for this node that `from` might have sent. `None` if this node is down.
    pub(super) fn forge(&self, from: u8, wall_ms: u64, program: &mut Program<'_>) -> Option<Vec<u8>> {
        let process = self.process()?;
        let body = match program.byte() % 25 {
            0..14 => return Some(self.forge_raft(process, from, wall_ms, program)),
            14 => Body::Forward {
                call: CallName { life: program.byte().into(), number: program.byte().into() },
                ask: match program.byte() % 8 {
                    0..3 => Ask::Write(rules::write(program).encode()),
                    3 => Ask::Balance(rules::account(program).to_string()),
                    4 => Ask::Accounts,
                    5 => Ask::WriteMany(rules::many(program)),
                    7 => Ask::Funds(rules::account(program).to_string()),
                    _ => Ask::Get(program.chunk().to_vec()),
                },
                timeout_ms: u32::from(program.byte()) * 20,
            },
            15 => Body::Answer {
                call: CallName { life: program.near(self.seed()), number: program.byte().into() },
                reply: reply(program),
            },
            16 => Body::Beacon { height: program.near(process.node.state().tip().height) },
            17 => {
                let known = self.challenges.get(&from).copied().unwrap_or(0);
                Body::Rejoin { proof: program.near(known) }
            }
            18 => Body::RejoinChallenge { incarnation: program.near(self.incarnation), challenge: program.near(0) },
            19..24 => forge_head(process, from, program),
            _ => Body::RejoinTerm {
                incarnation: program.near(self.incarnation),
                term: program.near(process.node.role().2),
            },
        };
        Some(raftbank_codec::encode(&body))
    }

    fn forge_raft(&self, process: &Process, from: u8, wall_ms: u64, program: &mut Program<'_>) -> Vec<u8> {
        let status = process.node.engine_status();
        let term = program.near(status.term);
        let mut out = Spelled::default();
        out.short(0).long(term);
        match program.byte() % 16 {
            0 => out.short(0).log_end(program, status.term, status.last_index),
            1 => out.short(1).long(program.near(status.term + 1)).flag(program.byte() & 3 != 0),
            2 => out.short(2).log_end(program, status.term, status.last_index),
            3 => out.short(3).flag(program.byte() & 3 != 0),
            4 => out.short(6),
            5..11 => {
                let prev_index = match program.byte() % 4 {
                    0 => status.committed,
                    1 => process.node.applied(),
                    _ => program.near(status.last_index),
                };
                let known = process.reader.records(prev_index, 1).ok().and_then(|records| records.first().cloned());
                let own = known.filter(|record| record.index == prev_index).map_or(0, |record| record.term);
                let prev_term = if program.byte() < 200 { own } else { program.near(own) };
                out.short(4).long(prev_index).long(prev_term);
                out.long(program.near(status.committed)).long(program.near(0)).long(program.near(status.last_index));
                out.long(program.byte().into());
                forge_records(&mut out, process, from, wall_ms, (prev_index, prev_term, term), program);
                &mut out
            }
            11 => out.short(7).log_end(program, status.term, status.last_index),
            12 => out.short(8).log_end(program, status.term, status.last_index),
            _ => {
                let verified = program.near(status.last_index);
                out.short(5).long(verified).long(program.near(verified)).long(program.near(0));
                match program.byte() % 3 {
                    0 => {
                        let refused = program.near(status.last_index);
                        out.byte(1).long(refused).long(program.near(refused)).long(program.near(status.term));
                    }
                    _ => drop(out.byte(0)),
                }
                for base in [status.last_index, 0] {
                    match program.byte() % 4 {
                        0 => drop(out.byte(1).long(program.near(base))),
                        _ => drop(out.byte(0)),
                    }
                }
                &mut out
            }
        };
        out.0
    }
}

/// What is said about signed heads. The liars may have each other's keys, and old ones.
fn forge_head(process: &Process, from: u8, program: &mut Program<'_>) -> Body {
    let log = process.node.state().log();
    let cluster_id = process.node.state().cluster_id();
    let size = program.near(log.size());
    let root = match program.byte() % 4 {
        0 => Hash([program.byte(); 32]),
        _ => log.root(),
    };
    let head = Head { cluster_id, size, root };
    match program.byte() % 6 {
        5 => Body::Version {
            asks: program.byte() & 1 == 1,
            software: String::from_utf8_lossy(program.chunk()).into_owned(),
        },
        0 => Body::Key {
            public: match program.byte() % 4 {
                0 => [program.byte(); 32],
                1 => signer(program.byte() % 4, &cluster_id).verifier().public(),
                _ => signer(from, &cluster_id).verifier().public(),
            },
        },
        1 => Body::SignHead { size, root: root.0 },
        2 => Body::HeadSigned {
            size,
            signature: match program.byte() % 4 {
                0 => program.chunk().to_vec(),
                _ => signer(from, &cluster_id).sign(&head.text(), 0),
            },
        },
        3 => Body::Head { note: String::from_utf8_lossy(program.chunk()).into_owned() },
        _ => {
            let mut checkpoint = Checkpoint::new(head);
            let signers = program.byte();
            (0..MEMBERS)
                .filter(|id| signers >> id & 1 == 1)
                .for_each(|id| checkpoint.sign(&signer(id, &cluster_id), 0));
            Body::Head { note: checkpoint.to_string() }
        }
    }
}

/// Up to four records behind another one. Their blocks fit onto this node's state if that is where they begin.
fn forge_records(
    out: &mut Spelled,
    process: &Process,
    from: u8,
    wall_ms: u64,
    (prev_index, prev_term, leader_term): (u64, u64, u64),
    program: &mut Program<'_>,
) {
    let count = program.byte() % 5;
    out.long(count.into());
    let mut state = process.node.state().clone();
    let mut term = prev_term;
    for number in 1..=u64::from(count) {
        let index = match program.byte() {
            250.. => program.near(prev_index),
            _ => prev_index.wrapping_add(number),
        };
        term = match program.byte() % 4 {
            0 => term.max(1),
            1 => program.near(term),
            _ => leader_term,
        };
        out.long(index).long(term);
        match program.byte() % 8 {
            0 | 1 => drop(out.byte(0)),
            2 => drop(out.byte(1).bytes(program.chunk())),
            3 => {
                // What stands there already, under this term.
                let records = process.reader.records(index, 1).unwrap_or_default();
                match records.first().and_then(|record| record.entry.as_ref()) {
                    Some(entry) => drop(out.byte(1).bytes(entry)),
                    None => drop(out.byte(0)),
                }
            }
            kind => {
                let mut block = forge_block(&mut state, from, wall_ms, term, program);
                if kind == 4 && !block.is_empty() {
                    let at = (usize::from(program.byte()) << 8 | usize::from(program.byte())) % block.len();
                    block[at] ^= program.byte();
                }
                out.byte(1).bytes(&block);
            }
        }
    }
}

/// A block that fits onto a state, which it changes.
fn forge_block(state: &mut State, from: u8, wall_ms: u64, term: u64, program: &mut Program<'_>) -> Vec<u8> {
    let batch: Vec<_> = (0..program.byte() % 3).map(|_| rules::write(program)).collect();
    let proposer = NodeName::parse(&format!("n{}", from + 1)).expect("a name");
    let time_ms = if program.byte() < 240 { wall_ms } else { program.near(wall_ms) };
    let executed = state.execute(batch, time_ms);
    let header = executed.seal(state, term, proposer);
    let nonce = pow::mine(&header, 0, 1 << 10).unwrap_or(0);
    let block = Block { header: Header { nonce, ..header }, entries: executed.entries() };
    let bytes = block.encode();
    // One that the state refuses changes nothing; the next one will not fit either.
    let _ = state.commit(executed, &block.header);
    bytes
}

fn reply(program: &mut Program<'_>) -> Option<ApiReply> {
    Some(match program.byte() % 8 {
        0 => return None,
        1 => return raftbank_codec::decode(program.chunk(), 1 << 20).ok(),
        2..5 => ApiReply::Written {
            id: rules::id(program).to_string(),
            outcome: match program.byte() % 2 {
                0 => WriteOutcome::Committed,
                _ => WriteOutcome::Refused { code: "insufficient_funds".into(), message: "no".into() },
            },
            height: program.byte().into(),
            index: program.byte().into(),
            duplicate: program.byte() & 1 == 0,
        },
        5 => ApiReply::Balance {
            account: rules::account(program).to_string(),
            balance: program.byte().into(),
            pending: 0,
            height: program.byte().into(),
            local: program.byte() & 3 == 0,
        },
        6 => ApiReply::Value { key: vec![program.byte() % 4], value: Vec::new(), height: 1 },
        _ => {
            let kind = match program.byte() % 4 {
                0 => FailKind::NotExecuted,
                1 => FailKind::Unknown,
                2 => FailKind::Refused,
                _ => FailKind::Corruption,
            };
            ApiReply::Failed { kind, code: "code".into(), message: "message".into() }
        }
    })
}

/// A message of consensus in the making.
#[derive(Debug, Default)]
struct Spelled(Vec<u8>);

impl Spelled {
    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    fn flag(&mut self, flag: bool) -> &mut Self {
        self.byte(flag.into())
    }

    fn short(&mut self, number: u32) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn long(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.long(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn log_end(&mut self, program: &mut Program<'_>, term: u64, index: u64) -> &mut Self {
        self.long(program.near(term)).long(program.near(index))
    }
}
