//! A disk that dies in the middle: after a chosen number of operations every further one fails, as in the moment of a crash.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use headgate_log::disk::{Disk, DiskError, DiskFile, ForgetfulDisk};
use headgate_metadata::id::{WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{FlushedRecord, Record as _, WalRecord, WalState};
use headgate_metadata::simulated::SimulatedStore;
use headgate_metadata::store::{MetadataStore as _, Select};

/// Watches that no WAL goes while it is needed: a copy that is missed later is a loss only together with other faults, so it is
/// noticed here (`storage/PROTOCOL.md` §6.5).
#[derive(Debug, Clone)]
pub(crate) struct Removals {
    store: SimulatedStore,
    violation: Arc<Mutex<Option<String>>>,
}

impl Removals {
    /// `store` is the metadata store itself, without faults.
    pub(crate) fn new(store: SimulatedStore) -> Self {
        Self { store, violation: Arc::default() }
    }

    /// The first removal of what was needed.
    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.lock().expect("no panic under the lock").clone()
    }

    /// The directory of a WAL is about to go.
    fn goes(&self, dir: &Path) {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(wal) = name.parse::<WalId>() else { return };
        let selects = [Select::Key(keys::wal(wal)), Select::Key(keys::flushed(wal))];
        // There is nothing to wait for without faults.
        let snapshot = self.store.read(&selects).now_or_never().expect("no waiting").expect("no faults");
        let Some(entry) = snapshot.results[0].first() else { return };
        let record = WalRecord::decode(&entry.value).expect("a WAL record");
        let flushed =
            snapshot.results[1].first().map(|entry| FlushedRecord::decode(&entry.value).expect("a position"));
        let flushed = flushed.map_or(WalPosition::new(0), |flushed| flushed.position);
        if !matches!(record.state, WalState::Sealed { end } if flushed >= end) {
            let text =
                format!("the files of WAL {wal} went, which is {:?} and flushed to {flushed}", record.state);
            self.violation.lock().expect("no panic under the lock").get_or_insert(text);
        }
    }
}

/// The disk of one process. What lies on it is the [`ForgetfulDisk`], which outlives the process.
#[derive(Debug, Clone)]
pub(crate) struct MortalDisk {
    pub(crate) inner: ForgetfulDisk,
    life: Arc<Life>,
    removals: Removals,
}

#[derive(Debug)]
struct Life {
    operations_left: AtomicI64,
    dead: AtomicBool,
}

impl MortalDisk {
    pub(crate) fn new(inner: ForgetfulDisk, removals: Removals) -> Self {
        let life = Life { operations_left: AtomicI64::new(i64::MAX), dead: AtomicBool::new(false) };
        Self { inner, life: Arc::new(life), removals }
    }

    /// The disk dies after this many more changes.
    pub(crate) fn die_after(&self, operations: i64) {
        self.life.operations_left.store(operations, Ordering::SeqCst);
    }

    /// It lives on, if it lives.
    pub(crate) fn spare(&self) {
        self.die_after(i64::MAX);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.dead.load(Ordering::SeqCst)
    }

    fn change(&self, path: &Path) -> Result<(), DiskError> {
        if self.life.operations_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.life.dead.store(true, Ordering::SeqCst);
        }
        self.look(path)
    }

    fn look(&self, path: &Path) -> Result<(), DiskError> {
        if self.is_dead() {
            let reason = "the machine is down".to_owned();
            return Err(DiskError::Failed { operation: "use", path: path.to_owned(), reason });
        }
        Ok(())
    }

    fn file(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MortalFile { disk: self.clone(), path: path.to_owned(), inner })
    }
}

#[derive(Debug)]
struct MortalFile {
    disk: MortalDisk,
    path: std::path::PathBuf,
    inner: Arc<dyn DiskFile>,
}

impl Disk for MortalDisk {
    fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.change(dir)?;
        self.inner.create_dir(dir)
    }
    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.change(path)?;
        self.inner.create(path, bytes).map(|file| self.file(path, file))
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.look(path)?;
        self.inner.open(path).map(|file| self.file(path, file))
    }
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        self.look(dir)?;
        self.inner.list(dir)
    }
    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.change(path)?;
        self.inner.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.change(dir)?;
        self.removals.goes(dir);
        self.inner.remove_dir(dir)
    }
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        self.look(path)?;
        self.inner.read_file(path)
    }
    fn write_atomic(&self, path: &Path, content: &[u8]) -> Result<(), DiskError> {
        self.change(path)?;
        self.inner.write_atomic(path, content)
    }
}

impl DiskFile for MortalFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        self.disk.change(&self.path)?;
        self.inner.write_vectored_at(slices, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        self.disk.look(&self.path)?;
        self.inner.read_at(buffer, offset)
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        self.disk.change(&self.path)?;
        self.inner.sync_data()
    }
    fn length(&self) -> Result<u64, DiskError> {
        self.disk.look(&self.path)?;
        self.inner.length()
    }
}
