//! The wire format of protocol buffers: varints, tagged fields, lengths.
//!
//! A reader borrows the file and never allocates: a length that goes beyond the end is a fault before anything is taken.

/// A fault of the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireFault {
    /// Offset in the file.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) what: &'static str,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Eight([u8; 8]),
    /// Wire type 2: text, bytes, a message or packed numbers.
    Bytes(Reader<'a>),
    /// Wire type 5.
    Four([u8; 4]),
}

/// A position in a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a file from its start.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }
    /// Offset in the file.
    pub(super) const fn at(&self) -> usize {
        self.at
    }
    /// What is left.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
    /// Whether nothing is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    const fn fault(&self, what: &'static str) -> WireFault {
        WireFault { at: self.at, what }
    }
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        self.at += n;
        Some(taken)
    }
    /// A number of 1 to 10 bytes.
    pub(super) fn varint(&mut self) -> Result<u64, WireFault> {
        let start = *self;
        let mut value = 0u64;
        for shift in 0..10 {
            let Some(&[byte]) = self.take(1) else { return Err(start.fault("the file ends inside a number")) };
            if shift == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(start.fault("a number has more than 64 bits"))
    }
    /// A message with its length before it.
    pub(super) fn delimited(&mut self) -> Result<Reader<'a>, WireFault> {
        let start = *self;
        let length = self.varint()?;
        let at = self.at;
        let taken = usize::try_from(length).ok().and_then(|n| self.take(n));
        taken.map(|rest| Reader { rest, at }).ok_or_else(|| start.fault("a length goes beyond the end"))
    }
    /// The next field with its number, or `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>, WireFault> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = *self;
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Eight(self.eight()?),
            2 => Wire::Bytes(self.delimited()?),
            5 => Wire::Four(self.four()?),
            _ => return Err(start.fault("a field has a wire type that this format does not use")),
        };
        if key >> 3 == 0 {
            return Err(start.fault("a field has number 0"));
        }
        Ok(Some((key >> 3, value)))
    }
    /// Four bytes.
    pub(super) fn four(&mut self) -> Result<[u8; 4], WireFault> {
        let start = *self;
        self.take(4).and_then(|b| b.try_into().ok()).ok_or_else(|| start.fault("the file ends inside a number of 4 bytes"))
    }
    /// Eight bytes.
    pub(super) fn eight(&mut self) -> Result<[u8; 8], WireFault> {
        let start = *self;
        self.take(8).and_then(|b| b.try_into().ok()).ok_or_else(|| start.fault("the file ends inside a number of 8 bytes"))
    }
    /// All of it as a text.
    pub(super) fn text(&self) -> Result<&'a str, WireFault> {
        std::str::from_utf8(self.rest).map_err(|_| self.fault("a text is not UTF-8"))
    }
}

/// Writes a message.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What is written.
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    /// A number of 1 to 10 bytes.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
    /// A field with a number.
    pub(super) fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }
    /// A field with a float of 8 bytes.
    pub(super) fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    /// A field with a text, bytes or a message.
    pub(super) fn blob(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.delimited(value);
    }
    /// Bytes with their length before them.
    pub(super) fn delimited(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }
}
