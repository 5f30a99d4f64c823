//! Lines, decimal numbers and base64 with one spelling each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use raftbank_ledger::Hash;

use crate::error::ProofError;

/// Base64 of RFC 4648 §4 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads it back; bits left over must be zero (the engine sees to that).
pub(crate) fn unbase64(what: &'static str, text: &str) -> Result<Vec<u8>, ProofError> {
    STANDARD.decode(text).map_err(|_| ProofError::malformed(what, format!("{text:?} is not base64")))
}

/// A hash in base64.
pub(crate) fn hash(what: &'static str, text: &str) -> Result<Hash, ProofError> {
    let bytes = unbase64(what, text)?;
    let array = bytes.try_into().map_err(|_| ProofError::malformed(what, format!("{text:?} is not a hash")))?;
    Ok(Hash(array))
}

/// A number in decimal, without leading zeros or a sign.
pub(crate) fn decimal(what: &'static str, text: &str) -> Result<u64, ProofError> {
    let number: Option<u64> = text.parse().ok();
    number
        .filter(|number| number.to_string() == text)
        .ok_or_else(|| ProofError::malformed(what, format!("{text:?} is not a number")))
}

/// The lines of a text that ends with a line feed.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    what: &'static str,
    rest: &'a str,
}

impl<'a> Lines<'a> {
    /// At most `bytes_max` bytes are accepted.
    pub fn new(what: &'static str, text: &'a str, bytes_max: usize) -> Result<Self, ProofError> {
        if text.len() > bytes_max {
            return Err(ProofError::malformed(what, format!("{} bytes; at most {bytes_max} are allowed", text.len())));
        }
        Ok(Self { what, rest: text })
    }

    /// The next line, without its line feed.
    pub fn next(&mut self) -> Result<&'a str, ProofError> {
        let (line, rest) =
            self.rest.split_once('\n').ok_or_else(|| ProofError::malformed(self.what, "it ends too early"))?;
        self.rest = rest;
        Ok(line)
    }

    /// The next line, which must begin with `word` and a space; what follows them.
    pub fn field(&mut self, word: &str) -> Result<&'a str, ProofError> {
        let what = self.what;
        self.optional_field(word)?
            .ok_or_else(|| ProofError::malformed(what, format!("a line that begins with {word:?} is missing")))
    }

    /// The same, if the next line is such a one.
    pub fn optional_field(&mut self, word: &str) -> Result<Option<&'a str>, ProofError> {
        let mut ahead = self.clone();
        match ahead.next()?.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) {
            Some(value) => {
                *self = ahead;
                Ok(Some(value))
            }
            None => Ok(None),
        }
    }

    /// The next line, which must be this one.
    pub fn exactly(&mut self, line: &str) -> Result<(), ProofError> {
        if self.next()? == line {
            return Ok(());
        }
        Err(ProofError::malformed(self.what, format!("a line {line:?} is missing")))
    }

    /// Hashes, a line each, up to an empty line, which is taken, too.
    pub fn hashes(&mut self, most: usize) -> Result<Vec<Hash>, ProofError> {
        let mut hashes = Vec::new();
        loop {
            let line = self.next()?;
            if line.is_empty() {
                return Ok(hashes);
            }
            if hashes.len() == most {
                return Err(ProofError::malformed(self.what, format!("more than {most} hashes")));
            }
            hashes.push(hash(self.what, line)?);
        }
    }

    /// All that is left.
    pub fn rest(self) -> &'a str {
        self.rest
    }
}

/// A text is accepted only if what was read from it prints as the very same text.
pub(crate) fn same(what: &'static str, text: &str, printed: &str) -> Result<(), ProofError> {
    if text == printed {
        return Ok(());
    }
    Err(ProofError::malformed(what, "it is not spelled as it should be"))
}
