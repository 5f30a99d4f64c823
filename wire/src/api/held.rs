//! What accounts hold for pending transfers.

use serde::{Deserialize, Serialize};

/// Most rows of one answer, and most ids of one question.
pub const HELD_ROWS_MAX: usize = 1_000;

/// A pending transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// The id of the request that made it.
    pub id: String,
    /// Who pays.
    pub from: String,
    /// Who is paid.
    pub to: String,
    /// What is held while it is pending, in the smallest unit.
    pub amount: u64,
    /// What was moved; 0 unless it is posted.
    pub posted: u64,
    /// The first block of this time or later finds it expired, in Unix milliseconds.
    pub expires_ms: u64,
    /// `pending`, `posted`, `voided` or `expired`.
    pub status: String,
}
