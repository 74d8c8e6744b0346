//! Reading and writing little-endian fields, for the formats of this crate.
//!
//! The decoder never panics: whatever the bytes are, the answer is a value or a [`FormatError`] that names the field.

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{
    ClusterId, Incarnation, KeyId, NodeId, Offset, PartitionId, PartitionKey, SlotEpoch, SlotId, TimestampMs,
    TopicId, WalId, WalPosition,
};

/// Why bytes are not what they should be. The caller treats the thing they came from as corrupt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end inside a field.
    #[error("`{field}` is cut off")]
    CutOff {
        /// The field that was read.
        field: &'static str,
    },
    /// A field holds a value it cannot have.
    #[error("`{field}` has the impossible value {value}")]
    Impossible {
        /// The field.
        field: &'static str,
        /// Its value, as text.
        value: String,
    },
    /// The thing is of another format or of a version this build does not know.
    #[error("not a {expected} of version {version}: found {found}")]
    Foreign {
        /// What was expected.
        expected: &'static str,
        /// The version this build reads.
        version: u16,
        /// What was found, as text.
        found: String,
    },
    /// A checksum does not match.
    #[error("checksum of {what} is {computed:#010x}, {stored:#010x} was stored")]
    Checksum {
        /// What it covers.
        what: &'static str,
        /// The sum in the bytes.
        stored: u32,
        /// The sum of the bytes.
        computed: u32,
    },
    /// Bytes are left over where nothing may follow.
    #[error("{bytes} bytes too many after {what}")]
    TooLong {
        /// What ended too early.
        what: &'static str,
        /// How many bytes are left over.
        bytes: usize,
    },
    /// The block is encrypted with a key this build cannot use (`storage/PROTOCOL.md` §15).
    #[error("encrypted with key {key}, which is not available")]
    Encrypted {
        /// The key's id.
        key: KeyId,
    },
}

/// Compares a stored checksum with a computed one.
pub(crate) fn verify(what: &'static str, stored: u32, computed: u32) -> Result<(), FormatError> {
    if stored == computed { Ok(()) } else { Err(FormatError::Checksum { what, stored, computed }) }
}

/// Reads fields from the front of a buffer.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

macro_rules! integers {
    ($($name:ident: $type:ty),+) => {$(
        pub(crate) fn $name(&mut self, field: &'static str) -> Result<$type, FormatError> {
            Ok(<$type>::from_le_bytes(self.array(field)?))
        }
    )+};
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Checks that everything was read.
    pub(crate) fn end(self, what: &'static str) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FormatError::TooLong { what, bytes: self.rest.len() }) }
    }

    pub(crate) fn slice(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(FormatError::CutOff { field })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(FormatError::CutOff { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    integers!(u8: u8, u16: u16, u32: u32, u64: u64, u128: u128, i32: i32, i64: i64);

    /// A count of things of at least `bytes_each` bytes: bounded by what is left, so that a bad count allocates
    /// nothing.
    pub(crate) fn count(&mut self, bytes_each: usize, field: &'static str) -> Result<usize, FormatError> {
        let count = self.u32(field)? as usize;
        if count.saturating_mul(bytes_each) > self.remaining() {
            return Err(FormatError::CutOff { field });
        }
        Ok(count)
    }

    /// `0` or `1`.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, FormatError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(FormatError::Impossible { field, value: other.to_string() }),
        }
    }

    /// Bytes with a `u32` length before them.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Bytes, FormatError> {
        let length = self.u32(field)? as usize;
        self.slice(length, field).map(Bytes::copy_from_slice)
    }

    /// UTF-8 text with a `u32` length before it.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, FormatError> {
        let length = self.u32(field)? as usize;
        let raw = self.slice(length, field)?;
        let text = std::str::from_utf8(raw);
        text.map(str::to_owned).map_err(|error| FormatError::Impossible { field, value: error.to_string() })
    }

    pub(crate) fn cluster(&mut self) -> Result<ClusterId, FormatError> {
        let raw: [u8; 8] = self.array("cluster")?;
        ClusterId::from_bytes(raw)
            .ok_or_else(|| FormatError::Impossible { field: "cluster", value: format!("{raw:02x?}") })
    }

    pub(crate) fn topic(&mut self) -> Result<TopicId, FormatError> {
        TopicId::from_bytes(self.array("topic")?)
            .ok_or_else(|| FormatError::Impossible { field: "topic", value: "all zeros".to_owned() })
    }

    pub(crate) fn partition_key(&mut self) -> Result<PartitionKey, FormatError> {
        let (cluster, topic) = (self.cluster()?, self.topic()?);
        Ok(PartitionKey { cluster, topic, partition: PartitionId::new(self.u32("partition")?) })
    }

    pub(crate) fn wal(&mut self) -> Result<WalId, FormatError> {
        let node = NodeId::new(self.u32("node")?);
        Ok(WalId { node, incarnation: Incarnation::new(self.u64("incarnation")?) })
    }

    pub(crate) fn slot(&mut self) -> Result<SlotId, FormatError> {
        Ok(SlotId::new(self.u16("slot")?))
    }
    pub(crate) fn slot_epoch(&mut self) -> Result<SlotEpoch, FormatError> {
        Ok(SlotEpoch::new(self.u32("slot epoch")?))
    }
    pub(crate) fn key_id(&mut self) -> Result<KeyId, FormatError> {
        Ok(KeyId::new(self.u32("key id")?))
    }
    pub(crate) fn offset(&mut self, field: &'static str) -> Result<Offset, FormatError> {
        Ok(Offset::new(self.u64(field)?))
    }
    pub(crate) fn position(&mut self, field: &'static str) -> Result<WalPosition, FormatError> {
        Ok(WalPosition::new(self.u64(field)?))
    }
    pub(crate) fn time(&mut self, field: &'static str) -> Result<TimestampMs, FormatError> {
        Ok(TimestampMs::new(self.u64(field)?))
    }

    /// Checks that reserved bytes are zero, so that a later version may give them a meaning.
    pub(crate) fn reserved(&mut self, length: usize) -> Result<(), FormatError> {
        let raw = self.slice(length, "reserved")?;
        if raw.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(FormatError::Impossible { field: "reserved", value: format!("{raw:02x?}") })
    }
}

/// Writes fields to the end of a buffer.
pub(crate) trait Encode: BufMut {
    fn put_bytes_with_length(&mut self, bytes: &[u8]) {
        self.put_u32_le(bytes.len() as u32);
        self.put_slice(bytes);
    }
    fn put_partition_key(&mut self, partition: &PartitionKey) {
        self.put_slice(partition.cluster.as_bytes());
        self.put_slice(partition.topic.as_bytes());
        self.put_u32_le(partition.partition.get());
    }
    fn put_wal(&mut self, wal: WalId) {
        self.put_u32_le(wal.node.get());
        self.put_u64_le(wal.incarnation.get());
    }
}

impl<B: BufMut + ?Sized> Encode for B {}
