//! The real disk: a local file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Disk, DiskError, DiskFile};

/// The most slices one `pwritev` takes (Linux `IOV_MAX`).
const SLICES_PER_WRITE_MAX: usize = 1024;

/// The file system of this machine. Paths are used as they are given.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

#[derive(Debug)]
struct LocalFile {
    file: File,
    path: PathBuf,
}

impl Disk for LocalDisk {
    fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = parent_of(dir);
        self.create_dir(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(disk_error("create the directory", dir, &error))
            }
            _ => sync_dir(parent),
        }
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| disk_error("create", path, &error))?;
        if let Err(error) = allocate(&file, bytes).and_then(|()| file.sync_all()) {
            // A half-made file must not be taken for a chunk; should the removal fail too, it is empty and reads as
            // one.
            let _ = fs::remove_file(path);
            return Err(disk_error("allocate", path, &error));
        }
        sync_dir(parent_of(path))?;
        Ok(Arc::new(LocalFile { file, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| disk_error("open", path, &error))?;
        Ok(Arc::new(LocalFile { file, path: path.to_owned() }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk_error("list", dir, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| disk_error("list", dir, &error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk_error("remove", path, &error)),
            Ok(()) => sync_dir(parent_of(path)),
        }
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), DiskError> {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk_error("remove the directory", dir, &error)),
            Ok(()) => sync_dir(parent_of(dir)),
        }
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        fs::read(path).map_err(|error| disk_error("read", path, &error))
    }

    fn write_atomic(&self, path: &Path, content: &[u8]) -> Result<(), DiskError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished).map_err(|error| disk_error("create", &unfinished, &error))?;
        let written = file.write_all_at(content, 0).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&unfinished, path)) {
            let _ = fs::remove_file(&unfinished);
            return Err(disk_error("write", path, &error));
        }
        sync_dir(parent_of(path))
    }
}

impl DiskFile for LocalFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        let mut slices: Vec<IoSlice<'_>> = slices.iter().filter(|slice| !slice.is_empty()).copied().collect();
        let mut rest = slices.as_mut_slice();
        let mut offset = offset;
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(SLICES_PER_WRITE_MAX)];
            match rustix::io::pwritev(&self.file, batch, offset) {
                Ok(0) => return Err(disk_error("write", &self.path, &io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(disk_error("write", &self.path, &errno.into())),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(disk_error("read", &self.path, &error)),
            }
        }
        Ok(filled)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| disk_error("sync", &self.path, &error))
    }

    fn length(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata().map_err(|error| disk_error("measure", &self.path, &error))?;
        Ok(metadata.len())
    }
}

/// Allocates blocks and length at once; a file system that cannot allocate (tmpfs of old kernels, NFS) gets the length
/// only.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
        other => Ok(other?),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    let synced = File::open(dir).and_then(|file| file.sync_all());
    synced.map_err(|error| disk_error("sync the directory", dir, &error))
}

fn disk_error(operation: &'static str, path: &Path, error: &io::Error) -> DiskError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full { operation, path },
        io::ErrorKind::NotFound => DiskError::NotFound { path },
        io::ErrorKind::AlreadyExists => DiskError::Exists { path },
        _ => DiskError::Failed { operation, path, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_file_has_its_length_in_zeros_and_is_never_created_twice() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = dir.path().join("a/b/file");
        LocalDisk.create_dir(&dir.path().join("a/b")).expect("the disk works");
        let file = LocalDisk.create(&path, 10_000).expect("the disk works");
        assert_eq!(file.length(), Ok(10_000));
        assert!(LocalDisk.read_file(&path).expect("the disk works").iter().all(|byte| *byte == 0));
        assert!(matches!(LocalDisk.create(&path, 1), Err(DiskError::Exists { .. })));
    }

    #[test]
    fn written_slices_are_read_back_and_a_read_past_the_end_is_short() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = LocalDisk.create(&dir.path().join("file"), 10).expect("the disk works");
        let slices = [&b"ab"[..], b"", b"cde"].map(IoSlice::new);
        file.write_vectored_at(&slices, 4).expect("the disk works");
        file.sync_data().expect("the disk works");
        let mut buffer = [0; 20];
        assert_eq!(file.read_at(&mut buffer, 3), Ok(7));
        assert_eq!(&buffer[..7], b"\0abcde\0");
    }

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = dir.path().join("small");
        for content in [&b"first and long"[..], b"second"] {
            LocalDisk.write_atomic(&path, content).expect("the disk works");
            assert_eq!(LocalDisk.read_file(&path).expect("the disk works"), content);
        }
        assert_eq!(LocalDisk.list(dir.path()).expect("the disk works"), ["small"]);
    }

    #[test]
    fn what_does_not_exist_is_not_found_but_listing_and_removing_it_is_fine() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = dir.path().join("nothing");
        assert!(matches!(LocalDisk.open(&path), Err(DiskError::NotFound { .. })));
        assert!(matches!(LocalDisk.read_file(&path), Err(DiskError::NotFound { .. })));
        assert_eq!(LocalDisk.list(&path), Ok(Vec::new()));
        assert_eq!(LocalDisk.remove(&path), Ok(()));
        assert_eq!(LocalDisk.remove_dir(&path), Ok(()));
    }
}
