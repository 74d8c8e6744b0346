//! Reads payload bytes of any WAL on this disk by position.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use headgate_metadata::id::{WalId, WalPosition};

use crate::disk::{Disk, DiskError, DiskFile};
use crate::wal::{Chunk, Corruption, WalReadError, list_chunks};

/// What an operator may turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalReaderConfig {
    /// How many chunk files are kept open. Higher: more descriptors, and trimmed chunks keep their blocks longer;
    /// lower: more opens.
    pub open_files_max: usize,
}

impl Default for WalReaderConfig {
    fn default() -> Self {
        Self { open_files_max: 64 }
    }
}

/// Reads any WAL below one root. Shared by all readers; calls block, so they run where that is allowed.
#[derive(Debug)]
pub struct WalReader {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    config: WalReaderConfig,
    open: Mutex<VecDeque<OpenFile>>,
}

#[derive(Debug, Clone)]
struct OpenFile {
    wal: WalId,
    start: WalPosition,
    /// Known once a later chunk exists.
    end: Option<WalPosition>,
    file: Arc<dyn DiskFile>,
}

impl OpenFile {
    fn surely_holds(&self, wal: WalId, position: WalPosition) -> bool {
        self.wal == wal && self.start <= position && self.end.is_some_and(|end| position < end)
    }
}

impl WalReader {
    /// A reader of the WALs below `root`.
    pub fn new(disk: Arc<dyn Disk>, root: &Path, config: WalReaderConfig) -> Self {
        Self { disk, root: root.to_owned(), config, open: Mutex::new(VecDeque::new()) }
    }

    /// Reads `length` bytes from `position` on. They lie in one chunk, as every record does. Nothing is verified here:
    /// the bytes may be unsynced, and the reader of a batch checks the batch's own sum. Blocks.
    pub fn read(&self, wal: WalId, position: WalPosition, length: usize) -> Result<Bytes, WalReadError> {
        let open = self.file_at(wal, position)?;
        let mut buffer = vec![0; length];
        let read = open.file.read_at(&mut buffer, position.get() - open.start.get())?;
        if read < length {
            let file = format!("{:020}.chunk", open.start.get());
            let what = format!("the file ends after {read} of {length} bytes");
            return Err(Corruption { wal, file, position, what }.into());
        }
        Ok(Bytes::from(buffer))
    }

    /// Closes the files of chunks that end at or below `position`, so that removing them frees their blocks.
    pub fn forget_below(&self, wal: WalId, position: WalPosition) {
        self.lock().retain(|open| open.wal != wal || open.end.is_none_or(|end| end > position));
    }

    /// Closes all files of a WAL.
    pub fn forget(&self, wal: WalId) {
        self.lock().retain(|open| open.wal != wal);
    }

    fn file_at(&self, wal: WalId, position: WalPosition) -> Result<OpenFile, WalReadError> {
        if let Some(open) = self.used(|open| open.surely_holds(wal, position)) {
            return Ok(open);
        }
        // The last chunk's end is not known while it grows, so the directory is asked again: a newer chunk may have
        // begun.
        let chunks = list_chunks(&*self.disk, &self.root, wal)?;
        let holder = chunks.into_iter().rev().find(|chunk| chunk.start <= position);
        let chunk = holder.ok_or(WalReadError::Trimmed { wal, position })?;
        match self.used(|open| open.wal == wal && open.start == chunk.start) {
            Some(open) => {
                self.learn_end(wal, &chunk);
                Ok(open)
            }
            None => self.open_chunk(wal, position, &chunk),
        }
    }

    fn open_chunk(&self, wal: WalId, position: WalPosition, chunk: &Chunk) -> Result<OpenFile, WalReadError> {
        let file = match self.disk.open(&chunk.path) {
            Err(DiskError::NotFound { .. }) => return Err(WalReadError::Trimmed { wal, position }),
            other => other?,
        };
        let opened = OpenFile { wal, start: chunk.start, end: chunk.end, file };
        let mut open = self.lock();
        open.push_front(opened.clone());
        open.truncate(self.config.open_files_max.max(1));
        Ok(opened)
    }

    /// Finds an open file and makes it the last to be closed.
    fn used(&self, matches: impl Fn(&OpenFile) -> bool) -> Option<OpenFile> {
        let mut open = self.lock();
        let index = open.iter().position(matches)?;
        let found = open.remove(index)?;
        open.push_front(found.clone());
        Some(found)
    }

    fn learn_end(&self, wal: WalId, chunk: &Chunk) {
        for open in self.lock().iter_mut().filter(|open| open.wal == wal && open.start == chunk.start) {
            open.end = chunk.end;
        }
    }

    /// A panic elsewhere leaves at worst a list of open files, which is always usable.
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<OpenFile>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
