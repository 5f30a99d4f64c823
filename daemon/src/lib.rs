//! One node of a raftbank.
