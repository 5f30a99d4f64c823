//! The relay all nodes of a raftbank talk through, with faults on request.
