//! Accounts, requests, outcomes and the chain of blocks: pure, no I/O, no clock.
