//! The command line of a raftbank.
