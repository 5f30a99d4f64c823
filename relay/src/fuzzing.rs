//! For tests and fuzz targets only: bytes as a program of what members and operators do to the relay, and what must be
//! true of the relay after each step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use raftbank_wire::api::{ApiReply, ApiRequest, LinkCommand, LinkReply, PartitionCommand, RelayCounters};
use raftbank_wire::control;
use raftbank_wire::hello::Hello;
use raftbank_wire::queue::Queue;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::admission::Admission;
use crate::router::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, Router};

/// Most steps of one program.
const STEPS_MAX: usize = 400;

/// What is left of a program; its end reads as zeros.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> u32 {
        u32::from(self.byte()) << 8 | u32::from(self.byte())
    }

    fn chunk(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(length);
        self.0 = rest;
        chunk.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.chunk()).into_owned()
    }

    /// A member's name most of the time.
    fn name(&mut self) -> String {
        match self.byte() % 5 {
            number @ 0..4 => format!("n{}", number + 1),
            _ => self.text(),
        }
    }

    fn until(&mut self) -> Option<u64> {
        match self.byte() {
            0..128 => None,
            255 => Some(u64::MAX - u64::from(self.byte())),
            ms => Some(u64::from(ms) - 128),
        }
    }
}

struct World {
    router: Router,
    admission: Admission,
    members: Vec<String>,
    sessions: Vec<Option<(u64, Arc<Queue>)>>,
    now: Instant,
    routed: u64,
}

/// Runs a program.
///
/// # Panics
/// If the relay breaks a rule.
pub fn run(program: &[u8]) {
    let mut program = Program(program);
    let count = 1 + usize::from(program.byte() % 4);
    let members: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
    let mut router = Router::new(members.clone(), false).expect("random numbers");
    router.chance = ChaCha8Rng::seed_from_u64(program.byte().into());
    let mut world = World {
        router,
        admission: Admission::new(members.clone(), None),
        sessions: vec![None; count],
        members,
        now: Instant::now(),
        routed: 0,
    };
    for _ in 0..STEPS_MAX {
        if program.0.is_empty() {
            break;
        }
        world.step(&mut program);
        world.check();
    }
    // However much was delayed, it ends.
    world.now += Duration::from_secs(3_600);
    world.router.advance(world.now);
    assert_eq!(world.router.counters().delayed_now, 0);
    world.check();
}

impl World {
    fn step(&mut self, program: &mut Program<'_>) {
        let member = program.byte() % (self.members.len() as u8 + 1);
        match program.byte() % 10 {
            0 => self.connect(member),
            1 => self.disconnect(member, program.byte()),
            2..5 => self.route(member, program.byte() % 6, program.chunk()),
            5 => self.now += Duration::from_millis(program.short().into()),
            6 => self.partition(&partition_command(program)),
            7 => self.link(&link_command(program)),
            8 => match raftbank_wire::fuzzing::decode_request(&program.chunk()) {
                Some(ApiRequest::Partition(command)) => self.partition(&command),
                Some(ApiRequest::Link(command)) => self.link(&command),
                _ => self.router.advance(self.now),
            },
            _ => self.greet(program),
        }
    }

    fn connect(&mut self, member: u8) {
        let Some(slot) = self.sessions.get_mut(usize::from(member)) else { return };
        let (session, queue) = self.router.connect(member, "test/1".to_owned());
        assert!(slot.as_ref().is_none_or(|(old, _)| *old < session), "sessions are never numbered twice");
        if let Some((_, old)) = slot.replace((session, queue)) {
            assert!(old.is_closed());
        }
    }

    fn disconnect(&mut self, member: u8, other: u8) {
        let Some(slot) = self.sessions.get_mut(usize::from(member)) else { return };
        let Some((session, queue)) = slot.clone() else {
            return assert!(!self.router.disconnect(member, other.into()));
        };
        let wrong = u64::from(other);
        if wrong != session {
            assert!(!self.router.disconnect(member, wrong), "of another session");
        } else {
            assert!(self.router.disconnect(member, session));
            assert!(queue.is_closed() && queue.is_empty());
            *slot = None;
        }
    }

    fn route(&mut self, from: u8, to: u8, payload: Vec<u8>) {
        // Only a connection that is there brings messages.
        if self.sessions.get(usize::from(from)).is_some_and(Option::is_some) {
            self.routed += 1;
            self.router.route(self.now, from, to, payload);
        }
    }

    fn partition(&mut self, command: &PartitionCommand) {
        let before = self.shown();
        match self.router.partition(command, self.now) {
            Ok(ApiReply::Partition { groups, .. }) => {
                let mut named = groups.concat();
                named.sort();
                assert_eq!(named, self.members, "every member is in one group");
                assert!(groups.iter().all(|group| !group.is_empty()));
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(!error.0.is_empty());
                assert_eq!(self.shown(), before, "a refused command changes nothing");
            }
        }
    }

    fn link(&mut self, command: &LinkCommand) {
        let before = self.shown();
        match self.router.link_faults(command, self.now) {
            Ok(ApiReply::Link(link)) => {
                assert!((0.0..=100.0).contains(&link.loss_percent) && link.delay_ms.0 <= link.delay_ms.1);
                assert!(link.cuts.len() <= self.members.len() * (self.members.len() - 1));
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(!error.0.is_empty());
                assert_eq!(self.shown(), before, "a refused command changes nothing");
            }
        }
    }

    fn greet(&mut self, program: &mut Program<'_>) {
        let hello = Hello {
            cluster_id: [program.byte() % 2; 32],
            node: program.name(),
            members: if program.byte() < 200 { self.members.clone() } else { vec![program.text()] },
            incarnation: 1,
            software: program.text(),
        };
        match self.admission.check(&hello) {
            Ok(place) => {
                assert_eq!(self.members[usize::from(place)], hello.node);
                assert_eq!(self.members, hello.members);
                assert!(self.admission.cluster().is_none_or(|cluster| cluster == hello.cluster_id));
                self.admission.adopt(hello.cluster_id);
            }
            // It goes into logs.
            Err(refusal) => assert!(!refusal.message.chars().any(char::is_control), "{:?}", refusal.message),
        }
        if program.byte() == 0 {
            self.admission.release();
        }
    }

    /// The faults as operators see them.
    fn shown(&mut self) -> (Option<Vec<Vec<String>>>, Option<LinkReply>) {
        let partition = match self.router.partition(&PartitionCommand::Show, self.now) {
            Ok(ApiReply::Partition { groups, .. }) => Some(groups),
            _ => None,
        };
        let link = match self.router.link_faults(&LinkCommand::Show, self.now) {
            Ok(ApiReply::Link(link)) => Some(link),
            _ => None,
        };
        (partition, link)
    }

    fn check(&mut self) {
        // Faults that have ended are gone before anybody looks.
        self.router.advance(self.now);
        assert!(self.router.next_moment().is_none_or(|moment| moment > self.now));
        let RelayCounters {
            forwarded,
            forwarded_bytes: _,
            delayed_now,
            dropped_partition,
            dropped_cut,
            dropped_loss,
            dropped_overflow,
            dropped_absent,
        } = self.router.counters();
        let dropped = dropped_partition + dropped_cut + dropped_loss + dropped_overflow + dropped_absent;
        assert_eq!(forwarded + delayed_now + dropped, self.routed, "every message has one fate");

        let (Some(groups), Some(link)) = self.shown() else { panic!("shown at any time") };
        let name = |place: u8| self.members.get(usize::from(place)).cloned().unwrap_or_default();
        let apart = |from: u8, to: u8| {
            let together = groups.iter().any(|group| group.contains(&name(from)) && group.contains(&name(to)));
            !together || link.cuts.iter().any(|cut| cut.from == name(from) && cut.to == name(to))
        };
        for (place, session) in (0_u8..).zip(&self.sessions) {
            assert_eq!(self.router.session(place), session.as_ref().map(|(number, _)| *number));
            let Some((_, queue)) = session else { continue };
            assert!(queue.len() <= QUEUE_MESSAGES_MAX + 300, "{} wait", queue.len());
            let mut bytes = 0;
            queue.retain(|frame| {
                bytes += frame.wire_bytes();
                let from = frame.tag();
                if from != control::TAG {
                    assert!(usize::from(from) < self.members.len() && from != place, "from {from} to {place}");
                    assert!(!apart(from, place), "what may no longer pass does not wait");
                }
                true
            });
            assert!(bytes <= QUEUE_BYTES_MAX + 4_096);
        }
    }
}

fn partition_command(program: &mut Program<'_>) -> PartitionCommand {
    match program.byte() % 6 {
        0 => PartitionCommand::Show,
        1 => PartitionCommand::Heal,
        2 => PartitionCommand::Set { groups: program.text(), for_ms: program.until() },
        shape => {
            // Groups that name everybody, as most do.
            let separators = program.byte();
            let mut groups = String::new();
            for number in 1..shape {
                groups += &format!("n{number}");
                groups.push(if separators >> number & 1 == 0 { ',' } else { '/' });
            }
            groups += &format!("n{shape}");
            PartitionCommand::Set { groups, for_ms: program.until() }
        }
    }
}

fn link_command(program: &mut Program<'_>) -> LinkCommand {
    match program.byte() % 7 {
        0 => LinkCommand::Show,
        1 | 2 => LinkCommand::Cut {
            a: program.name(),
            b: program.name(),
            one_way: program.byte() & 1 == 0,
            for_ms: program.until(),
        },
        3 => LinkCommand::Restore { a: program.name(), b: program.name() },
        4 => {
            let (min_ms, max_ms) = (program.short() % 700, program.short());
            LinkCommand::Delay { min_ms, max_ms, for_ms: program.until() }
        }
        5 => {
            let percent = match program.byte() {
                255 => f64::NAN,
                254 => f64::INFINITY,
                253 => -0.0,
                252 => f64::MIN_POSITIVE,
                byte => f64::from(byte) - 50.0,
            };
            LinkCommand::Loss { percent, for_ms: program.until() }
        }
        _ => LinkCommand::Clear,
    }
}
