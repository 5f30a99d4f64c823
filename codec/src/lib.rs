//! The one bounded binary codec of every stored and sent envelope.
