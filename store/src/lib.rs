//! Durable state of a node in sled, and a memory store that models crashes.
