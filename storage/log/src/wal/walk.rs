//! Walking the groups and records of one chunk file: a small read window, every header verified.

use std::sync::Arc;

use headgate_metadata::id::{WalId, WalPosition};

use crate::batch_frame::UNSUMMED_BYTES;
use crate::codec::FormatError;
use crate::disk::{DiskError, DiskFile};
use crate::wal::record::{BATCH_RECORD_HEADER_BYTES, COMMON_HEADER_BYTES};
use crate::wal::{GROUP_HEADER_BYTES, GroupHeader, RecordHeader};

/// How much is read at once: a few dozen small records, and little beside one large payload.
const WINDOW_BYTES: usize = 8 << 10;

/// A chunk file that is walked.
#[derive(Debug)]
pub(crate) struct Walk {
    wal: WalId,
    start: WalPosition,
    file: Arc<dyn DiskFile>,
    /// The bytes read last, and where they lie in the file.
    window: Vec<u8>,
    window_at: u64,
}

/// What stops a walk.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The bytes are not what a writer puts there.
    Format(FormatError),
    /// The disk failed.
    Disk(DiskError),
}

impl From<FormatError> for WalkError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<DiskError> for WalkError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl Walk {
    pub(crate) fn new(wal: WalId, start: WalPosition, file: Arc<dyn DiskFile>) -> Self {
        Self { wal, start, file, window: Vec::new(), window_at: 0 }
    }

    /// The position after the file's last byte.
    pub(crate) fn file_end(&self) -> Result<WalPosition, DiskError> {
        Ok(self.start.plus(self.file.length()?))
    }

    /// Reads a group header; the group must end at or before `limit`.
    pub(crate) fn group(&mut self, at: WalPosition, limit: WalPosition) -> Result<GroupHeader, WalkError> {
        let wal = self.wal;
        let header = GroupHeader::decode(self.bytes(at, GROUP_HEADER_BYTES)?, wal, at)?;
        if header.end() > limit {
            return Err(FormatError::CutOff { field: "write group" }.into());
        }
        Ok(header)
    }

    /// Reads a record header; the record must end at or before `group_end`.
    pub(crate) fn record(
        &mut self,
        at: WalPosition,
        group_end: WalPosition,
    ) -> Result<RecordHeader, WalkError> {
        let wal = self.wal;
        let within = (group_end.get() - at.get()) as usize;
        if within < COMMON_HEADER_BYTES {
            return Err(FormatError::CutOff { field: "record header" }.into());
        }
        let raw = self.bytes(at, within.min(BATCH_RECORD_HEADER_BYTES + UNSUMMED_BYTES))?;
        let header = RecordHeader::decode(raw, wal, at)?;
        if header.place.end() > group_end {
            return Err(FormatError::CutOff { field: "record payload" }.into());
        }
        Ok(header)
    }

    /// Verifies every record of a group, payloads included; `buffer` holds one payload at a time.
    pub(crate) fn verify(&mut self, group: &GroupHeader, buffer: &mut Vec<u8>) -> Result<(), WalkError> {
        let mut at = group.position.plus(GROUP_HEADER_BYTES as u64);
        for _ in 0..group.record_count {
            let record = self.record(at, group.end())?;
            buffer.resize(record.place.payload_bytes as usize, 0);
            let offset = record.place.payload_position.get() - self.start.get();
            let read = self.file.read_at(buffer, offset)?;
            if read < buffer.len() || !record.payload_holds(buffer) {
                let value = format!("a wrong checksum at position {}", record.place.payload_position);
                return Err(FormatError::Impossible { field: "record payload", value }.into());
            }
            at = record.place.end();
        }
        end_of_group(at, group)?;
        Ok(())
    }

    /// Bytes of the file, through the window; fewer than asked at its end.
    fn bytes(&mut self, at: WalPosition, length: usize) -> Result<&[u8], DiskError> {
        let offset = at.get() - self.start.get();
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + length as u64 > window_end {
            self.window.resize(length.max(WINDOW_BYTES), 0);
            let read = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let from = (offset - self.window_at) as usize;
        let to = self.window.len().min(from + length);
        Ok(&self.window[from..to])
    }
}

/// Checks that the records fill their group.
pub(crate) fn end_of_group(at: WalPosition, group: &GroupHeader) -> Result<(), FormatError> {
    if at == group.end() {
        return Ok(());
    }
    Err(FormatError::TooLong {
        what: "the records of a group",
        bytes: (group.end().get() - at.get()) as usize,
    })
}
