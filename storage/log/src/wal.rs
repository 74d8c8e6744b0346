//! The write-ahead log of one incarnation of a node: write groups in preallocated chunk files.
//!
//! A WAL is a directory `<root>/<wal id>/` of chunks `<start position, 20 digits>.chunk`. Positions are bytes from 0
//! and run on without gaps through groups and chunks: a byte's place in its file is its position minus the chunk's
//! start. A group never crosses chunks; what a chunk has left when the next one starts stays zero and belongs to
//! nobody.
//!
//! ```text
//! chunk  = group … group zeros
//! group  = group header (group.rs), record … record      written by one vectored write
//! record = record header (record.rs), payload
//! ```
//!
//! Invariants:
//! 1. A chunk is created only after everything in the chunk before it was synced, so the mere presence of a later chunk
//!    proves that nothing in an earlier one may be cut.
//! 2. A group's `synced-through` was true of the disk before the group was written (`storage/PROTOCOL.md` §14).
//! 3. Chunk files are never reused, renamed or appended to by another incarnation.

mod chunk;
mod copy;
mod error;
mod group;
mod poison;
mod reader;
mod record;
mod scan;
mod walk;
mod writer;

pub use chunk::{Chunk, list_chunks, list_wals, remove_chunks_below, remove_wal, wal_dir};
pub use copy::{CopiedGroup, CopyError, WalCopy, is_whole, promise, read_groups};
pub use error::{Corruption, WalReadError, WalWriteError};
pub use group::{GROUP_HEADER_BYTES, GroupBuilder, GroupHeader, WrittenBatch, WrittenGroup};
pub use poison::{is_poisoned, poison, rewrite_poisoned};
pub use reader::{WalReader, WalReaderConfig};
pub use record::{
    BatchControl, BatchMeta, BatchProducer, RecordHeader, RecordKind, RecordPlace, Stamp, StateMeta,
    payload_slices_hold,
};
pub use scan::{Records, WalScan};
pub use writer::{CHUNK_BYTES, WalWriter, WalWriterConfig};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
