//! What the metadata store says, however old it is. Some of it is true for ever: an end that was decided, a WAL that is gone, a
//! topic that was removed. The rest only bounds what was handed out.

use std::collections::{BTreeMap, BTreeSet};

use headgate_metadata::id::{ClusterId, SlotId, TopicId, WalId};
use headgate_metadata::keys;
use headgate_metadata::record::{CellLifeRecord, CellRecord, CounterRecord, Record, TopicRecord};
use headgate_metadata::store::{Entry, MetadataError, MetadataStore, Select};

use super::RebuildError;
use crate::chain::CellView;

/// The keys that a rebuild decides anew, by what they begin with. `retired/` keys are only added.
const DECIDED: [&str; 5] = [keys::WALS, keys::FLUSHED, keys::CHAINS, keys::SLOTS, keys::NODES];
/// The keys of which it decides the value.
const NUMBERS: [&str; 3] = [keys::COUNTER_INCARNATION, keys::COUNTER_PRODUCER_ID, keys::CELL_LIFE];

/// The store at one revision.
pub(super) struct Known {
    pub(super) cell: CellRecord,
    pub(super) view: CellView,
    pub(super) retired: BTreeSet<WalId>,
    pub(super) life: Option<CellLifeRecord>,
    /// The next incarnation and the next producer id.
    pub(super) incarnations: u64,
    pub(super) producer_ids: u64,
    pub(super) topics: BTreeMap<(ClusterId, TopicId), String>,
    /// Topics, and whole clusters, that were removed on purpose.
    pub(super) removed: BTreeSet<(ClusterId, Option<TopicId>)>,
    /// Everything that a rebuild decides, as it stands.
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Known {
    pub(super) async fn read(store: &dyn MetadataStore) -> Result<Self, RebuildError> {
        let keys = [keys::CELL].into_iter().chain(NUMBERS).map(|key| Select::Key(key.to_owned()));
        let prefixes = DECIDED.into_iter().chain([keys::RETIRED, keys::TOPICS, keys::REMOVED]);
        let selects: Vec<Select> =
            keys.chain(prefixes.map(|prefix| Select::Prefix(prefix.to_owned()))).collect();
        let snapshot = store.read(&selects).await?;
        let mut found: BTreeMap<String, Entry> =
            snapshot.results.into_iter().flatten().map(|entry| (entry.key.clone(), entry)).collect();
        let cell = CellRecord::decode(&found.remove(keys::CELL).ok_or(RebuildError::NoCell)?.value)?;
        let mut known = Self {
            cell,
            view: CellView::default(),
            retired: BTreeSet::new(),
            life: None,
            incarnations: 1,
            producer_ids: 1,
            topics: BTreeMap::new(),
            removed: BTreeSet::new(),
            entries: BTreeMap::new(),
        };
        for (key, entry) in found {
            known.take(&key, entry)?;
        }
        Ok(known)
    }

    fn take(&mut self, key: &str, entry: Entry) -> Result<(), MetadataError> {
        if let Some(rest) = key.strip_prefix(keys::TOPICS) {
            let cluster = rest.split_once('/').and_then(|(cluster, _)| cluster.parse().ok());
            let topic = TopicRecord::decode(&entry.value)?;
            if let Some(cluster) = cluster {
                self.topics.insert((cluster, topic.id), topic.name);
            }
            return Ok(());
        }
        if let Some(rest) = key.strip_prefix(keys::REMOVED) {
            self.removed.extend(removed(rest));
            return Ok(());
        }
        match key {
            keys::COUNTER_INCARNATION => self.incarnations = CounterRecord::decode(&entry.value)?.next,
            keys::COUNTER_PRODUCER_ID => self.producer_ids = CounterRecord::decode(&entry.value)?.next,
            keys::CELL_LIFE => self.life = Some(CellLifeRecord::decode(&entry.value)?),
            _ => match key.strip_prefix(keys::RETIRED) {
                Some(rest) => self.retired.extend(rest.parse::<WalId>()),
                None => self.view.apply(key, Some((&entry.value, entry.modified)))?,
            },
        }
        self.entries.insert(key.to_owned(), entry);
        Ok(())
    }

    /// Whether a topic was removed on purpose, alone or with its cluster.
    pub(super) fn is_removed(&self, cluster: ClusterId, topic: TopicId) -> bool {
        [None, Some(topic)].into_iter().any(|topic| self.removed.contains(&(cluster, topic)))
    }

    /// All slots of the cell.
    pub(super) fn slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.cell.slots).map(SlotId::new)
    }
}

/// Reads the end of `removed/topic/<cluster>/<topic>` or `removed/cluster/<cluster>`.
fn removed(rest: &str) -> Option<(ClusterId, Option<TopicId>)> {
    match rest.split('/').collect::<Vec<_>>()[..] {
        ["cluster", cluster] => Some((cluster.parse().ok()?, None)),
        ["topic", cluster, topic] => Some((cluster.parse().ok()?, Some(topic.parse().ok()?))),
        _ => None,
    }
}
