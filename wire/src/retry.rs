//! A client's rule for asking again, without any I/O: after a lost connection a write is sent again under the same id,
//! so it executes once however often it is sent; and what may be said in the end depends on whether any copy of it was
//! ever handed to a daemon.

use crate::api::{ApiReply, FailKind};

/// The code of a refusal whose daemon is about to end: nothing was executed, and another one may soon serve its socket.
pub const STOPPING: &str = "stopping";

/// True for a refusal because the daemon is about to end. Asked again, the next one answers.
pub fn is_stopping(reply: &ApiReply) -> bool {
    matches!(reply, ApiReply::Failed { kind: FailKind::NotExecuted, code, .. } if code == STOPPING)
}

/// What became of one copy of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard<'a> {
    /// The daemon answered.
    Reply(&'a ApiReply),
    /// The copy provably never reached a daemon.
    NotSent,
    /// It may have; no answer came.
    Nothing,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// What was heard is the answer.
    Done,
    /// Send it again, on a new connection, after a moment.
    Again,
}

/// One write and its copies.
#[derive(Clone, Debug, Default)]
pub struct WriteRetry {
    handed: bool,
}

impl WriteRetry {
    /// How long the daemon is told to try, of the time that is left: it gives its own verdict a little before the client
    /// gives up waiting for it.
    pub fn timeout_ms(left_ms: u64) -> u32 {
        u32::try_from(left_ms.saturating_mul(19) / 20).unwrap_or(u32::MAX).max(1)
    }

    /// Takes in what became of the last copy.
    pub fn heard(&mut self, heard: Heard<'_>) -> Next {
        match heard {
            // "Not executed" speaks of the copy that the daemon was just handed, not of an earlier one.
            Heard::Reply(ApiReply::Failed { kind: FailKind::NotExecuted, .. }) if self.handed => Next::Again,
            Heard::Reply(reply) if is_stopping(reply) => Next::Again,
            Heard::Reply(_) => Next::Done,
            Heard::NotSent => Next::Again,
            Heard::Nothing => {
                self.handed = true;
                Next::Again
            }
        }
    }

    /// The time is up without an answer: true if the request may be executed, now or later; false if it never will be.
    pub fn is_unknown(&self) -> bool {
        self.handed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: FailKind) -> ApiReply {
        ApiReply::Failed { kind, code: "x".to_owned(), message: String::new() }
    }

    #[test]
    fn not_executed_is_believed_only_of_a_request_that_was_handed_over_once() {
        let mut retry = WriteRetry::default();
        assert_eq!(retry.heard(Heard::NotSent), Next::Again);
        assert!(!retry.is_unknown());
        assert_eq!(retry.heard(Heard::Reply(&failed(FailKind::NotExecuted))), Next::Done);
        assert_eq!(retry.heard(Heard::Nothing), Next::Again);
        assert!(retry.is_unknown());
        assert_eq!(retry.heard(Heard::Reply(&failed(FailKind::NotExecuted))), Next::Again);
        assert_eq!(retry.heard(Heard::Reply(&failed(FailKind::Refused))), Next::Done);
    }

    #[test]
    fn a_daemon_that_stops_is_asked_again_when_it_is_back_and_nothing_is_unknown() {
        let mut retry = WriteRetry::default();
        let stopping = |kind| ApiReply::Failed { kind, code: STOPPING.to_owned(), message: String::new() };
        assert_eq!(retry.heard(Heard::Reply(&stopping(FailKind::NotExecuted))), Next::Again);
        assert!(!retry.is_unknown());
        assert_eq!(retry.heard(Heard::Reply(&stopping(FailKind::Refused))), Next::Done);
    }

    #[test]
    fn the_daemon_has_less_time_than_the_client_and_always_some() {
        assert_eq!(WriteRetry::timeout_ms(1_000), 950);
        assert_eq!(WriteRetry::timeout_ms(0), 1);
        assert_eq!(WriteRetry::timeout_ms(u64::MAX), u32::MAX);
    }
}
