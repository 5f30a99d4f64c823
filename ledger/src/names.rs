//! Names: accounts, request ids and nodes. Each is checked once, when it is made; its copies do not allocate.

use std::fmt;

use arrayvec::ArrayString;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("{what} must not be empty")]
    Empty {
        /// What the name is for.
        what: &'static str,
    },
    /// Too many characters.
    #[error("{what} has {length} characters; at most {max} are allowed")]
    TooLong {
        /// What the name is for.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A character outside the alphabet.
    #[error("{what} may not contain {found:?}; allowed are letters, digits and {others}")]
    Character {
        /// What the name is for.
        what: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// The allowed ones beside letters and digits.
        others: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident($text:ty, $make:expr), $what:literal, $max:literal, $others:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type($text);

        impl $type {
            /// Longest name, in bytes.
            pub const BYTES_MAX: usize = $max;

            /// Checks a name.
            ///
            /// # Errors
            /// Empty, too long, or a character outside the alphabet.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check($what, text, $max, $others).map(|()| Self($make(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.as_str().to_owned()
            }
        }
    };
}

name!(
    /// An account's name: 1–64 of `a-z A-Z 0-9 . _ : -`.
    Account(SmolStr, SmolStr::new), "an account name", 64, "._:-"
);
name!(
    /// A request's id: 1–64 of `a-z A-Z 0-9 . _ : -`; unique over all verbs, for ever.
    RequestId(ArrayString<64>, in_place), "a request id", 64, "._:-"
);
name!(
    /// A member's name: 1–32 of `a-z A-Z 0-9 . _ -`.
    NodeName(SmolStr, SmolStr::new), "a node id", 32, "._-"
);

impl Account {
    /// The built-in account that cash comes from and goes to; the only one that may go below zero.
    pub const WORLD: &'static str = "world";

    /// The account `world`.
    pub fn world() -> Self {
        Self(SmolStr::new_static(Self::WORLD))
    }

    /// True for `world`.
    pub fn is_world(&self) -> bool {
        self.as_str() == Self::WORLD
    }
}

/// A text that was checked to be short enough.
fn in_place(text: &str) -> ArrayString<64> {
    ArrayString::from(text).expect("at most 64 bytes")
}

fn check(what: &'static str, text: &str, max: usize, others: &'static str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if let Some(found) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !others.contains(*c)) {
        return Err(NameError::Character { what, found, others });
    }
    // All of it is ASCII here: bytes are characters.
    if text.len() > max {
        return Err(NameError::TooLong { what, length: text.len(), max });
    }
    Ok(())
}
