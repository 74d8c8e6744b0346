//! Chunk files and WAL directories: names, lists, removal.

use std::path::{Path, PathBuf};

use headgate_metadata::id::{WalId, WalPosition};

use crate::disk::{Disk, DiskError};

const SUFFIX: &str = ".chunk";

/// A chunk file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The position of its first byte, which is its name.
    pub start: WalPosition,
    /// The start of the next chunk; `None` for the last one.
    pub end: Option<WalPosition>,
    /// The file.
    pub path: PathBuf,
}

/// The directory of a WAL below the root of all WALs.
pub fn wal_dir(root: &Path, wal: WalId) -> PathBuf {
    root.join(wal.to_string())
}

/// The WALs that have a directory below `root`, in order. Foreign names are ignored.
pub fn list_wals(disk: &dyn Disk, root: &Path) -> Result<Vec<WalId>, DiskError> {
    let mut wals: Vec<WalId> = disk.list(root)?.iter().filter_map(|name| name.parse().ok()).collect();
    wals.sort_unstable();
    Ok(wals)
}

/// The path of the chunk of `wal` that starts at `start`.
pub(crate) fn chunk_path(root: &Path, wal: WalId, start: WalPosition) -> PathBuf {
    wal_dir(root, wal).join(format!("{:020}{SUFFIX}", start.get()))
}

/// The chunks of a WAL in order. Foreign names are ignored.
pub fn list_chunks(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<Vec<Chunk>, DiskError> {
    let names = disk.list(&wal_dir(root, wal))?;
    let mut starts: Vec<WalPosition> = names.iter().filter_map(|name| parse_name(name)).collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
    let chunks = starts.iter().zip(ends);
    Ok(chunks.map(|(start, end)| Chunk { start: *start, end, path: chunk_path(root, wal, *start) }).collect())
}

fn parse_name(name: &str) -> Option<WalPosition> {
    let digits = name.strip_suffix(SUFFIX)?;
    let exact = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    exact.then(|| digits.parse().ok()).flatten()
}

/// Removes the chunks that lie wholly below `position`; never the last one, which may still grow. Returns the bytes'
/// ranges that went. The caller has read `flushed/{wal}` past them (`storage/PROTOCOL.md` §6.5).
pub fn remove_chunks_below(
    disk: &dyn Disk,
    root: &Path,
    wal: WalId,
    position: WalPosition,
) -> Result<Vec<Chunk>, DiskError> {
    let mut removed = Vec::new();
    for chunk in list_chunks(disk, root, wal)? {
        if chunk.end.is_none_or(|end| end > position) {
            break;
        }
        disk.remove(&chunk.path)?;
        removed.push(chunk);
    }
    Ok(removed)
}

/// Removes a WAL's directory with everything in it: only after a positive `retired/{wal}`, or once it is flushed to its
/// sealed end (`storage/PROTOCOL.md` §6.5). Repeating it after a crash is fine.
pub fn remove_wal(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<(), DiskError> {
    let dir = wal_dir(root, wal);
    for name in disk.list(&dir)? {
        disk.remove(&dir.join(name))?;
    }
    disk.remove_dir(&dir)
}
