//! Local copies of small objects by name: manifests, state and list objects, flush indexes, state runs
//! (`storage/PROTOCOL.md` §5).
//!
//! Names are never reused, so a copy is always right, and a restart needs no object store for what is copied. A copy
//! is a file of its content and its CRC-32C (u32); one that is damaged or cannot be read is no copy. Losing all of
//! them costs requests, nothing else, so failures here are never errors.
//!
//! File names are object names with `~` for `/`, plus `.<part>` for a part of an object.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::checksum::crc32c;
use crate::disk::{Disk, DiskError};
use crate::object::ObjectName;

const CHECKSUM_BYTES: usize = 4;

/// What a crash leaves of an atomic write.
const UNFINISHED: &str = ".unfinished";

/// What an operator may turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiesConfig {
    /// The disk space for copies. Higher: a restart asks the store for less; lower: less disk.
    pub bytes_max: u64,
}

impl Default for CopiesConfig {
    fn default() -> Self {
        Self { bytes_max: 1 << 30 }
    }
}

/// The copies in one directory.
#[derive(Debug)]
pub(crate) struct Copies {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: CopiesConfig,
    kept: Mutex<Kept>,
}

/// The files in the order they are to go, and their sizes together.
#[derive(Debug, Default)]
struct Kept {
    order: VecDeque<(String, u64)>,
    names: HashSet<String>,
    bytes: u64,
}

impl Copies {
    /// Finds the copies that an earlier process left.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, config: CopiesConfig) -> Result<Self, DiskError> {
        disk.create_dir(dir)?;
        let mut kept = Kept::default();
        for file in disk.list(dir)? {
            if file.ends_with(UNFINISHED) {
                disk.remove(&dir.join(&file))?;
                continue;
            }
            let bytes = disk.open(&dir.join(&file))?.length()?;
            kept.add(file, bytes);
        }
        let copies = Self { disk, dir: dir.to_owned(), config, kept: Mutex::new(kept) };
        copies.make_room();
        Ok(copies)
    }

    /// Whether whole objects of this name are worth a copy: everything but flush objects, which are large.
    pub(crate) fn takes_whole(name: &ObjectName) -> bool {
        ["manifest/", "state/", "list/"].iter().any(|kind| name.as_str().starts_with(kind))
    }

    /// The copy of an object, or of the named part of it.
    pub(crate) fn load(&self, name: &ObjectName, part: &str) -> Option<Bytes> {
        let file = file_name(name, part);
        if !self.kept().names.contains(&file) {
            return None;
        }
        let mut content = self.disk.read_file(&self.dir.join(&file)).ok()?;
        let stored = u32::from_le_bytes(*content.last_chunk::<CHECKSUM_BYTES>()?);
        content.truncate(content.len() - CHECKSUM_BYTES);
        (crc32c(&content) == stored).then(|| content.into())
    }

    /// Keeps a copy if there is room.
    pub(crate) fn keep(&self, name: &ObjectName, part: &str, content: &[u8]) {
        let bytes = (content.len() + CHECKSUM_BYTES) as u64;
        if bytes > self.config.bytes_max {
            return;
        }
        let file = file_name(name, part);
        let framed = [content, &crc32c(content).to_le_bytes()].concat();
        if self.disk.write_atomic(&self.dir.join(&file), &framed).is_ok() {
            self.kept().add(file, bytes);
            self.make_room();
        }
    }

    /// Drops all copies of an object and its parts.
    pub(crate) fn forget(&self, name: &ObjectName) {
        let whole = file_name(name, "");
        let part_of = format!("{whole}.");
        let gone = self.kept().take(|file| file == whole || file.starts_with(&part_of));
        self.remove(gone);
    }

    fn make_room(&self) {
        let mut gone = Vec::new();
        let mut kept = self.kept();
        while kept.bytes > self.config.bytes_max {
            let Some((file, bytes)) = kept.order.pop_front() else { break };
            kept.bytes -= bytes;
            kept.names.remove(&file);
            gone.push(file);
        }
        drop(kept);
        self.remove(gone);
    }

    fn remove(&self, files: Vec<String>) {
        for file in files {
            // A file that stays is found, and counted, by the next start.
            let _ = self.disk.remove(&self.dir.join(file));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, file: String, bytes: u64) {
        if self.names.insert(file.clone()) {
            self.order.push_back((file, bytes));
            self.bytes += bytes;
        }
    }

    fn take(&mut self, matches: impl Fn(&str) -> bool) -> Vec<String> {
        let (gone, left): (VecDeque<_>, _) =
            std::mem::take(&mut self.order).into_iter().partition(|(file, _)| matches(file));
        self.order = left;
        for (file, bytes) in &gone {
            self.bytes -= bytes;
            self.names.remove(file);
        }
        gone.into_iter().map(|(file, _)| file).collect()
    }
}

fn file_name(name: &ObjectName, part: &str) -> String {
    let whole = name.as_str().replace('/', "~");
    if part.is_empty() { whole } else { format!("{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ForgetfulDisk;

    const DIR: &str = "/data/copies";

    fn open(disk: &ForgetfulDisk, bytes_max: u64) -> Copies {
        let config = CopiesConfig { bytes_max };
        Copies::open(Arc::new(disk.clone()), Path::new(DIR), config).expect("no fault is set")
    }

    fn name(text: &str) -> ObjectName {
        ObjectName::parse(text).expect("the name is plain")
    }

    #[test]
    fn a_copy_outlives_the_process_and_parts_are_kept_apart() {
        let disk = ForgetfulDisk::new();
        let copies = open(&disk, 1 << 20);
        copies.keep(&name("manifest/1/x"), "", b"whole");
        copies.keep(&name("flush/1/x"), "index", b"index");
        copies.keep(&name("flush/1/x"), "state-7", b"state");
        disk.crash(1);
        let copies = open(&disk, 1 << 20);
        assert_eq!(copies.load(&name("manifest/1/x"), "").as_deref(), Some(&b"whole"[..]));
        assert_eq!(copies.load(&name("flush/1/x"), "index").as_deref(), Some(&b"index"[..]));
        assert_eq!(copies.load(&name("flush/1/x"), ""), None);
        copies.forget(&name("flush/1/x"));
        assert_eq!(copies.load(&name("flush/1/x"), "index"), None);
        assert_eq!(disk.paths(), [Path::new("/data/copies/manifest~1~x")]);
    }

    #[test]
    fn what_a_crash_left_half_written_is_cleared_away() {
        let disk = ForgetfulDisk::new();
        disk.write_atomic(Path::new("/data/copies/state~1.unfinished"), b"half").expect("no fault is set");
        open(&disk, 1 << 20);
        assert!(disk.paths().is_empty());
    }

    #[test]
    fn a_damaged_copy_is_no_copy() {
        let disk = ForgetfulDisk::new();
        let copies = open(&disk, 1 << 20);
        copies.keep(&name("state/1"), "", b"content");
        for byte in 0..11 {
            disk.flip_bit(Path::new("/data/copies/state~1"), byte, 3);
            assert_eq!(copies.load(&name("state/1"), ""), None, "byte {byte}");
            disk.flip_bit(Path::new("/data/copies/state~1"), byte, 3);
        }
        assert!(copies.load(&name("state/1"), "").is_some());
    }

    #[test]
    fn the_oldest_copies_make_room_and_a_failing_disk_only_costs_copies() {
        let disk = ForgetfulDisk::new();
        let copies = open(&disk, 30);
        for number in 0..5 {
            copies.keep(&name(&format!("state/{number}")), "", b"0123456789");
        }
        let left: Vec<bool> =
            (0..5).map(|number| copies.load(&name(&format!("state/{number}")), "").is_some()).collect();
        assert_eq!(left, [false, false, false, true, true]);
        copies.keep(&name("state/big"), "", &[0; 100]);
        disk.fail_writes(true);
        copies.keep(&name("state/6"), "", b"x");
        assert!(copies.load(&name("state/big"), "").is_none() && copies.load(&name("state/6"), "").is_none());
        assert_eq!(open(&disk, 14).load(&name("state/4"), "").as_deref(), Some(&b"0123456789"[..]));
    }
}
