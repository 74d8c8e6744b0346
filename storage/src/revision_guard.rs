//! A metadata store that went back in time, restored from a backup, must not lose data (`storage/PROTOCOL.md` §6.6).
//!
//! Whenever a node relies on what it has read (before it opens slots, lets a mirror go, or deletes anything, local or in the object store) it puts
//! its mark into the store and remembers, beside its WALs, at which revision, and in which life of the store. It does not start on
//! a store in which its mark stands lower: that lacks what the node relied on, whatever has been written to it since. It says so in the
//! store, and then no node goes on. A running node notices by revisions alone (`headgate_metadata::guarded`).
//!
//! Not noticed: a store restored to a moment after every node's last mark while none ran. What it lacks, no node has relied on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headgate_log::disk::{Disk, DiskError};
use headgate_metadata::id::{NodeId, Revision};
use headgate_metadata::keys;
use headgate_metadata::record::{CellLifeRecord, MarkRecord, Record, WentBackRecord};
use headgate_metadata::store::{Compare, MetadataError, MetadataStore, Outcome, Select, Transaction, Write};
use tracing::warn;

use crate::spawn;
use crate::start_error::StartError;

const NAME: &str = "metadata-revision";

/// What a node remembers of the metadata store. Its file: revision, node and life, with spaces between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) revision: Revision,
    pub(crate) node: NodeId,
    pub(crate) life: String,
}

impl Remembered {
    /// Reads what was remembered beside the WALs in `wal_dir`; `None` = nothing yet. Blocks.
    pub(crate) fn load(disk: &dyn Disk, wal_dir: &Path) -> Result<Option<Self>, DiskError> {
        let path = wal_dir.join(NAME);
        let raw = match disk.read_file(&path) {
            Ok(raw) => raw,
            Err(DiskError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&raw);
        let unreadable =
            || DiskError::Failed { operation: "understand", path, reason: format!("it holds `{text}`") };
        Self::parse(&text).map(Some).ok_or_else(unreadable)
    }

    fn parse(text: &str) -> Option<Self> {
        let [revision, node, life] = text.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        Some(Self { revision: revision.parse().ok()?, node: node.parse().ok()?, life: life.to_owned() })
    }
}

/// What the metadata store says of itself, and of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreStanding {
    pub(crate) life: Option<CellLifeRecord>,
    /// When the node last put its mark; 0 = never.
    pub(crate) mark: Revision,
}

impl StoreStanding {
    pub(crate) async fn read(store: &dyn MetadataStore, node: NodeId) -> Result<Self, MetadataError> {
        let selects = [Select::Key(keys::CELL_LIFE.to_owned()), Select::Key(keys::mark(node))];
        let snapshot = store.read(&selects).await?;
        let [life, mark] = [0, 1].map(|index| snapshot.results.get(index).and_then(|found| found.first()));
        let life = life.map(|entry| CellLifeRecord::decode(&entry.value)).transpose()?;
        Ok(Self { life, mark: mark.map(|entry| entry.modified).unwrap_or_default() })
    }

    /// The life's token; a cell that is new gets the given one.
    pub(crate) async fn life_or(
        &self,
        store: &dyn MetadataStore,
        random: u64,
    ) -> Result<String, MetadataError> {
        if let Some(life) = &self.life {
            return Ok(life.token.clone());
        }
        let record = CellLifeRecord { token: format!("{random:016x}"), nodes: Vec::new(), went_back: None };
        let key = keys::CELL_LIFE.to_owned();
        let transaction = Transaction::new()
            .when(Compare::Absent(key.clone()))
            .then(Write::Put(key.clone(), record.encode()));
        match store.commit(transaction).await? {
            Outcome::Committed(_) => Ok(record.token),
            // Another node began it.
            Outcome::Refused(_) => match store.get(&key).await? {
                Some(entry) => Ok(CellLifeRecord::decode(&entry.value)?.token),
                None => Err(MetadataError::Contended { key }),
            },
        }
    }

    /// Refuses a store that lacks what the node relied on.
    pub(crate) fn check(&self, remembered: &Remembered) -> Result<(), StartError> {
        let Remembered { revision: seen, node, life } = remembered;
        let token = self.life.as_ref().map(|life| &life.token);
        if token == Some(life) {
            if self.mark < *seen {
                return Err(StartError::MetadataWentBack { node: *node, seen: *seen, found: self.mark });
            }
            return Ok(());
        }
        if self.life.as_ref().is_some_and(|life| life.nodes.contains(node)) {
            // Rebuilt, also from this node's WALs.
            return Ok(());
        }
        let found = token.map_or("none", |token| token).to_owned();
        Err(StartError::AnotherLife { node: *node, remembered: life.clone(), found })
    }

    /// Refuses a store of which a node has said that it went back.
    pub(crate) fn check_others(&self) -> Result<(), StartError> {
        match self.life.as_ref().and_then(|life| life.went_back) {
            Some(WentBackRecord { node, seen, found }) => {
                Err(StartError::MetadataWentBack { node, seen, found })
            }
            None => Ok(()),
        }
    }

    /// Tells the other nodes that the store went back. Best effort: each of them looks for itself too.
    pub(crate) async fn tell_others(&self, store: &dyn MetadataStore, refusal: &StartError) {
        let StartError::MetadataWentBack { node, seen, found } = refusal else { return };
        let Some(life) = &self.life else { return };
        let went_back = Some(WentBackRecord { node: *node, seen: *seen, found: *found });
        let told = CellLifeRecord { went_back, ..life.clone() };
        let key = keys::CELL_LIFE.to_owned();
        let transaction = Transaction::new()
            .when(Compare::Value(key.clone(), life.encode()))
            .then(Write::Put(key, told.encode()));
        if let Err(error) = store.commit(transaction).await {
            warn!(%error, "the other nodes are not told that the metadata store went back");
        }
    }
}

/// Remembers what this process has seen; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct RevisionGuard {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    node: NodeId,
    life: Arc<str>,
    seen: Arc<Mutex<Revision>>,
}

impl RevisionGuard {
    /// Begins with what the store says at the start, which was checked.
    pub(crate) fn new(disk: Arc<dyn Disk>, wal_dir: &Path, node: NodeId, life: &str) -> Self {
        let seen = Arc::new(Mutex::new(Revision::new(0)));
        Self { disk, path: wal_dir.join(NAME), node, life: life.into(), seen }
    }

    /// The life of the store that this process has begun with.
    pub(crate) fn life(&self) -> &str {
        &self.life
    }

    /// The node is about to rely on what it has read at `seen`: unless a later mark of it stands already, puts one, and remembers
    /// it durably.
    pub(crate) async fn remember(&self, store: &dyn MetadataStore, seen: Revision) -> Result<(), StartError> {
        if *self.lock() >= seen { Ok(()) } else { self.mark(store).await }
    }

    /// The node is about to rely on what it has just committed.
    pub(crate) async fn mark(&self, store: &dyn MetadataStore) -> Result<(), StartError> {
        let key = keys::mark(self.node);
        let record = MarkRecord { life: self.life.to_string() };
        let put = Transaction::new().then(Write::Put(key.clone(), record.encode()));
        let (Outcome::Committed(revision) | Outcome::Refused(revision)) = store.commit(put).await?;
        let own = self.clone();
        let kept = spawn::blocking(move || own.keep(revision)).await.ok_or(StartError::Interrupted)?;
        Ok(kept?)
    }

    /// Remembers a revision, durably, unless a higher one is. Blocks.
    pub(crate) fn keep(&self, revision: Revision) -> Result<(), DiskError> {
        let mut seen = self.lock();
        if revision > *seen {
            let text = format!("{revision} {} {}\n", self.node, self.life);
            self.disk.write_atomic(&self.path, text.as_bytes())?;
            *seen = revision;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Revision> {
        // It changes last, in one step.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use headgate_log::disk::ForgetfulDisk;
    use headgate_metadata::simulated::SimulatedStore;

    use super::*;

    fn remembered(revision: u64) -> Remembered {
        Remembered { revision: Revision::new(revision), node: NodeId::new(2), life: "one".to_owned() }
    }

    fn standing(mark: u64, life: Option<(&str, &[u32])>) -> StoreStanding {
        let record = |(token, nodes): (&str, &[u32])| CellLifeRecord {
            token: token.to_owned(),
            nodes: nodes.iter().copied().map(NodeId::new).collect(),
            went_back: None,
        };
        StoreStanding { mark: Revision::new(mark), life: life.map(record) }
    }

    #[test]
    fn section_6_6_a_store_in_which_the_nodes_mark_stands_lower_is_refused() {
        assert!(standing(9, Some(("one", &[]))).check(&remembered(9)).is_ok());
        let refused = standing(8, Some(("one", &[]))).check(&remembered(9)).expect_err("it is older");
        let text = refused.to_string();
        assert!(text.contains("at revision 8") && text.contains("at revision 9"), "{text}");
        assert!(text.contains("headgate metadata rebuild"), "{text}");
    }

    #[test]
    fn section_6_6_a_rebuilt_store_is_taken_only_by_nodes_whose_wals_it_was_rebuilt_from() {
        assert!(standing(0, Some(("two", &[1, 2]))).check(&remembered(9)).is_ok());
        let refused = standing(99, Some(("two", &[1, 3]))).check(&remembered(9));
        assert!(matches!(refused, Err(StartError::AnotherLife { .. })));
        assert!(matches!(standing(99, None).check(&remembered(9)), Err(StartError::AnotherLife { .. })));
    }

    #[tokio::test]
    async fn section_6_6_what_one_node_has_found_is_told_to_all() {
        let store = SimulatedStore::without_faults();
        let node = NodeId::new(2);
        let fresh = StoreStanding::read(&store, node).await.expect("nothing fails");
        assert_eq!(fresh.life_or(&store, 1).await.expect("nothing fails"), "0000000000000001");
        assert_eq!(fresh.life_or(&store, 2).await.expect("nothing fails"), "0000000000000001");
        let standing = StoreStanding::read(&store, node).await.expect("nothing fails");
        assert!(standing.check_others().is_ok());
        let life = "0000000000000001".to_owned();
        let refusal = standing.check(&Remembered { life, ..remembered(9) }).expect_err("it has no mark");
        standing.tell_others(&store, &refusal).await;
        let told = StoreStanding::read(&store, NodeId::new(3)).await.expect("nothing fails");
        assert_eq!(told.check_others().expect_err("told").to_string(), refusal.to_string());
    }

    #[tokio::test]
    async fn what_is_relied_on_is_marked_in_the_store_and_remembered() {
        let (store, disk, dir) = (SimulatedStore::without_faults(), ForgetfulDisk::new(), Path::new("/wal"));
        assert_eq!(Remembered::load(&disk, dir), Ok(None));
        disk.create_dir(dir).expect("memory does not fail");
        let guard = RevisionGuard::new(Arc::new(disk.clone()), dir, NodeId::new(2), "one");
        guard.remember(&store, Revision::new(1)).await.expect("nothing fails");
        assert_eq!(Remembered::load(&disk, dir), Ok(Some(remembered(1))));
        guard.remember(&store, Revision::new(1)).await.expect("nothing fails");
        let standing = StoreStanding::read(&store, NodeId::new(2)).await.expect("nothing fails");
        assert_eq!(standing.mark, Revision::new(1), "a mark that stands is not put again");
        guard.keep(Revision::new(9)).expect("memory does not fail");
        guard.keep(Revision::new(7)).expect("memory does not fail");
        assert_eq!(Remembered::load(&disk, dir), Ok(Some(remembered(9))));
        disk.write_atomic(&dir.join(NAME), b"what").expect("memory does not fail");
        assert!(Remembered::load(&disk, dir).is_err());
    }
}
