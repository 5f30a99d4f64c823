//! How a command fails: a kind that decides the exit code, a stable code, a sentence, and what to do next.

use raftbank_wire::api::FailKind;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: FailKind,
    /// Stable code for scripts.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do next, for people, in this order.
    pub next: Vec<String>,
    /// The id of the write.
    pub id: Option<String>,
    /// Where the refusal was recorded: height, index, duplicate.
    pub recorded: Option<(u64, u32, bool)>,
}

impl Failure {
    /// A failure without next steps, id or place.
    pub fn new(kind: FailKind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), next: Vec::new(), id: None, recorded: None }
    }

    /// Wrong usage.
    pub fn usage(code: &str, message: impl Into<String>) -> Self {
        Self::new(FailKind::Usage, code, message)
    }

    /// A defect, or something that the system refused.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailKind::Internal, "internal", message)
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.next = vec![hint.into()];
        self
    }

    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        exit_code(self.kind)
    }
}

/// The exit code of a kind of failure.
pub fn exit_code(kind: FailKind) -> u8 {
    match kind {
        FailKind::Internal => 1,
        FailKind::Usage => 2,
        FailKind::Refused => 3,
        FailKind::NotExecuted => 4,
        FailKind::Unknown => 5,
        FailKind::Corruption => 6,
    }
}
