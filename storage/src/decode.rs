//! Looking inside stored batches: the one place where the node decodes records, to find offsets by time.
//!
//! The layout is drawn in [`headgate_storage_client::RecordBatch`]'s module. What is read here came from a client and is
//! trusted for nothing: every length is checked and what a codec may expand to is bounded.
//! Source: <https://kafka.apache.org/documentation/#record>.

use bytes::Bytes;
use headgate_metadata::id::{LeaderEpoch, Offset};
use headgate_storage_client::records::{Record, Records, Undecodable};
use headgate_storage_client::{BATCH_HEADER_BYTES, Compression};

/// One stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredBatch(Bytes);

/// A record's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordTime {
    pub(crate) offset: Offset,
    pub(crate) timestamp: i64,
}

impl StoredBatch {
    /// Takes one batch off the front of `bytes`; `None` when they do not begin with a whole one.
    pub(crate) fn split_from(bytes: &mut Bytes) -> Option<Self> {
        let length = batch_size(bytes)?;
        (length <= bytes.len()).then(|| Self(bytes.split_to(length)))
    }
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
    pub(crate) fn base_offset(&self) -> Offset {
        Offset::new(u64::from_be_bytes(self.array(0)))
    }
    pub(crate) fn last_offset(&self) -> Offset {
        self.base_offset().plus(u64::from(u32::from_be_bytes(self.array(23))))
    }
    pub(crate) fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(35))
    }
    /// Whether the bytes before its checksum, which that does not cover, are those of a batch at this place.
    pub(crate) fn stands_at(&self, offset: Offset, epoch: LeaderEpoch) -> bool {
        const MAGIC: u8 = 2;
        let found = u32::from_be_bytes(self.array(12));
        self.base_offset() == offset && found == epoch.get() && self.0[16] == MAGIC
    }
    pub(crate) fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(27))
    }
    pub(crate) fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.array(21))
    }
    pub(crate) fn is_log_append_time(&self) -> bool {
        self.attributes() & 0x08 != 0
    }

    /// The first record at or after the offset `from` whose timestamp is at least `target`.
    pub(crate) fn first_at_least(
        &self,
        target: i64,
        from: Offset,
    ) -> Result<Option<RecordTime>, Undecodable> {
        if self.max_timestamp() < target || self.last_offset() < from {
            return Ok(None);
        }
        if self.is_log_append_time() {
            // All its records carry the broker's one time.
            let offset = self.base_offset().max(from);
            return Ok(Some(RecordTime { offset, timestamp: self.max_timestamp() }));
        }
        let records = self.decompressed()?;
        for record in Records::new(&records) {
            let record = record?;
            let timestamp = self.base_timestamp().wrapping_add(record.timestamp_delta);
            let offset = self.offset_of(&record)?;
            if timestamp >= target && offset >= from && offset <= self.last_offset() {
                return Ok(Some(RecordTime { offset, timestamp }));
            }
        }
        Ok(None)
    }

    /// The offset of one of its records.
    pub(crate) fn offset_of(&self, record: &Record<'_>) -> Result<Offset, Undecodable> {
        let delta = u64::try_from(record.offset_delta).map_err(|_| Undecodable("offset delta"))?;
        Ok(self.base_offset().plus(delta))
    }

    /// The records as they were before compression; walk them with [`Records`].
    pub(crate) fn decompressed(&self) -> Result<Bytes, Undecodable> {
        let codec = Compression::of_attributes(self.attributes()).ok_or(Undecodable("unknown codec"))?;
        codec.decompress(&self.0.slice(BATCH_HEADER_BYTES..))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0[at + index])
    }
}

/// The size of the batch that `bytes` begin with; `None` when there is no whole header or its length is nonsense.
pub(crate) fn batch_size(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?) as usize;
    let size = length.checked_add(12)?;
    (size >= BATCH_HEADER_BYTES && bytes.len() >= BATCH_HEADER_BYTES).then_some(size)
}

#[cfg(test)]
mod tests;
