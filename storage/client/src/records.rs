//! The records of a batch, one after the other.
//!
//! ```text
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint | key length varint, key
//!         | value length varint, value | headers count varint | each: key length varint, key, value length varint, value
//! ```
//! Varints are zig-zag encoded; a length of -1 is null. Source: <https://kafka.apache.org/documentation/#record>.

/// Why records cannot be walked: the producer wrote nonsense, or more than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records do not decode: {0}")]
pub struct Undecodable(pub &'static str);

/// One record, of which every length was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// All its bytes, its length included.
    pub whole: &'a [u8],
    /// Its attributes; unused so far.
    pub attributes: u8,
    /// Its time, in ms from the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Its offset from the batch's base offset.
    pub offset_delta: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Its bytes from the key length on.
    pub from_key: &'a [u8],
}

/// Walks the uncompressed records of a batch; ends after the first that does not decode.
#[derive(Debug, Clone)]
pub struct Records<'a>(Cursor<'a>);

impl<'a> Records<'a> {
    /// `bytes` is everything behind the header, decompressed.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Cursor(bytes))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    fn take_one(&mut self) -> Option<Record<'a>> {
        let all = self.0.0;
        let length = self.0.length()?;
        let mut fields = Cursor(self.0.take(length)?);
        let whole = &all[..all.len() - self.0.0.len()];
        let attributes = fields.take(1)?[0];
        let (timestamp_delta, offset_delta) = (fields.varint()?, fields.varint()?);
        let from_key = fields.0;
        let (key, value) = (fields.nullable().ok()?, fields.nullable().ok()?);
        for _ in 0..fields.length()? {
            // A header's key is never null.
            let key = fields.length()?;
            fields.take(key)?;
            fields.nullable().ok()?;
        }
        let record = Record { whole, attributes, timestamp_delta, offset_delta, key, value, from_key };
        fields.0.is_empty().then_some(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Undecodable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_empty() {
            return None;
        }
        let taken = self.take_one().ok_or(Undecodable("a record's fields disagree with its length"));
        if taken.is_err() {
            self.0 = Cursor(&[]);
        }
        Some(taken)
    }
}

/// Appends a zig-zag encoded number.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// A field that is longer than what is left.
struct CutOff;

#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A length that must not be null.
    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// Bytes that may be null.
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, CutOff> {
        match self.varint().ok_or(CutOff)? {
            -1 => Ok(None),
            length => {
                usize::try_from(length).ok().and_then(|length| self.take(length)).map(Some).ok_or(CutOff)
            }
        }
    }

    /// A zig-zag encoded number of at most 64 bits.
    fn varint(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for index in 0..10 {
            let byte = *self.0.get(index)?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key `k`, value `v`, one header `h` with a null value.
    const FIRST: &[u8] = &[22, 0, 0, 0, 2, b'k', 2, b'v', 2, 2, b'h', 1];
    /// Three ms and one offset later, null key, null value, no headers.
    const SECOND: &[u8] = &[12, 0, 6, 2, 1, 1, 0];

    fn walk(bytes: &[u8]) -> Result<Vec<Record<'_>>, Undecodable> {
        Records::new(bytes).collect()
    }

    #[test]
    fn records_come_out_with_their_fields() {
        let both = [FIRST, SECOND].concat();
        let records = walk(&both).expect("they decode");
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].key, records[0].value), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!((records[1].key, records[1].value), (None, None));
        assert_eq!((records[1].timestamp_delta, records[1].offset_delta), (3, 1));
        assert_eq!((records[0].whole, records[1].whole), (FIRST, SECOND));
        assert_eq!(records[0].from_key, &FIRST[4..]);
    }

    #[test]
    fn every_cut_is_noticed_and_ends_the_walk() {
        for length in 1..FIRST.len() {
            let mut records = Records::new(&FIRST[..length]);
            assert!(records.next().is_some_and(|record| record.is_err()), "length {length}");
            assert_eq!(records.next(), None);
        }
    }

    #[test]
    fn impossible_lengths_are_noticed() {
        for field in [0, 4, 6, 8, 9] {
            let mut record = FIRST.to_vec();
            record[field] = 0x7e;
            assert!(walk(&record).is_err(), "field at {field}");
        }
        assert!(walk(&[0xff; 11]).is_err(), "a varint that does not end");
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, -1, 1, 63, -64, 64, 300, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(Cursor(&bytes).varint(), Some(number));
        }
    }
}
