//! Simulated clients. Each gives one command after the other, as a person with the command line would: a write is asked
//! again under the same id, through any node, until its outcome is known. Within a command the shipping rule for asking
//! again ([`raftbank_wire::retry`]) decides. Now and then a client asks for an old request once more, or uses an old id
//! for something else.

use raftbank_consensus::NodeId;
use raftbank_ledger::Request;
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, WatchEvent, WriteOutcome};
use raftbank_wire::retry::{Heard, Next, WriteRetry};

use super::Violation;
use super::event::Event;
use super::many;
use super::observe::violated;
use super::requests;
use super::world::World;
use crate::history::{Attempt, Fate, Sight, View};

/// Between two tries to reach a node that was reached before, as in the command line.
const RETRY_EVERY_US: u64 = 50_000;

/// What a command is about.
#[derive(Clone, Debug)]
enum Task {
    /// A write; its outcome is to be found out.
    Write(Request),
    /// An old request once more: the same outcome must come back.
    Repeat(Request, Fate),
    /// An old id for something else: it must be refused.
    Reuse(Request),
    /// A read.
    Read { request: ApiRequest, linearizable: bool },
}

/// A command under way.
#[derive(Clone, Debug)]
struct Command {
    number: u64,
    task: Task,
    node: NodeId,
    sent_us: u64,
    deadline_us: u64,
    retry: WriteRetry,
    /// The copy that is not answered yet.
    copy: Option<u64>,
}

/// A write whose outcome is not known yet, over several commands.
#[derive(Clone, Debug)]
struct Open {
    request: Request,
    sent_us: u64,
    tries: u32,
    /// Some command ended as unknown: a later "not executed" says nothing about it.
    exposed: bool,
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    pauses_us: u64,
    home: NodeId,
    command: Option<Command>,
    open: Option<Open>,
    next_id: u64,
    next_number: u64,
    /// Acknowledged requests, the last few.
    old: Vec<(Request, Fate)>,
    /// Copy, node, epoch and token of the request that a node is working on.
    pub token: Option<(u64, NodeId, u64, u64)>,
    /// Writes acknowledged, and reads answered.
    pub served: (u64, u64),
}

impl Client {
    /// Nothing is known to be open.
    pub fn is_settled(&self) -> bool {
        self.open.is_none()
    }
}

impl World {
    /// Adds clients that each do something about every `pauses_us`.
    pub fn add_clients(&mut self, count: usize, pauses_us: u64) {
        for _ in 0..count {
            let at = self.clients.len();
            let ids = self.ids();
            let home = self.dice.pick(&ids);
            self.clients.push(Client {
                pauses_us,
                home,
                command: None,
                open: None,
                next_id: 0,
                next_number: 0,
                old: Vec::new(),
                token: None,
                served: (0, 0),
            });
            self.later(pauses_us, Event::Client(at));
        }
    }

    pub(super) fn client_acts(&mut self, at: usize) -> Result<(), Violation> {
        let pauses_us = self.clients[at].pauses_us;
        let pause_us = self.dice.range(pauses_us / 2, pauses_us * 2);
        self.later(pause_us, Event::Client(at));
        if self.clients[at].command.is_some() || self.resting {
            return Ok(());
        }
        if self.dice.chance(100) {
            let ids = self.ids();
            self.clients[at].home = self.dice.pick(&ids);
        }
        let task = self.next_task(at);
        let timeout_us = self.dice.pick(&[200_000, 1_000_000, 3_000_000]);
        let client = &mut self.clients[at];
        client.next_number += 1;
        client.command = Some(Command {
            number: client.next_number,
            task,
            node: client.home,
            sent_us: self.now_us,
            deadline_us: self.now_us + timeout_us,
            retry: WriteRetry::default(),
            copy: None,
        });
        let command = client.next_number;
        self.later(timeout_us, Event::Deadline { client: at, command });
        self.client_reconnects(at, command)
    }

    fn next_task(&mut self, at: usize) -> Task {
        if self.dice.chance(300) {
            let local = self.dice.chance(300);
            return Task::Read { request: requests::read(&mut self.dice, local, 1_000), linearizable: !local };
        }
        let client = &mut self.clients[at];
        if let Some(open) = &client.open {
            return Task::Write(open.request.clone());
        }
        if !client.old.is_empty() && self.dice.chance(60) {
            let number = self.dice.below(client.old.len() as u64) as usize;
            let (request, fate) = client.old[number].clone();
            if self.dice.chance(500) {
                return Task::Repeat(request, fate);
            }
            let (prefix, old) = request.id.as_str().split_at(format!("c{at}-").len());
            let other = requests::write(&mut self.dice, prefix, old.parse().unwrap_or(0));
            if other != request {
                return Task::Reuse(other);
            }
        }
        let number = client.next_id;
        client.next_id += 1;
        let request = requests::write(&mut self.dice, &format!("c{at}-"), number);
        self.clients[at].open = Some(Open { request: request.clone(), sent_us: self.now_us, tries: 0, exposed: false });
        Task::Write(request)
    }

    /// Connects and sends, or tries again a little later. A first connection that is refused ends the command.
    pub(super) fn client_reconnects(&mut self, at: usize, number: u64) -> Result<(), Violation> {
        let Some(command) = self.clients[at].command.as_ref().filter(|command| command.number == number) else {
            return Ok(());
        };
        let (node, copy) = (command.node, self.next_token);
        let left_ms = command.deadline_us.saturating_sub(self.now_us) / 1_000;
        let timeout_ms = WriteRetry::timeout_ms(left_ms);
        let together = self.dice.chance(300);
        let request = match &command.task {
            Task::Write(request) | Task::Repeat(request, _) | Task::Reuse(request) if together => {
                let old = self.clients[at].old.first().map(|(old, _)| old).filter(|old| old.id != request.id);
                many::pack(request, old, timeout_ms)
            }
            Task::Write(request) | Task::Repeat(request, _) | Task::Reuse(request) => {
                ApiRequest::Write { request: request.encode(), timeout_ms }
            }
            Task::Read { request, .. } => request.clone(),
        };
        if !self.machine(node).runs() {
            let is_first = command.sent_us == self.now_us;
            if is_first && self.machine(node).process.is_none() {
                return self.client_heard_nothing_ever(at); // nobody listens
            }
            self.later(RETRY_EVERY_US, Event::Reconnect { client: at, command: number });
            return Ok(());
        }
        self.next_token += 1;
        if let Some(command) = self.clients[at].command.as_mut() {
            command.copy = Some(copy);
        }
        let epoch = self.machine(node).epoch;
        let delay_us = self.dice.range(20, 300);
        self.later(delay_us, Event::Api { node, epoch, client: at, copy, request });
        Ok(())
    }

    /// A node answers under a token.
    pub(super) fn replied(&mut self, node: NodeId, token: u64, reply: ApiReply, last: bool) -> Result<(), Violation> {
        let now_us = self.now_us;
        let Some(process) = self.machine_mut(node).process.as_mut() else { return Ok(()) };
        if process.watcher == Some(token) {
            if let ApiReply::Event(WatchEvent::Balance { account, balance, height }) = reply {
                let sight = Sight::Balance(account, Some(balance));
                self.sees(node, now_us, false, Some(height), sight);
            }
            return Ok(());
        }
        let Some(client) = process.tokens.remove(&token) else {
            violated!("{node:?} answers token {token}, which is answered already, with {reply:?}");
        };
        if !last {
            violated!("{node:?} answers token {token} in part: {reply:?}");
        }
        let Some((copy, ..)) = self.clients[client].token.filter(|(.., open)| *open == token) else { return Ok(()) };
        self.clients[client].token = None;
        let delay_us = self.dice.range(20, 300);
        self.later(delay_us, Event::Answer { client, copy, node, reply });
        Ok(())
    }

    fn waits_for(&self, at: usize, copy: u64) -> bool {
        self.clients
            .get(at)
            .is_some_and(|client| client.command.as_ref().is_some_and(|command| command.copy == Some(copy)))
    }

    pub(super) fn client_answered(
        &mut self,
        at: usize,
        copy: u64,
        node: NodeId,
        reply: ApiReply,
    ) -> Result<(), Violation> {
        if !self.waits_for(at, copy) {
            return Ok(());
        }
        self.trace.line(self.now_us, format_args!("client {at} hears from {node:?}: {reply:?}"));
        let reply = match self.clients[at].command.as_ref().map(|command| &command.task) {
            Some(Task::Write(request) | Task::Repeat(request, _) | Task::Reuse(request)) => {
                many::first(request, reply)?
            }
            Some(Task::Read { .. }) | None => reply,
        };
        self.client_heard(at, Some(reply))
    }

    pub(super) fn client_broken(&mut self, at: usize, copy: u64) -> Result<(), Violation> {
        if self.waits_for(at, copy) { self.client_heard(at, None) } else { Ok(()) }
    }

    /// The node has answered, or the connection broke.
    fn client_heard(&mut self, at: usize, heard: Option<ApiReply>) -> Result<(), Violation> {
        let Some(command) = self.clients[at].command.as_mut() else { return Ok(()) };
        command.copy = None;
        let number = command.number;
        if let Task::Read { linearizable, .. } = command.task {
            let (node, sent_us) = (command.node, command.sent_us);
            self.clients[at].command = None;
            if let Some(reply) = heard {
                self.read_answered(at, node, sent_us, linearizable, reply)?;
            }
            return Ok(());
        }
        match command.retry.heard(heard.as_ref().map_or(Heard::Nothing, Heard::Reply)) {
            Next::Done => self.write_ended(at, heard),
            Next::Again => {
                let delay_us = if heard.is_some() { RETRY_EVERY_US } else { 1_000 };
                self.later(delay_us, Event::Reconnect { client: at, command: number });
                Ok(())
            }
        }
    }

    /// The first connection was refused.
    fn client_heard_nothing_ever(&mut self, at: usize) -> Result<(), Violation> {
        let ids = self.ids();
        self.clients[at].home = self.dice.pick(&ids);
        match self.clients[at].command.as_ref().map(|command| &command.task) {
            Some(Task::Read { .. }) | None => {
                self.clients[at].command = None;
                Ok(())
            }
            Some(_) => self.write_ended(at, None),
        }
    }

    pub(super) fn client_gives_up(&mut self, at: usize, number: u64) -> Result<(), Violation> {
        let client = &mut self.clients[at];
        let Some(command) = client.command.as_mut().filter(|command| command.number == number) else { return Ok(()) };
        if command.copy.take().is_some() {
            command.retry.heard(Heard::Nothing);
        }
        let is_read = matches!(command.task, Task::Read { .. });
        if let Some((_, node, epoch, token)) = client.token.take() {
            let delay_us = self.dice.range(100, 1_000_000);
            self.later(delay_us, Event::ApiGone { node, epoch, token });
        }
        let ids = self.ids();
        self.clients[at].home = self.dice.pick(&ids);
        if is_read {
            self.clients[at].command = None;
            return Ok(());
        }
        self.write_ended(at, None)
    }

    /// A writing command ends, with an answer or with none.
    fn write_ended(&mut self, at: usize, reply: Option<ApiReply>) -> Result<(), Violation> {
        let Some(command) = self.clients[at].command.take() else { return Ok(()) };
        let fate = match reply {
            Some(ApiReply::Written { id, outcome, height, index, duplicate }) => {
                let outcome = match outcome {
                    WriteOutcome::Committed => "committed".to_owned(),
                    WriteOutcome::Refused { code, .. } => code,
                };
                let (Task::Write(request) | Task::Repeat(request, _) | Task::Reuse(request)) = &command.task else {
                    return Ok(());
                };
                if request.id.as_str() != id {
                    violated!("client {at} asked for {} and hears of {id}", request.id.as_str());
                }
                Fate::Acknowledged { height, index, outcome, duplicate }
            }
            Some(ApiReply::Failed { kind: FailKind::NotExecuted, .. }) => Fate::NotExecuted,
            Some(ApiReply::Failed { kind: FailKind::Unknown, .. }) => Fate::Unknown,
            Some(reply) => Fate::Surprise(format!("{reply:?}")),
            None if command.retry.is_unknown() => Fate::Unknown,
            None => Fate::NotExecuted,
        };
        match command.task {
            Task::Write(_) => self.fate_known(at, fate),
            Task::Repeat(request, first) => same_again(&request, &first, &fate),
            Task::Reuse(request) => match fate {
                Fate::Surprise(text) if text.contains("id_reused") => {
                    self.counts.id_reused += 1;
                    Ok(())
                }
                Fate::NotExecuted | Fate::Unknown => Ok(()),
                other => violated!("an id was used again for {request:?}: {other:?}"),
            },
            Task::Read { .. } => Ok(()),
        }
    }

    fn fate_known(&mut self, at: usize, fate: Fate) -> Result<(), Violation> {
        let known = self.now_us;
        let client = &mut self.clients[at];
        let Some(open) = client.open.as_mut() else { return Ok(()) };
        open.tries += 1;
        let fate = match fate {
            Fate::Unknown => {
                open.exposed = true;
                self.counts.unknown += 1;
                return Ok(());
            }
            // It tells about this command; an earlier one may still be under way.
            Fate::NotExecuted if open.exposed => return Ok(()),
            fate => fate,
        };
        let Some(open) = client.open.take() else { return Ok(()) };
        match &fate {
            Fate::Acknowledged { outcome, duplicate, .. } => {
                client.served.0 += 1;
                self.counts.duplicates += u64::from(*duplicate);
                *(if outcome == "committed" { &mut self.counts.committed } else { &mut self.counts.refused }) += 1;
                if client.old.len() == 8 {
                    client.old.remove(0);
                }
                client.old.push((open.request.clone(), fate.clone()));
            }
            _ => self.counts.not_executed += 1,
        }
        let id = open.request.id.as_str().to_owned();
        self.trace.mix(&[at as u64, known, u64::from(open.tries)]);
        self.history.attempts.push(Attempt { id, sent: open.sent_us, known, tries: open.tries, fate });
        Ok(())
    }

    /// Requests whose outcome nobody knows in the end: each is in the chain at most once.
    pub(super) fn close_open(&mut self) {
        for client in &mut self.clients {
            if let Some(open) = client.open.take() {
                let id = open.request.id.as_str().to_owned();
                let known = self.now_us;
                self.history.attempts.push(Attempt {
                    id,
                    sent: open.sent_us,
                    known,
                    tries: open.tries,
                    fate: Fate::Unknown,
                });
            }
        }
    }

    fn read_answered(
        &mut self,
        at: usize,
        node: NodeId,
        sent_us: u64,
        linearizable: bool,
        reply: ApiReply,
    ) -> Result<(), Violation> {
        let (height, sight) = match reply {
            ApiReply::Balance { account, balance, height, .. } => (height, Sight::Balance(account, Some(balance))),
            ApiReply::Funds { account, balance, held, height, .. } => (height, Sight::Funds(account, balance, held)),
            ApiReply::Accounts { height, accounts } => (height, Sight::Accounts(accounts)),
            ApiReply::Value { key, value, height } => (height, Sight::Value(key, Some(value))),
            ApiReply::Failed { kind: FailKind::Refused | FailKind::NotExecuted | FailKind::Unknown, .. } => {
                return Ok(());
            }
            other => violated!("a read is answered with {other:?}"),
        };
        self.clients[at].served.1 += 1;
        self.sees(node, sent_us, linearizable, Some(height), sight);
        Ok(())
    }

    /// Notes what somebody was shown, unless a balance was flipped somewhere meanwhile: then anything may be shown until
    /// it is found.
    fn sees(&mut self, node: NodeId, sent_us: u64, linearizable: bool, height: Option<u64>, sight: Sight) {
        let is_flipped = self.machines.iter().any(|machine| machine.process.as_ref().is_some_and(|p| p.flipped));
        if is_flipped || self.flipped_us.is_some_and(|until| sent_us <= until) {
            return;
        }
        *(if linearizable { &mut self.counts.reads } else { &mut self.counts.local_views }) += 1;
        let (node, known) = (usize::from(node.0), self.now_us);
        self.history.views.push(View { node, sent: sent_us, known, linearizable, height, sight });
    }
}

/// The same request gets the same answer for ever.
fn same_again(request: &Request, first: &Fate, now: &Fate) -> Result<(), Violation> {
    let place = |fate: &Fate| match fate {
        Fate::Acknowledged { height, index, outcome, .. } => Some((*height, *index, outcome.clone())),
        _ => None,
    };
    match now {
        Fate::Acknowledged { duplicate, .. } if place(now) == place(first) && *duplicate => Ok(()),
        Fate::NotExecuted | Fate::Unknown => Ok(()),
        other => violated!("{request:?} was {first:?}, and asked again it is {other:?}"),
    }
}
