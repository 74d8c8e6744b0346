//! A byte-exact copy of another node's WAL, grown group by group as the owner streams it (`storage/PROTOCOL.md` §2.3, §3).
//!
//! The copy has the chunk files of the owner: a chunk begins where the owner's does, or, in a copy that begins later, at the
//! copy's first group. So every scan, reader and flusher works on a copy as on the original.
//!
//! Invariants:
//! 1. A group is appended only at the end of what is held: a copy has no holes.
//! 2. What a group's `synced-through` claims is true of this disk too before the group is written here; so a torn end of a
//!    copy is told from corruption by the same rule as in the original (§14).
//! 3. Beside its chunks a copy has a mark, durable before what it speaks of: `catching-up` before anything is thrown away or
//!    written anew, `whole` when it holds all that a member must, `part` when it was fetched from others up to a place that is not the
//!    log's end. Neither means that the disk was lost.
//! 4. A copy with a promise takes no group from an owner, ever again (§4). The promise is synced whatever `wal.sync` says, and
//!    outlives the copy it was made for.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::{WalId, WalPosition};

use crate::codec::FormatError;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::wal::chunk::chunk_path;
use crate::wal::{
    GROUP_HEADER_BYTES, GroupHeader, WalReadError, WalScan, is_poisoned, list_chunks, poison, wal_dir,
};

const PROMISE: &str = "promise";
const UNFINISHED: &str = "catching-up";
const WHOLE: &str = "whole";
const PART: &str = "part";

/// One write group on its way to a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedGroup {
    /// Where it lies.
    pub position: WalPosition,
    /// The position after it.
    pub end: WalPosition,
    /// Where the owner's chunk begins that holds it.
    pub chunk_start: WalPosition,
    /// The preallocated size of that chunk.
    pub chunk_bytes: u64,
    /// Its bytes, group header first; slices to be written one after another.
    pub bytes: Vec<Bytes>,
}

/// Why a copy did not take a group, named by what the owner does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The copy promised a seal: whoever streams is not the owner any more.
    #[error("copy of WAL {0} has promised a seal")]
    Promised(WalId),
    /// The group does not begin at or before the end of what is held. Go on from there.
    #[error("copy ends at {held}")]
    Gap {
        /// The end of what is held.
        held: WalPosition,
    },
    /// The bytes are no group of that WAL at that place. A bug or damage on the way; nothing was written.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// The disk failed. After anything but a full disk the copy is not to be trusted and must be given up.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A copy that may grow. Used by one thread at a time; calls block.
#[derive(Debug)]
pub struct WalCopy {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    wal: WalId,
    chunk: Option<OpenChunk>,
    held: WalPosition,
    synced: WalPosition,
    promised: bool,
    unfinished: bool,
    /// It was fetched as far as somebody needed it; a member holds more.
    part: bool,
}

#[derive(Debug)]
struct OpenChunk {
    file: Arc<dyn DiskFile>,
    start: WalPosition,
    capacity: u64,
}

impl WalCopy {
    /// Opens the copy of `wal` below `root` for groups from `from` on. What an earlier process left is taken up if it is sound
    /// and reaches from at or below `from` to at or above it; else it is thrown away and the copy begins anew at `from`.
    ///
    /// A copy that begins anew is *catching up*: until [`WalCopy::finish`] it is nobody's member, a crash leaves it untrusted,
    /// and its groups are synced only when asked.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, wal: WalId, from: WalPosition) -> Result<Self, CopyError> {
        let dir = wal_dir(root, wal);
        disk.create_dir(&dir)?;
        if exists(&*disk, &dir.join(PROMISE))? {
            return Err(CopyError::Promised(wal));
        }
        let mut copy = Self::at(disk, root, wal, from);
        if !copy.take_up(from)? {
            copy.begin_anew()?;
        }
        Ok(copy)
    }

    /// Begins a copy anew from `from` on, for bytes that are known to be part of the log: also one that has promised a seal and
    /// holds less. The promise stays, so that after this process it takes nothing from an owner either.
    pub fn replace(
        disk: Arc<dyn Disk>,
        root: &Path,
        wal: WalId,
        from: WalPosition,
    ) -> Result<Self, CopyError> {
        disk.create_dir(&wal_dir(root, wal))?;
        let mut copy = Self::at(disk, root, wal, from);
        copy.begin_anew()?;
        Ok(copy)
    }

    fn at(disk: Arc<dyn Disk>, root: &Path, wal: WalId, from: WalPosition) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            wal,
            chunk: None,
            held: from,
            synced: from,
            promised: false,
            unfinished: false,
            part: false,
        }
    }

    /// Throws away what is there, the promise excepted. Marked first: what a crash leaves does not count.
    fn begin_anew(&mut self) -> Result<(), DiskError> {
        let dir = wal_dir(&self.root, self.wal);
        self.disk.write_atomic(&dir.join(UNFINISHED), b"")?;
        for name in self.disk.list(&dir)?.iter().filter(|name| *name != PROMISE && *name != UNFINISHED) {
            self.disk.remove(&dir.join(name))?;
        }
        (self.unfinished, self.part) = (true, false);
        Ok(())
    }

    /// Goes on from what is on disk, if that is sound and of use.
    fn take_up(&mut self, from: WalPosition) -> Result<bool, CopyError> {
        let dir = wal_dir(&self.root, self.wal);
        if exists(&*self.disk, &dir.join(UNFINISHED))?
            || is_poisoned(&*self.disk, &self.root, self.wal)?.is_some()
        {
            return Ok(false);
        }
        let scan = match WalScan::open(Arc::clone(&self.disk), &self.root, self.wal, None) {
            Ok(scan) => scan,
            Err(WalReadError::Disk(error)) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        let Some(last) = scan.chunks().last().filter(|_| scan.start() <= from && from <= scan.end()) else {
            return Ok(false);
        };
        let file = self.disk.open(&last.path)?;
        let capacity = file.length()?;
        match scan.sync() {
            Ok(()) => {}
            Err(WalReadError::Disk(error)) => return Err(error.into()),
            Err(_) => return Ok(false),
        }
        self.chunk = Some(OpenChunk { file, start: last.start, capacity });
        (self.held, self.synced) = (scan.end(), scan.end());
        self.part = exists(&*self.disk, &dir.join(PART))?;
        Ok(true)
    }

    /// The end of what is held, synced or not.
    pub fn held(&self) -> WalPosition {
        self.held
    }

    /// The end of what is durable.
    pub fn synced(&self) -> WalPosition {
        self.synced
    }

    /// Whether it is still catching up.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished || self.part
    }

    /// Appends a group; one that is held already is passed over. Not durable before [`WalCopy::sync`].
    pub fn append(&mut self, group: &CopiedGroup) -> Result<(), CopyError> {
        if self.promised {
            return Err(CopyError::Promised(self.wal));
        }
        if group.end <= self.held {
            return Ok(());
        }
        if group.position != self.held {
            return Err(CopyError::Gap { held: self.held });
        }
        let header = self.check(group)?;
        if !self.unfinished && header.synced_through > self.synced {
            self.sync()?;
        }
        self.make_room(group)?;
        let chunk = self.chunk.as_ref().expect("make_room leaves a chunk open");
        let slices: Vec<IoSlice<'_>> = group.bytes.iter().map(|slice| IoSlice::new(slice)).collect();
        chunk.file.write_vectored_at(&slices, group.position.get() - chunk.start.get())?;
        self.held = group.end;
        Ok(())
    }

    /// Makes everything held durable. A failure marks the copy as not to be trusted.
    pub fn sync(&mut self) -> Result<WalPosition, CopyError> {
        if let Some(chunk) = &self.chunk
            && self.synced < self.held
            && let Err(error) = chunk.file.sync_data()
        {
            // Best effort: the error that counts is the sync's, and the copy is given up on it either way.
            let _ = poison(&*self.disk, &self.root, self.wal, &error.to_string());
            return Err(error.into());
        }
        self.synced = self.held;
        Ok(self.synced)
    }

    /// The copy holds all it must: from now on it may be a member. Durable on return.
    pub fn finish(&mut self) -> Result<(), CopyError> {
        self.sync()?;
        let dir = wal_dir(&self.root, self.wal);
        if self.unfinished || self.part {
            mark_whole(&*self.disk, &self.root, self.wal)?;
        }
        if std::mem::take(&mut self.part) {
            self.disk.remove(&dir.join(PART))?;
        }
        if std::mem::take(&mut self.unfinished) {
            self.disk.remove(&dir.join(UNFINISHED))?;
        }
        Ok(())
    }

    /// The copy holds what was needed of it, which is not all that a member must hold, unless it was one before. Durable on return.
    pub fn finish_part(&mut self) -> Result<(), CopyError> {
        self.sync()?;
        let dir = wal_dir(&self.root, self.wal);
        if std::mem::take(&mut self.unfinished) {
            self.disk.write_atomic(&dir.join(PART), b"")?;
            self.part = true;
            self.disk.remove(&dir.join(UNFINISHED))?;
        }
        Ok(())
    }

    /// Promises a seal: takes no group any more, also after a restart. Returns the end of what is held, durably.
    pub fn promise(&mut self) -> Result<WalPosition, CopyError> {
        self.sync()?;
        if !self.promised {
            promise(&*self.disk, &self.root, self.wal)?;
            self.promised = true;
        }
        Ok(self.held)
    }

    fn check(&self, group: &CopiedGroup) -> Result<GroupHeader, FormatError> {
        let bytes: usize = group.bytes.iter().map(Bytes::len).sum();
        let first = group.bytes.first().map_or(&[][..], |slice| &slice[..]);
        let head = first.get(..GROUP_HEADER_BYTES).ok_or(FormatError::CutOff { field: "write group" })?;
        let header = GroupHeader::decode(head, self.wal, group.position)?;
        if header.end() != group.end || header.length != bytes as u64 {
            return Err(FormatError::CutOff { field: "write group" });
        }
        Ok(header)
    }

    fn make_room(&mut self, group: &CopiedGroup) -> Result<(), CopyError> {
        let length = group.end.get() - group.position.get();
        let fits = self.chunk.as_ref().is_some_and(|chunk| {
            let used = group.position.get() - chunk.start.get();
            group.chunk_start <= chunk.start && used + length <= chunk.capacity
        });
        if fits {
            return Ok(());
        }
        // The presence of a later chunk proves that everything before it is durable (wal.rs, invariant 1).
        self.sync()?;
        let missed = group.position.get().saturating_sub(group.chunk_start.get());
        let capacity = group.chunk_bytes.saturating_sub(missed).max(length);
        let path = chunk_path(&self.root, self.wal, group.position);
        let file = self.disk.create(&path, capacity)?;
        self.chunk = Some(OpenChunk { file, start: group.position, capacity });
        Ok(())
    }
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, DiskError> {
    match disk.read_file(path) {
        Ok(_) => Ok(true),
        Err(DiskError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the promise beside a copy that no process has open. Durable on return.
pub fn promise(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<(), DiskError> {
    disk.create_dir(&wal_dir(root, wal))?;
    disk.write_atomic(&wal_dir(root, wal).join(PROMISE), b"")
}

/// Says that the directory holds all that a member must hold, even if that is nothing. Durable on return.
pub(crate) fn mark_whole(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<(), DiskError> {
    disk.write_atomic(&wal_dir(root, wal).join(WHOLE), b"")
}

/// Whether what an earlier process left, as its own log or as a copy, is all that it held. One that was catching up holds less than a
/// member must, as one that was fetched in part; and an empty or missing directory says nothing: so looks a disk that was lost, and of what lay on it any byte may
/// have been acknowledged.
pub fn is_whole(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<bool, DiskError> {
    let names = disk.list(&wal_dir(root, wal))?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    Ok(!has(UNFINISHED) && !has(PART) && (has(WHOLE) || !list_chunks(disk, root, wal)?.is_empty()))
}

/// Reads whole groups of a WAL on this disk from position `from` on, where a group must begin, about `bytes_max` bytes of one
/// chunk and at least one group if there is one below `end`. Blocks.
pub fn read_groups(
    disk: &dyn Disk,
    root: &Path,
    wal: WalId,
    from: WalPosition,
    end: WalPosition,
    bytes_max: u64,
) -> Result<Vec<CopiedGroup>, WalReadError> {
    let trimmed = WalReadError::Trimmed { wal, position: from };
    let chunks = list_chunks(disk, root, wal)?;
    let Some(chunk) = chunks.into_iter().rfind(|chunk| chunk.start <= from) else { return Err(trimmed) };
    let file = disk.open(&chunk.path)?;
    let chunk_bytes = file.length()?;
    let limit = chunk.end.unwrap_or(chunk.start.plus(chunk_bytes)).min(end);
    let mut groups = Vec::new();
    let (mut at, mut taken) = (from, 0);
    while at < limit && taken < bytes_max {
        let mut head = [0; GROUP_HEADER_BYTES];
        let offset = at.get() - chunk.start.get();
        if file.read_at(&mut head, offset)? < head.len() {
            break;
        }
        let Ok(header) = GroupHeader::decode(&head, wal, at) else { break };
        if header.end() > limit || taken > 0 && taken + header.length > bytes_max {
            break;
        }
        let mut bytes = vec![0; header.length as usize];
        if file.read_at(&mut bytes, offset)? < bytes.len() {
            break;
        }
        groups.push(CopiedGroup {
            position: at,
            end: header.end(),
            chunk_start: chunk.start,
            chunk_bytes,
            bytes: vec![bytes.into()],
        });
        taken += header.length;
        at = header.end();
    }
    Ok(groups)
}
