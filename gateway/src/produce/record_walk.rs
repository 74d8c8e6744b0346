//! One walk over the records of an uncompressed batch: a batch whose records do not add up would stop every consumer of its
//! partition.
//!
//! ```text
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint | key length varint, key
//!         | value length varint, value | headers count varint | each: key length varint, key, value length varint, value
//! ```
//! Varints are zig-zag encoded; a length of -1 is null. Source: <https://kafka.apache.org/documentation/#record>.

/// Whether `bytes` hold exactly `count` records, each as long as it says, with offset deltas 0, 1, 2, …
pub(super) fn records_are_sound(bytes: &[u8], count: u32) -> bool {
    let mut rest = Cursor(bytes);
    for delta in 0..count {
        let sound =
            rest.length().and_then(|length| rest.take(length)).and_then(|record| check(record, delta));
        if sound.is_none() {
            return false;
        }
    }
    rest.0.is_empty()
}

fn check(record: &[u8], delta: u32) -> Option<()> {
    let mut fields = Cursor(record);
    fields.take(1)?;
    fields.varint()?;
    if fields.varint()? != i64::from(delta) {
        return None;
    }
    fields.nullable()?;
    fields.nullable()?;
    for _ in 0..fields.length()? {
        // A header's key is never null.
        let key = fields.length()?;
        fields.take(key)?;
        fields.nullable()?;
    }
    fields.0.is_empty().then_some(())
}

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
    fn nullable(&mut self) -> Option<()> {
        match self.varint()? {
            -1 => Some(()),
            length => self.take(usize::try_from(length).ok()?).map(|_| ()),
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
    /// Offset delta 1, null key, null value, no headers.
    const SECOND: &[u8] = &[12, 0, 0, 2, 1, 1, 0];

    #[test]
    fn records_that_add_up_are_sound() {
        assert!(records_are_sound(FIRST, 1));
        assert!(records_are_sound(&[FIRST, SECOND].concat(), 2));
    }

    #[test]
    fn a_wrong_count_or_order_is_noticed() {
        assert!(!records_are_sound(FIRST, 2));
        assert!(!records_are_sound(&[FIRST, SECOND].concat(), 1));
        assert!(!records_are_sound(SECOND, 1), "the first offset delta is 0");
    }

    #[test]
    fn every_cut_is_noticed() {
        for length in 0..FIRST.len() {
            assert!(!records_are_sound(&FIRST[..length], 1), "length {length}");
        }
    }

    #[test]
    fn impossible_lengths_are_noticed() {
        for field in [0, 4, 6, 8, 9] {
            let mut record = FIRST.to_vec();
            record[field] = 0x7e;
            assert!(!records_are_sound(&record, 1), "field at {field}");
        }
        assert!(!records_are_sound(&[0xff; 11], 1), "a varint that does not end");
    }
}
