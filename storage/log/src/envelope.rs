//! The frame of the small objects (manifest, state object, list object): what it is, and a checksum over all of it.
//!
//! ```text
//!  0  [8]  magic
//!  8  u16  version
//! 10  u16  slot
//! 12  u32  CRC-32C of bytes 0..12 and 16..
//! 16  body
//! ```

use bytes::{BufMut, Bytes};
use headgate_metadata::id::SlotId;

use crate::checksum::crc32c_of;
use crate::codec::{Decoder, FormatError, verify};

const HEADER_BYTES: usize = 16;
const CHECKSUM_AT: usize = 12;

/// A kind of small object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) magic: &'static [u8; 8],
    pub(crate) version: u16,
    /// For error texts.
    pub(crate) what: &'static str,
}

impl Envelope {
    /// A buffer to append the body to.
    pub(crate) fn begin(&self, slot: SlotId) -> Vec<u8> {
        let mut raw = Vec::with_capacity(1 << 10);
        raw.put_slice(self.magic);
        raw.put_u16_le(self.version);
        raw.put_u16_le(slot.get());
        raw.put_u32_le(0);
        raw
    }

    /// Fills in the checksum of what [`Envelope::begin`] began.
    pub(crate) fn seal(mut raw: Vec<u8>) -> Bytes {
        let sum = crc32c_of([&raw[..CHECKSUM_AT], &raw[HEADER_BYTES..]]);
        raw[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        raw.into()
    }

    /// Verifies the frame and gives the body.
    pub(crate) fn open<'a>(&self, raw: &'a [u8]) -> Result<(SlotId, Decoder<'a>), FormatError> {
        let mut fields = Decoder::new(raw);
        let foreign =
            |found: String| FormatError::Foreign { expected: self.what, version: self.version, found };
        let magic: [u8; 8] = fields.array("magic")?;
        if magic != *self.magic {
            return Err(foreign(format!("bytes {magic:02x?}")));
        }
        let version = fields.u16("version")?;
        let slot = fields.slot()?;
        let stored = fields.u32("checksum")?;
        verify(self.what, stored, crc32c_of([&raw[..CHECKSUM_AT], &raw[HEADER_BYTES..]]))?;
        if version != self.version {
            return Err(foreign(format!("version {version}")));
        }
        Ok((slot, fields))
    }
}
