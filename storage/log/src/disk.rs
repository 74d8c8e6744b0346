//! The disk seam: what this crate asks of files, with a real and a faulty double (`storage/PROTOCOL.md` §17).
//!
//! Calls block; the caller runs them on a thread that may. Creating, removing and replacing a file are durable on
//! return (the directory is synced too); written bytes are durable only after [`DiskFile::sync_data`].

#[cfg(any(test, feature = "faults"))]
mod forgetful;
mod local;

use std::fmt::Debug;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(any(test, feature = "faults"))]
pub use forgetful::ForgetfulDisk;
pub use local::LocalDisk;

/// Why a disk did not do what it was asked, named by what the caller can do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No space is left. Nothing was kept; the call may be repeated when there is room.
    #[error("no space left to {operation} `{}`", path.display())]
    Full {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A file of that name exists already; the call creates only new ones.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The disk or the operating system failed. After a failed sync the file is not to be trusted
    /// (`storage/PROTOCOL.md` §14).
    #[error("cannot {operation} `{}`: {reason}", path.display())]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },
}

/// A directory tree of files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a directory and its parents, durably; fine if it exists.
    fn create_dir(&self, dir: &Path) -> Result<(), DiskError>;
    /// Creates a new file of `bytes` zeros with its blocks allocated, durably.
    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// The names of the entries in a directory, sorted; none if the directory does not exist.
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError>;
    /// Removes a file, durably; fine if it does not exist. Open handles stay readable.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;
    /// Removes an empty directory; fine if it does not exist.
    fn remove_dir(&self, dir: &Path) -> Result<(), DiskError>;
    /// Reads a whole file.
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, DiskError>;
    /// Writes a whole file, replacing any former one: after a crash the old or the new content is there (and perhaps a
    /// `<name>.unfinished` beside it), durable on return.
    fn write_atomic(&self, path: &Path, content: &[u8]) -> Result<(), DiskError>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Writes all slices, one after the other, from `offset` on. Not durable until [`DiskFile::sync_data`].
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError>;
    /// Fills `buffer` from `offset` on and returns how many bytes were there; fewer than asked only at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError>;
    /// Makes everything written so far durable.
    fn sync_data(&self) -> Result<(), DiskError>;
    /// The file's length in bytes, preallocated ones included.
    fn length(&self) -> Result<u64, DiskError>;
}
