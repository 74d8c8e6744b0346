//! The fixed footer of a flush object.
//!
//! ```text
//!  0  u64  where the index block begins
//!  8  u64  its length
//! 16  u32  its CRC-32C
//! 20  u32  WAL id: node
//! 24  u64  WAL id: incarnation
//! 32  u64  start: the first WAL position in the object
//! 40  u64  end: the position after the last
//! 48  u16  version 1
//! 50  u16  zero
//! 52  u32  CRC-32C of bytes 0..52 and 56..64
//! 56  [8]  magic "HGFLUSH1"
//! ```

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{WalId, WalPosition};

use crate::checksum::{crc32c, crc32c_of};
use crate::codec::{Decoder, Encode, FormatError, verify};
use crate::object::{FlushIndex, index_codec};

/// The bytes of a footer.
pub const FOOTER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"HGFLUSH1";
const VERSION: u16 = 1;
const CHECKSUM_AT: usize = 52;

/// Says what the object is and where its index lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The log.
    pub wal: WalId,
    /// The first position.
    pub start: WalPosition,
    /// The position after the last.
    pub end: WalPosition,
    /// Where the index block begins.
    pub index_offset: u64,
    /// The bytes of the index block.
    pub index_bytes: u64,
    /// The CRC-32C of the index block.
    pub index_checksum: u32,
}

impl Footer {
    /// The stored form.
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut raw = [0; FOOTER_BYTES];
        let mut fields = &mut raw[..];
        fields.put_u64_le(self.index_offset);
        fields.put_u64_le(self.index_bytes);
        fields.put_u32_le(self.index_checksum);
        fields.put_wal(self.wal);
        fields.put_u64_le(self.start.get());
        fields.put_u64_le(self.end.get());
        fields.put_u16_le(VERSION);
        fields.put_u16_le(0);
        fields.put_u32_le(0);
        fields.put_slice(MAGIC);
        let sum = crc32c_of([&raw[..CHECKSUM_AT], &MAGIC[..]]);
        raw[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        raw
    }

    /// Reads the stored form: the last bytes of an object of `object_bytes`.
    pub fn decode(raw: &[u8; FOOTER_BYTES], object_bytes: u64) -> Result<Self, FormatError> {
        let foreign =
            |found: String| FormatError::Foreign { expected: "flush object", version: VERSION, found };
        if !raw.ends_with(MAGIC) {
            return Err(foreign(format!("bytes {:02x?}", &raw[FOOTER_BYTES - MAGIC.len()..])));
        }
        let mut fields = Decoder::new(raw);
        let footer = Self {
            index_offset: fields.u64("index offset")?,
            index_bytes: fields.u64("index length")?,
            index_checksum: fields.u32("index checksum")?,
            wal: fields.wal()?,
            start: fields.position("start")?,
            end: fields.position("end")?,
        };
        let version = fields.u16("version")?;
        fields.reserved(2)?;
        let stored = fields.u32("footer checksum")?;
        verify("the footer", stored, crc32c_of([&raw[..CHECKSUM_AT], &MAGIC[..]]))?;
        if version != VERSION {
            return Err(foreign(format!("version {version}")));
        }
        let sum = footer.index_offset.checked_add(footer.index_bytes);
        if sum.and_then(|sum| sum.checked_add(FOOTER_BYTES as u64)) != Some(object_bytes) {
            return Err(FormatError::Impossible {
                field: "index length",
                value: footer.index_bytes.to_string(),
            });
        }
        if footer.start > footer.end {
            return Err(FormatError::Impossible { field: "end", value: footer.end.to_string() });
        }
        Ok(footer)
    }
}

/// Ends an object: its index block and its footer, behind `index_offset` bytes of runs.
pub(super) fn seal(index: &FlushIndex, index_offset: u64, parts: &mut Vec<Bytes>) {
    let block = index_codec::encode(index);
    let footer = Footer {
        wal: index.wal,
        start: index.start,
        end: index.end,
        index_offset,
        index_bytes: block.len() as u64,
        index_checksum: crc32c(&block),
    };
    parts.push(Bytes::from(block));
    parts.push(Bytes::copy_from_slice(&footer.encode()));
}
