//! Appends write groups: one vectored write each, syncs when told, starts a new chunk when one is full.
//!
//! Used by one thread, the sequencer's. Invariant: after an error other than [`WalWriteError::Full`] or
//! [`WalWriteError::Misplaced`] every later call fails with the same error, because what the file holds is unknown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headgate_metadata::id::{TimestampMs, WalId, WalPosition};

use crate::disk::{Disk, DiskError, DiskFile};
use crate::wal::chunk::chunk_path;
use crate::wal::copy::mark_whole;
use crate::wal::{GroupBuilder, WalWriteError, WrittenGroup, poison, wal_dir};

/// The default size of a chunk: what one flush object holds at most, about.
pub const CHUNK_BYTES: u64 = 64 << 20;

/// What an operator may turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalWriterConfig {
    /// The preallocated size of a chunk. Higher: fewer, larger flushes and a longer replay; lower: more objects.
    pub chunk_bytes: u64,
}

impl Default for WalWriterConfig {
    fn default() -> Self {
        Self { chunk_bytes: CHUNK_BYTES }
    }
}

/// The end of a WAL that grows.
#[derive(Debug)]
pub struct WalWriter {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    wal: WalId,
    config: WalWriterConfig,
    chunk: Option<OpenChunk>,
    position: WalPosition,
    synced_through: WalPosition,
    failed: Option<DiskError>,
}

#[derive(Debug)]
struct OpenChunk {
    file: Arc<dyn DiskFile>,
    start: WalPosition,
    capacity: u64,
    started: TimestampMs,
}

impl WalWriter {
    /// Creates the directory of a new WAL below `root`, marked as whole; the first chunk comes with the first group.
    pub fn create(
        disk: Arc<dyn Disk>,
        root: &Path,
        wal: WalId,
        config: WalWriterConfig,
    ) -> Result<Self, WalWriteError> {
        disk.create_dir(&wal_dir(root, wal)).map_err(refused)?;
        mark_whole(&*disk, root, wal).map_err(refused)?;
        let start = WalPosition::new(0);
        Ok(Self {
            disk,
            root: root.to_owned(),
            wal,
            config,
            chunk: None,
            position: start,
            synced_through: start,
            failed: None,
        })
    }

    /// The log.
    pub fn wal(&self) -> WalId {
        self.wal
    }
    /// Where the next group will lie.
    pub fn position(&self) -> WalPosition {
        self.position
    }
    /// Everything below is durable.
    pub fn synced_through(&self) -> WalPosition {
        self.synced_through
    }
    /// The start of the chunk being written; `None` before the first group and right after [`WalWriter::roll`].
    pub fn chunk_start(&self) -> Option<WalPosition> {
        self.chunk.as_ref().map(|chunk| chunk.start)
    }
    /// When the chunk being written got its first group, by that group's time.
    pub fn chunk_started(&self) -> Option<TimestampMs> {
        self.chunk.as_ref().map(|chunk| chunk.started)
    }

    /// Makes sure that a group of `bytes` finds room, so that a full disk is known before anything is put in order: on
    /// [`WalWriteError::Full`] nothing has changed. Begins a new chunk if it must, as [`WalWriter::write`] would. Blocks.
    pub fn prepare(&mut self, bytes: u64, time: TimestampMs) -> Result<(), WalWriteError> {
        self.check()?;
        self.make_room(bytes, time)
    }

    /// Begins the next group.
    pub fn begin_group(&self, time: TimestampMs) -> GroupBuilder {
        GroupBuilder::begin(self.wal, self.position, time)
    }

    /// Writes a group with one vectored write and gives back its batches for the tail. Not durable before
    /// [`WalWriter::sync`]. Starts a new chunk first (after a sync of the old) when the group does not fit any more; a
    /// group larger than a chunk gets a chunk of its own size. Blocks.
    pub fn write(&mut self, group: GroupBuilder) -> Result<WrittenGroup, WalWriteError> {
        self.check()?;
        if group.position() != self.position || group.wal() != self.wal {
            return Err(WalWriteError::Misplaced { group: group.position(), writer: self.position });
        }
        let time = group.time();
        self.make_room(group.bytes(), time)?;
        let chunk = self.chunk.as_ref().expect("make_room leaves a chunk open");
        let sealed = group.seal(self.synced_through);
        let offset = self.position.get() - chunk.start.get();
        if let Err(error) = chunk.file.write_vectored_at(&sealed.slices(), offset) {
            return Err(self.fail(error));
        }
        self.position = sealed.header.end();
        Ok(sealed.into_written(chunk.start, chunk.capacity))
    }

    /// Makes everything written durable and returns up to where. On failure the copy is marked as not to be trusted and
    /// the process must stop (`storage/PROTOCOL.md` §14). Blocks.
    pub fn sync(&mut self) -> Result<WalPosition, WalWriteError> {
        self.check()?;
        if let Some(chunk) = &self.chunk
            && self.synced_through < self.position
            && let Err(error) = chunk.file.sync_data()
        {
            // The marker is best effort: the error that counts is the sync's, and the caller stops on it either way.
            let _ = poison(&*self.disk, &self.root, self.wal, &error.to_string());
            return Err(self.fail(error));
        }
        self.synced_through = self.position;
        Ok(self.synced_through)
    }

    /// Ends the chunk being written, so that the next group begins a new one; syncs first. Nothing happens if there is
    /// no chunk.
    pub fn roll(&mut self) -> Result<(), WalWriteError> {
        self.sync()?;
        self.chunk = None;
        Ok(())
    }

    /// Syncs, writes the empty closing group, which proves that everything before it is durable, and syncs that too.
    /// Returns the end of the WAL.
    pub fn close_clean(mut self, time: TimestampMs) -> Result<WalPosition, WalWriteError> {
        self.sync()?;
        let closing = self.begin_group(time);
        self.write(closing)?;
        self.sync()
    }

    fn make_room(&mut self, bytes: u64, time: TimestampMs) -> Result<(), WalWriteError> {
        let fits = self.chunk.as_ref().is_some_and(|chunk| {
            let used = self.position.get() - chunk.start.get();
            used + bytes <= chunk.capacity
        });
        if fits {
            return Ok(());
        }
        self.roll()?;
        let capacity = self.config.chunk_bytes.max(bytes);
        let path = chunk_path(&self.root, self.wal, self.position);
        let file = self.disk.create(&path, capacity).map_err(|error| match error {
            DiskError::Full { .. } => WalWriteError::Full(error),
            other => self.fail(other),
        })?;
        self.chunk = Some(OpenChunk { file, start: self.position, capacity, started: time });
        Ok(())
    }

    fn check(&self) -> Result<(), WalWriteError> {
        self.failed.clone().map_or(Ok(()), |error| Err(WalWriteError::Failed(error)))
    }

    fn fail(&mut self, error: DiskError) -> WalWriteError {
        self.failed = Some(error.clone());
        WalWriteError::Failed(error)
    }
}

fn refused(error: DiskError) -> WalWriteError {
    match error {
        DiskError::Full { .. } => WalWriteError::Full(error),
        other => WalWriteError::Failed(other),
    }
}
