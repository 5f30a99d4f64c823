//! Total order of opaque records: Raft as a state machine without I/O or clock.
