//! The few messages of etcd's API v3 that are needed, in protobuf. Field numbers are those of `rpc.proto` and `kv.proto`
//! of etcd 3.4; later versions only add some.

use anyhow::{Context, Result, bail, ensure};

/// Most bytes of one number.
const VARINT_BYTES_MAX: usize = 10;
/// Kinds of fields on the wire.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// A balance, and when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub balance: u64,
    pub revision: u64,
}

/// What became of a swap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// Both were put.
    Done,
    /// One had changed; both as they are now.
    Changed([Held; 2]),
}

/// `PutRequest`.
pub(crate) fn put(key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.len() + 8);
    field(&mut out, 1, key.as_bytes());
    field(&mut out, 2, value.as_bytes());
    out
}

/// `TxnRequest` that puts all of these.
pub(crate) fn puts(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        field(&mut out, 2, &put_operation(key, value));
    }
    out
}

/// `TxnRequest` that reads these without asking the other members.
pub(crate) fn read(keys: &[String; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    for key in keys {
        field(&mut out, 2, &range_operation(key));
    }
    out
}

/// `TxnRequest` that puts both values if both keys were last changed at these revisions, and else reads both.
pub(crate) fn swap(keys: &[String; 2], revisions: [u64; 2], values: &[String; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, revision) in keys.iter().zip(revisions) {
        // Compare: result EQUAL (0, so left out), target MOD, key, mod_revision.
        let mut compare = Vec::new();
        number(&mut compare, 2, 2);
        field(&mut compare, 3, key.as_bytes());
        number(&mut compare, 6, revision);
        field(&mut out, 1, &compare);
    }
    for (key, value) in keys.iter().zip(values) {
        field(&mut out, 2, &put_operation(key, value));
    }
    for key in keys {
        field(&mut out, 3, &range_operation(key));
    }
    out
}

/// `StatusResponse`: the member that answers is the leader.
pub(crate) fn leads(answer: &[u8]) -> Result<bool> {
    let (mut member, mut leader) = (0, 0);
    each(answer, |number, value| {
        match (number, value) {
            (1, Value::Bytes(header)) => each(header, |number, value| {
                if let (2, Value::Number(id)) = (number, value) {
                    member = id;
                }
                Ok(())
            })?,
            (4, Value::Number(id)) => leader = id,
            _ => {}
        }
        Ok(())
    })?;
    Ok(member != 0 && member == leader)
}

/// `TxnResponse` to [`read`].
pub(crate) fn held(answer: &[u8]) -> Result<[Held; 2]> {
    let (_, held) = transaction(answer)?;
    <[Held; 2]>::try_from(held).map_err(|held| anyhow::anyhow!("{} accounts instead of two", held.len()))
}

/// `TxnResponse` to [`swap`].
pub(crate) fn swapped(answer: &[u8]) -> Result<Swapped> {
    if transaction(answer)?.0 { Ok(Swapped::Done) } else { Ok(Swapped::Changed(held(answer)?)) }
}

/// Whether the comparisons held, and all that was read.
fn transaction(answer: &[u8]) -> Result<(bool, Vec<Held>)> {
    let (mut succeeded, mut held) = (false, Vec::new());
    each(answer, |number, value| {
        match (number, value) {
            (2, Value::Number(yes)) => succeeded = yes == 1,
            // ResponseOp, in it RangeResponse, in it KeyValue.
            (3, Value::Bytes(operation)) => each(operation, |number, value| {
                let (1, Value::Bytes(range)) = (number, value) else { return Ok(()) };
                each(range, |number, value| {
                    if let (2, Value::Bytes(pair)) = (number, value) {
                        held.push(key_value(pair)?);
                    }
                    Ok(())
                })
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((succeeded, held))
}

fn key_value(pair: &[u8]) -> Result<Held> {
    let (mut balance, mut revision) = (None, 0);
    each(pair, |number, value| {
        match (number, value) {
            (3, Value::Number(at)) => revision = at,
            (5, Value::Bytes(text)) => balance = Some(std::str::from_utf8(text)?.parse()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Held { balance: balance.context("an account without a balance")?, revision })
}

fn put_operation(key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 2, &put(key, value));
    out
}

fn range_operation(key: &str) -> Vec<u8> {
    let mut range = Vec::new();
    field(&mut range, 1, key.as_bytes());
    // serializable
    number(&mut range, 7, 1);
    let mut out = Vec::new();
    field(&mut out, 1, &range);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, value);
}

fn field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Every field of a message.
fn each<'a>(mut bytes: &'a [u8], mut what: impl FnMut(u64, Value<'a>) -> Result<()>) -> Result<()> {
    while !bytes.is_empty() {
        let tag = read_varint(&mut bytes)?;
        let value = match tag & 7 {
            VARINT => Value::Number(read_varint(&mut bytes)?),
            BYTES => {
                let length = usize::try_from(read_varint(&mut bytes)?)?;
                let (value, rest) = bytes.split_at_checked(length).context("a field ends too early")?;
                bytes = rest;
                Value::Bytes(value)
            }
            kind => bail!("a field of kind {kind}"),
        };
        what(tag >> 3, value)?;
    }
    Ok(())
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for place in 0..VARINT_BYTES_MAX {
        let (&first, rest) = bytes.split_first().context("a number ends too early")?;
        *bytes = rest;
        ensure!(place < 9 || first <= 1, "a number of more than 64 bits");
        value |= u64::from(first & 0x7f) << (7 * place);
        if first < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number without end");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pair(balance: &str, revision: u64) -> Vec<u8> {
        let (mut pair, mut range, mut operation) = (Vec::new(), Vec::new(), Vec::new());
        field(&mut pair, 1, b"a0");
        number(&mut pair, 3, revision);
        field(&mut pair, 5, balance.as_bytes());
        field(&mut range, 2, &pair);
        field(&mut operation, 1, &range);
        operation
    }

    #[test]
    fn a_put_has_the_bytes_of_the_specification() {
        assert_eq!(put("k", "vv"), [0x0a, 1, b'k', 0x12, 2, b'v', b'v']);
    }

    #[test]
    fn a_lost_swap_tells_what_is_there_now() {
        let mut answer = Vec::new();
        field(&mut answer, 3, &pair("17", 300));
        field(&mut answer, 3, &pair("4", u64::MAX));
        let now = [Held { balance: 17, revision: 300 }, Held { balance: 4, revision: u64::MAX }];
        assert_eq!(swapped(&answer).unwrap(), Swapped::Changed(now));
        let mut answer = Vec::new();
        number(&mut answer, 2, 1);
        assert_eq!(swapped(&answer).unwrap(), Swapped::Done);
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [&[0x0a, 5, 1][..], &[0x08], &[0x08, 0xff], &[0x0d, 1, 2, 3, 4], &[0xff; 11]] {
            assert!(transaction(bytes).is_err(), "{bytes:?}");
        }
        assert!(held(&[]).is_err());
    }
}
