//! Canonical bytes: big-endian integers and length-prefixed fields, one spelling for every value.

/// Why bytes are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes are left over at the end")]
    Trailing(usize),
    /// A field has a value that it cannot have.
    #[error("{field}: {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// Why its value is refused.
        why: String,
    },
}

impl DecodeError {
    pub(crate) fn field(field: &'static str, why: impl ToString) -> Self {
        Self::Field { field, why: why.to_string() }
    }
}

/// Reads canonical bytes from the front. Borrows: a length prefix that lies allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated(field)),
        }
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// Text after a one-byte length.
    pub fn text8(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.u8(field)?;
        utf8(self.take(usize::from(length), field)?, field)
    }

    /// Bytes after a two-byte length of at most `max`.
    pub fn bytes16(&mut self, max: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.u16(field)?);
        self.bounded(length, max, field)
    }

    /// Bytes after a four-byte length of at most `max`.
    pub fn bytes32(&mut self, max: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.u32(field)?).unwrap_or(usize::MAX);
        self.bounded(length, max, field)
    }

    fn bounded(&mut self, length: usize, max: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        if length > max {
            return Err(DecodeError::field(field, format!("{length} bytes; at most {max} are allowed")));
        }
        self.take(length, field)
    }

    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

pub(crate) fn utf8<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::field(field, "not UTF-8"))
}

/// Writes a length that was checked when its value was made.
pub(crate) fn put_text8(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("names are bounded"));
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_bytes16(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("bounded when it was made").to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("bounded when it was made").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Writes what `write` writes, after its length in four bytes.
pub(crate) fn put_prefixed32(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).expect("bounded when it was made");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
