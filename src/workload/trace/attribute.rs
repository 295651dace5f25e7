//! Attributes of Chakra messages: a name and one of thirty types of value.
//!
//! Programs write the same attribute with different types, so a value is asked for by what it means: any integer, boolean or
//! float is a number, and a decimal text is a number too.

use super::protobuf::{Reader, Wire, WireFault};

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Any integer or boolean.
    Integer(i128),
    /// A float.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes,
    /// A list: the field number of its scalar, and its packed or repeated values.
    List(u64, Reader<'a>),
    /// Nothing was written.
    Absent,
}

/// A name and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Attribute<'a> {
    /// Offset in the file.
    pub(super) at: usize,
    /// Name.
    pub(super) name: &'a str,
    /// Value.
    pub(super) value: Value<'a>,
}

impl<'a> Attribute<'a> {
    /// Reads an attribute.
    pub(super) fn read(mut message: Reader<'a>) -> Result<Self, WireFault> {
        let mut out = Self { at: message.at(), name: "", value: Value::Absent };
        while let Some((field, wire)) = message.field()? {
            match (field, wire) {
                (1, Wire::Bytes(text)) => out.name = text.text()?,
                (2, _) => {}
                (3..=32, wire) => out.value = value(field, wire, out.at)?,
                _ => {}
            }
        }
        Ok(out)
    }
}

impl Value<'_> {
    /// The number that it means.
    pub(super) fn number(&self) -> Option<f64> {
        match *self {
            Self::Integer(i) => Some(i as f64),
            Self::Float(f) => f.is_finite().then_some(f),
            Self::Text(t) => t.trim().parse().ok().filter(|f: &f64| f.is_finite()),
            _ => None,
        }
    }
    /// The whole number that it means.
    pub(super) fn integer(&self) -> Option<i128> {
        match *self {
            Self::Integer(i) => Some(i),
            Self::Float(f) => (f.fract() == 0.0 && f.abs() < 9.0e15).then_some(f as i128),
            Self::Text(t) => t.trim().parse().ok(),
            _ => None,
        }
    }
    /// Whether a list has an element that is 0 or false.
    pub(super) fn list_has_zero(&self) -> Result<bool, WireFault> {
        let Self::List(field, mut list) = *self else { return Ok(false) };
        while let Some((number, wire)) = list.field()? {
            match (number, wire) {
                (1, Wire::Bytes(mut packed)) if field % 2 == 1 && field < 29 => {
                    while !packed.is_empty() {
                        let at = packed.at();
                        if zero(field, packed_one(field, &mut packed)?, at)? {
                            return Ok(true);
                        }
                    }
                }
                (1, wire) if zero(field, wire, list.at())? => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

fn zero(field: u64, wire: Wire<'_>, at: usize) -> Result<bool, WireFault> {
    Ok(value(field, wire, at)?.number() == Some(0.0))
}

/// One value of a packed list.
fn packed_one<'a>(field: u64, packed: &mut Reader<'a>) -> Result<Wire<'a>, WireFault> {
    match field {
        3 | 21 | 25 => packed.eight().map(Wire::Eight),
        5 | 19 | 23 => packed.four().map(Wire::Four),
        _ => packed.varint().map(Wire::Varint),
    }
}

/// A value by its field number; odd numbers are scalars, even ones the lists of the scalar before.
fn value<'a>(field: u64, wire: Wire<'a>, at: usize) -> Result<Value<'a>, WireFault> {
    let zigzag = |v: u64| i128::from((v >> 1) as i64 ^ -((v & 1) as i64));
    Ok(match (field, wire) {
        (3, Wire::Eight(b)) => Value::Float(f64::from_le_bytes(b)),
        (5, Wire::Four(b)) => Value::Float(f64::from(f32::from_le_bytes(b))),
        // Negative numbers of 32 bits are written with 10 bytes; some writers cut them to 5.
        (7, Wire::Varint(v)) => Value::Integer(i128::from(v as i32)),
        (9, Wire::Varint(v)) => Value::Integer(i128::from(v as i64)),
        (11, Wire::Varint(v)) => Value::Integer(i128::from(v as u32)),
        (13, Wire::Varint(v)) => Value::Integer(i128::from(v)),
        (15 | 17, Wire::Varint(v)) => Value::Integer(zigzag(v)),
        (19, Wire::Four(b)) => Value::Integer(i128::from(u32::from_le_bytes(b))),
        (21, Wire::Eight(b)) => Value::Integer(i128::from(u64::from_le_bytes(b))),
        (23, Wire::Four(b)) => Value::Integer(i128::from(i32::from_le_bytes(b))),
        (25, Wire::Eight(b)) => Value::Integer(i128::from(i64::from_le_bytes(b))),
        (27, Wire::Varint(v)) => Value::Integer(i128::from(v != 0)),
        (29, Wire::Bytes(text)) => Value::Text(text.text()?),
        (31, Wire::Bytes(_)) => Value::Bytes,
        (4..=32, Wire::Bytes(list)) if field.is_multiple_of(2) => Value::List(field - 1, list),
        _ => return Err(WireFault { at, what: "an attribute's value is not of the type that its field number says" }),
    })
}
