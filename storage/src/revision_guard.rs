//! A metadata store that went back in time, restored from a backup, must not lose data (`storage/PROTOCOL.md` §6.6): the
//! node remembers, beside its WALs, the highest revision it has seen and in which life of the store, and does not start on one
//! that knows less.
//!
//! What was seen is remembered before anything local is deleted on the strength of it, when slots are opened, and when a running
//! node stops because the store went back. Not noticed: a store restored to a moment after all of that, with what was committed
//! in between lost; the nodes that were running then notice, by the revision.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use headgate_log::disk::{Disk, DiskError};
use headgate_metadata::id::{NodeId, Revision};
use headgate_metadata::keys;
use headgate_metadata::record::{CellLifeRecord, Record};
use headgate_metadata::store::{Compare, MetadataError, MetadataStore, Outcome, Select, Transaction, Write};

use crate::planted::{Bug, is_planted};
use crate::start_error::StartError;

const NAME: &str = "metadata-revision";

/// What a node remembers of the metadata store. Its file: revision, node and life, with spaces between; only the revision where
/// a release before lives were known has written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) revision: Revision,
    pub(crate) node: NodeId,
    /// `None` = it was remembered before lives were known: the revision alone can be compared.
    pub(crate) life: Option<String>,
}

impl Remembered {
    /// Reads what was remembered beside the WALs in `wal_dir`; `None` = nothing yet. Blocks.
    pub(crate) fn load(disk: &dyn Disk, wal_dir: &Path, own: NodeId) -> Result<Option<Self>, DiskError> {
        let path = wal_dir.join(NAME);
        let raw = match disk.read_file(&path) {
            Ok(raw) => raw,
            Err(DiskError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&raw);
        let unreadable =
            || DiskError::Failed { operation: "understand", path, reason: format!("it holds `{text}`") };
        Self::parse(&text, own).map(Some).ok_or_else(unreadable)
    }

    fn parse(text: &str, own: NodeId) -> Option<Self> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [revision] => Some(Self { revision: revision.parse().ok()?, node: own, life: None }),
            [revision, node, life] => Some(Self {
                revision: revision.parse().ok()?,
                node: node.parse().ok()?,
                life: Some(life.to_owned()),
            }),
            _ => None,
        }
    }
}

/// What the metadata store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreStanding {
    pub(crate) revision: Revision,
    pub(crate) life: Option<CellLifeRecord>,
}

impl StoreStanding {
    pub(crate) async fn read(store: &dyn MetadataStore) -> Result<Self, MetadataError> {
        let snapshot = store.read(&[Select::Key(keys::CELL_LIFE.to_owned())]).await?;
        let entry = snapshot.results.iter().flatten().next();
        let life = entry.map(|entry| CellLifeRecord::decode(&entry.value)).transpose()?;
        Ok(Self { revision: snapshot.revision, life })
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
        let record = CellLifeRecord { token: format!("{random:016x}"), nodes: Vec::new() };
        let key = keys::CELL_LIFE.to_owned();
        let transaction =
            Transaction::new().when(Compare::Absent(key.clone())).then(Write::Put(key, record.encode()));
        match store.commit(transaction).await? {
            Outcome::Committed(_) => Ok(record.token),
            // Another node began it.
            Outcome::Refused(_) => match Self::read(store).await?.life {
                Some(life) => Ok(life.token),
                None => Err(MetadataError::Contended { key: keys::CELL_LIFE.to_owned() }),
            },
        }
    }

    /// Refuses a store that knows less than the node does.
    pub(crate) fn check(&self, remembered: &Remembered) -> Result<(), StartError> {
        let Remembered { revision: seen, node, life } = remembered;
        if is_planted(Bug::WayBackUnnoticed) {
            return Ok(());
        }
        let token = self.life.as_ref().map(|life| &life.token);
        let is_same = token == life.as_ref();
        if !is_same && self.life.as_ref().is_some_and(|life| life.nodes.contains(node)) {
            // Rebuilt, also from this node's WALs: its revisions began anew.
            return Ok(());
        }
        if self.revision < *seen {
            return Err(StartError::MetadataWentBack { seen: *seen, found: self.revision });
        }
        if let Some(life) = life.as_ref().filter(|_| !is_same) {
            let found = token.map_or("none", |token| token).to_owned();
            return Err(StartError::AnotherLife { node: *node, remembered: life.clone(), found });
        }
        Ok(())
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

    /// Remembers a revision, durably, unless a higher one is. Blocks.
    pub(crate) fn remember(&self, revision: Revision) -> Result<(), DiskError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if revision > *seen {
            let text = format!("{revision} {} {}\n", self.node, self.life);
            self.disk.write_atomic(&self.path, text.as_bytes())?;
            *seen = revision;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use headgate_log::disk::ForgetfulDisk;

    use super::*;

    fn remembered(revision: u64) -> Remembered {
        Remembered { revision: Revision::new(revision), node: NodeId::new(2), life: Some("one".to_owned()) }
    }

    fn standing(revision: u64, life: Option<(&str, &[u32])>) -> StoreStanding {
        let record = |(token, nodes): (&str, &[u32])| CellLifeRecord {
            token: token.to_owned(),
            nodes: nodes.iter().copied().map(NodeId::new).collect(),
        };
        StoreStanding { revision: Revision::new(revision), life: life.map(record) }
    }

    #[test]
    fn section_6_6_a_store_below_what_was_seen_is_refused() {
        assert!(standing(9, Some(("one", &[]))).check(&remembered(9)).is_ok());
        let refused = standing(8, Some(("one", &[]))).check(&remembered(9)).expect_err("it is older");
        let text = refused.to_string();
        assert!(text.contains("revision 8") && text.contains('9'), "{text}");
        assert!(text.contains("keep their data directories"), "{text}");
    }

    #[test]
    fn section_6_6_a_rebuilt_store_is_taken_only_by_nodes_whose_wals_it_was_rebuilt_from() {
        assert!(standing(1, Some(("two", &[1, 2]))).check(&remembered(9)).is_ok());
        let refused = standing(99, Some(("two", &[1, 3]))).check(&remembered(9));
        assert!(matches!(refused, Err(StartError::AnotherLife { .. })));
    }

    #[test]
    fn section_6_6_a_store_that_has_no_life_any_more_is_refused_although_its_revision_has_caught_up() {
        assert!(matches!(standing(99, None).check(&remembered(9)), Err(StartError::AnotherLife { .. })));
    }

    #[test]
    fn what_is_remembered_is_read_back_and_only_grows() {
        let disk = ForgetfulDisk::new();
        let dir = Path::new("/wal");
        let own = NodeId::new(2);
        assert_eq!(Remembered::load(&disk, dir, own), Ok(None));
        disk.create_dir(dir).expect("memory does not fail");
        let guard = RevisionGuard::new(Arc::new(disk.clone()), dir, NodeId::new(2), "one");
        guard.remember(Revision::new(9)).expect("memory does not fail");
        guard.remember(Revision::new(7)).expect("memory does not fail");
        assert_eq!(Remembered::load(&disk, dir, own), Ok(Some(remembered(9))));
        disk.write_atomic(&dir.join(NAME), b"what").expect("memory does not fail");
        assert!(Remembered::load(&disk, dir, own).is_err());
    }

    #[test]
    fn a_data_directory_of_an_earlier_release_starts_and_still_refuses_an_older_store() {
        let (disk, dir) = (ForgetfulDisk::new(), Path::new("/wal"));
        disk.create_dir(dir).expect("memory does not fail");
        disk.write_atomic(&dir.join(NAME), b"9").expect("memory does not fail");
        let earlier = Remembered::load(&disk, dir, NodeId::new(2)).expect("it is understood");
        let earlier = earlier.expect("it is there");
        assert!(
            standing(9, None).check(&earlier).is_ok()
                && standing(9, Some(("one", &[]))).check(&earlier).is_ok()
        );
        assert!(matches!(standing(8, None).check(&earlier), Err(StartError::MetadataWentBack { .. })));
    }
}
