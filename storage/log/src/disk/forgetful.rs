//! The faulty disk: files in memory that forget what was not synced, tear writes, fill up, rot, and fail.
//!
//! Each file keeps the bytes a crash cannot take and the writes since the last sync. [`ForgetfulDisk::crash`] decides
//! by its seed, for every sector of every unsynced write, whether it reached the platter: all, a part, or nothing.
//! Creating, removing and replacing files is durable on return, as the real disk syncs the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Disk, DiskError, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// A disk in memory with faults to be switched on; clones share it.
#[derive(Debug, Clone, Default)]
pub struct ForgetfulDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    capacity: Option<u64>,
    syncs_fail: bool,
    writes_fail: bool,
    reads_fail: bool,
}

#[derive(Debug, Default)]
struct Content {
    /// What readers see.
    seen: Vec<u8>,
    /// What a crash leaves at least.
    durable: Vec<u8>,
    /// The writes since the last sync, in order: offset and bytes.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug)]
struct ForgetfulFile {
    disk: ForgetfulDisk,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

impl ForgetfulDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Power is lost: of every write since its file's last sync, each sector survives or not, by the seed. Handles
    /// opened before go on working on what is left, but a test should drop them.
    pub fn crash(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        for content in self.state().files.values() {
            lock(content).forget(&mut random);
        }
    }

    /// Whether syncs fail. A failed sync makes nothing durable, and a later one does not make up for it: the system has
    /// dropped the dirty pages, though reads still show them.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().syncs_fail = fail;
    }

    /// Whether writes fail after putting down about half of their bytes.
    pub fn fail_writes(&self, fail: bool) {
        self.state().writes_fail = fail;
    }

    /// Whether reads fail.
    pub fn fail_reads(&self, fail: bool) {
        self.state().reads_fail = fail;
    }

    /// The room for all files together; `None` = endless.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Flips one bit of a file, on the platter too. `false` if there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let Some(content) = self.state().files.get(path).cloned() else { return false };
        let mut content = lock(&content);
        let Content { seen, durable, .. } = &mut *content;
        for bytes in [seen, durable] {
            match bytes.get_mut(offset as usize) {
                Some(byte) => *byte ^= 1 << (bit % 8),
                None => return false,
            }
        }
        true
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().files.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn content(&self, path: &Path) -> Result<Arc<Mutex<Content>>, DiskError> {
        let found = self.state().files.get(path).cloned();
        found.ok_or_else(|| DiskError::NotFound { path: path.to_owned() })
    }
}

impl State {
    fn room_for(&self, bytes: u64) -> bool {
        let used: u64 = self.files.values().map(|content| lock(content).seen.len() as u64).sum();
        self.capacity.is_none_or(|capacity| used + bytes <= capacity)
    }
}

impl Content {
    fn whole(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), seen: bytes, unsynced: Vec::new() }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        put(&mut self.seen, offset, bytes);
        self.unsynced.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            put(&mut self.durable, offset, &bytes);
        }
    }

    fn forget(&mut self, random: &mut StdRng) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            let fate: u8 = random.random_range(0..4);
            let mut at = offset;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let (sector, after) = rest.split_at(rest.len().min((sector_end - at) as usize));
                // Whole, nothing, or sector by sector.
                if fate == 0 || (fate >= 2 && random.random_bool(0.5)) {
                    put(&mut self.durable, at, sector);
                }
                at += sector.len() as u64;
                rest = after;
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

fn put(target: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (from, to) = (offset as usize, offset as usize + bytes.len());
    if target.len() < to {
        target.resize(to, 0);
    }
    target[from..to].copy_from_slice(bytes);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(operation: &'static str, path: &Path) -> DiskError {
    DiskError::Failed { operation, path: path.to_owned(), reason: "injected fault".to_owned() }
}

impl Disk for ForgetfulDisk {
    fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.state().dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut state = self.state();
        if state.files.contains_key(path) {
            return Err(DiskError::Exists { path: path.to_owned() });
        }
        if path.parent().is_some_and(|dir| !state.dirs.contains(dir)) {
            return Err(DiskError::NotFound { path: path.to_owned() });
        }
        if !state.room_for(bytes) {
            return Err(DiskError::Full { operation: "allocate", path: path.to_owned() });
        }
        let content = Arc::new(Mutex::new(Content::whole(vec![0; bytes as usize])));
        state.files.insert(path.to_owned(), Arc::clone(&content));
        Ok(Arc::new(ForgetfulFile { disk: self.clone(), path: path.to_owned(), content }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let content = self.content(path)?;
        Ok(Arc::new(ForgetfulFile { disk: self.clone(), path: path.to_owned(), content }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let state = self.state();
        let entries = state.files.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<String> =
            entries.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        Ok(names.into_iter().collect())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.state().files.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), DiskError> {
        if !self.list(dir)?.is_empty() {
            return Err(failed("remove the directory", dir));
        }
        self.state().dirs.remove(dir);
        Ok(())
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        if self.state().reads_fail {
            return Err(failed("read", path));
        }
        Ok(lock(&*self.content(path)?).seen.clone())
    }

    fn write_atomic(&self, path: &Path, content: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.writes_fail {
            return Err(failed("write", path));
        }
        if !state.room_for(content.len() as u64) {
            return Err(DiskError::Full { operation: "write", path: path.to_owned() });
        }
        let whole = Arc::new(Mutex::new(Content::whole(content.to_vec())));
        state.files.insert(path.to_owned(), whole);
        Ok(())
    }
}

impl DiskFile for ForgetfulFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        let fails = self.disk.state().writes_fail;
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        if fails {
            bytes.truncate(bytes.len() / 2);
        }
        lock(&*self.content).write(offset, &bytes);
        if fails { Err(failed("write", &self.path)) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        if self.disk.state().reads_fail {
            return Err(failed("read", &self.path));
        }
        let content = lock(&*self.content);
        let there = content.seen.get(offset as usize..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        Ok(length)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        if self.disk.state().syncs_fail {
            lock(&*self.content).unsynced.clear();
            return Err(failed("sync", &self.path));
        }
        lock(&*self.content).sync();
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(lock(&*self.content).seen.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &ForgetfulDisk) -> Arc<dyn DiskFile> {
        disk.create_dir(Path::new("/d")).expect("no fault is set");
        disk.create(Path::new("/d/f"), 4096).expect("no fault is set")
    }

    fn survivors(disk: &ForgetfulDisk) -> usize {
        let content = disk.read_file(Path::new("/d/f")).expect("no fault is set");
        content.iter().map(|byte| usize::from(*byte)).sum()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_all_none_or_some_sectors_of_the_rest() {
        let mut fates = BTreeSet::new();
        for seed in 0..64 {
            let disk = ForgetfulDisk::new();
            let file = file(&disk);
            file.write_vectored_at(&[IoSlice::new(&[1; 512])], 0).expect("no fault is set");
            file.sync_data().expect("no fault is set");
            file.write_vectored_at(&[IoSlice::new(&[1; 2048])], 1024).expect("no fault is set");
            disk.crash(seed);
            let kept = survivors(&disk);
            assert!(kept >= 512 && kept.is_multiple_of(512), "seed {seed}: {kept}");
            fates.insert(kept);
        }
        assert!(fates.contains(&512) && fates.contains(&2560) && fates.len() > 2, "{fates:?}");
    }

    #[test]
    fn a_failed_sync_loses_what_it_was_to_save_even_if_a_later_one_succeeds() {
        let disk = ForgetfulDisk::new();
        let file = file(&disk);
        file.write_vectored_at(&[IoSlice::new(&[1; 512])], 0).expect("no fault is set");
        disk.fail_syncs(true);
        assert!(file.sync_data().is_err());
        disk.fail_syncs(false);
        file.sync_data().expect("no fault is set");
        assert_eq!(survivors(&disk), 512, "reads still show it");
        disk.crash(0);
        assert_eq!(survivors(&disk), 0);
    }

    #[test]
    fn a_removed_file_stays_readable_through_its_open_handle() {
        let disk = ForgetfulDisk::new();
        let file = file(&disk);
        disk.remove(Path::new("/d/f")).expect("no fault is set");
        assert_eq!(file.read_at(&mut [9; 10], 0), Ok(10));
        assert!(matches!(disk.open(Path::new("/d/f")), Err(DiskError::NotFound { .. })));
    }
}
