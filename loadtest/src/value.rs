//! What a load-test record carries in its value, so that a reader can tell which record it holds.
//!
//! ```text
//!  0  magic "HGLT"
//!  4  producer        u32   number of the producer inside its run
//!  8  partition       u32   the partition it was sent to
//! 12  run             u64   random number of the `produce` invocation
//! 20  sequence        u64   counts this producer's records for this partition, from 0
//! 28  sent            i64   microseconds since the Unix epoch at which the record was due
//! 36  padding         up to the record size asked for
//! ```
//! All numbers are big-endian.

use bytes::{Buf, BufMut};

const MAGIC: u32 = u32::from_be_bytes(*b"HGLT");

/// The smallest value that can be decoded, in bytes.
pub(crate) const VALUE_BYTES_MIN: usize = 36;

/// The identity of one record and the moment it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) series: Series,
    pub(crate) sequence: u64,
    pub(crate) sent_micros: i64,
}

/// The records of one producer for one partition in one run: the unit within which order is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Series {
    pub(crate) run: u64,
    pub(crate) producer: u32,
    pub(crate) partition: i32,
}

impl std::fmt::Display for Series {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "run={:016x} producer={} partition={}", self.run, self.producer, self.partition)
    }
}

impl Value {
    /// Writes the value's fixed part; the caller adds the padding.
    pub(crate) fn encode(&self, buffer: &mut impl BufMut) {
        buffer.put_u32(MAGIC);
        buffer.put_u32(self.series.producer);
        buffer.put_i32(self.series.partition);
        buffer.put_u64(self.series.run);
        buffer.put_u64(self.sequence);
        buffer.put_i64(self.sent_micros);
    }

    /// Reads a value; `None` if another program wrote it.
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < VALUE_BYTES_MIN || bytes.get_u32() != MAGIC {
            return None;
        }
        let producer = bytes.get_u32();
        let partition = bytes.get_i32();
        let run = bytes.get_u64();
        let sequence = bytes.get_u64();
        let sent_micros = bytes.get_i64();
        Some(Self { series: Series { run, producer, partition }, sequence, sent_micros })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_back_as_written() {
        let value = Value {
            series: Series { run: u64::MAX - 1, producer: 7, partition: 3 },
            sequence: 1 << 40,
            sent_micros: -5,
        };
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        assert_eq!(bytes.len(), VALUE_BYTES_MIN);
        bytes.extend_from_slice(b"padding");
        assert_eq!(Value::parse(&bytes), Some(value));
    }

    #[test]
    fn values_of_other_programs_are_not_decoded() {
        assert_eq!(Value::parse(b""), None);
        assert_eq!(Value::parse(b"HGLT but far too short"), None);
        assert_eq!(Value::parse(&[0; 64]), None);
    }
}
