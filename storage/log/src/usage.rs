//! A partition's usage counters: cumulative, so that a lost, late or repeated report changes nothing
//! (`storage/PROTOCOL.md` §13).
//!
//! ```text
//! StoredBytes    0 u128 byte-milliseconds up to `since`   16 u64 current bytes   24 u64 since, ms         32 bytes
//! UsageCounters  0 u64 bytes in   8 u64 bytes out   16 StoredBytes                                        48 bytes
//! ```

use bytes::BufMut;
use headgate_metadata::id::{ByteCount, TimestampMs};

use crate::codec::{Decoder, FormatError};

/// Stored bytes as an integral over slot time; whoever meters extrapolates from `since` with `current`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredBytes {
    /// Bytes times milliseconds, up to `since`.
    pub byte_ms: u128,
    /// The bytes stored from `since` on.
    pub current: ByteCount,
    /// The slot time of the last change.
    pub since: TimestampMs,
}

impl StoredBytes {
    /// The integral up to `time`; a time before `since` counts as `since`.
    pub fn byte_ms_at(&self, time: TimestampMs) -> u128 {
        let elapsed = time.get().saturating_sub(self.since.get());
        self.byte_ms.saturating_add(u128::from(self.current.get()) * u128::from(elapsed))
    }
    /// The figure after `bytes` were added at `time`.
    #[must_use]
    pub fn grown(&self, bytes: u64, time: TimestampMs) -> Self {
        self.changed(ByteCount::new(self.current.get().saturating_add(bytes)), time)
    }
    /// The figure after `bytes` were dropped at `time`.
    #[must_use]
    pub fn shrunk(&self, bytes: u64, time: TimestampMs) -> Self {
        self.changed(ByteCount::new(self.current.get().saturating_sub(bytes)), time)
    }
    /// The figure when `current` bytes are stored from `time` on.
    #[must_use]
    pub fn changed(&self, current: ByteCount, time: TimestampMs) -> Self {
        Self { byte_ms: self.byte_ms_at(time), current, since: time.max(self.since) }
    }

    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.put_u128_le(self.byte_ms);
        buffer.put_u64_le(self.current.get());
        buffer.put_u64_le(self.since.get());
    }
    pub(crate) fn decode(fields: &mut Decoder<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            byte_ms: fields.u128("stored byte-ms")?,
            current: ByteCount::new(fields.u64("stored bytes")?),
            since: fields.time("stored since")?,
        })
    }
}

/// All counters of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageCounters {
    /// Bytes of the data batches appended.
    pub bytes_in: ByteCount,
    /// Bytes of the batches handed to consumers.
    pub bytes_out: ByteCount,
    /// Stored bytes over time.
    pub stored: StoredBytes,
}

impl UsageCounters {
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.put_u64_le(self.bytes_in.get());
        buffer.put_u64_le(self.bytes_out.get());
        self.stored.encode(buffer);
    }
    pub(crate) fn decode(fields: &mut Decoder<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            bytes_in: ByteCount::new(fields.u64("bytes in")?),
            bytes_out: ByteCount::new(fields.u64("bytes out")?),
            stored: StoredBytes::decode(fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integral_grows_with_time_and_the_bytes_of_each_moment() {
        let at = TimestampMs::new;
        let stored = StoredBytes::default().grown(100, at(1_000)).grown(50, at(3_000)).shrunk(120, at(4_000));
        assert_eq!(stored.byte_ms, 100 * 2_000 + 150 * 1_000);
        assert_eq!(stored.byte_ms_at(at(5_000)), 350_000 + 30 * 1_000);
    }

    #[test]
    fn a_time_before_the_last_change_adds_nothing_and_does_not_go_back() {
        let at = TimestampMs::new;
        let stored = StoredBytes::default().grown(100, at(1_000)).grown(50, at(500));
        assert_eq!((stored.byte_ms, stored.since), (0, at(1_000)));
    }
}
