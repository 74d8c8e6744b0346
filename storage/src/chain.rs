//! What the metadata store says of slots and WALs, read at one revision (`storage/PROTOCOL.md` §5).

use std::collections::BTreeMap;

use headgate_log::object::ObjectName;
use headgate_metadata::id::{Revision, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{
    Applied, ChainRecord, FlushedRecord, Record, SlotRecord, Span, WalRecord, WalState,
};
use headgate_metadata::store::{Entry, MetadataError, MetadataStore, Select, TRANSACTION_OPERATIONS_MAX};

/// One flush object that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainEntry {
    pub(crate) start: WalPosition,
    pub(crate) end: WalPosition,
    pub(crate) object: ObjectName,
}

/// A WAL as the metadata store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalView {
    pub(crate) record: WalRecord,
    pub(crate) modified: Revision,
    /// Everything below is in the objects of the chain.
    pub(crate) flushed: WalPosition,
    /// By position.
    pub(crate) chain: Vec<ChainEntry>,
}

impl WalView {
    /// Where the log ends, once that is decided.
    pub(crate) fn sealed_end(&self) -> Option<WalPosition> {
        match self.record.state {
            WalState::Sealed { end } => Some(end),
            WalState::Open | WalState::Sealing => None,
        }
    }
}

/// A slot as the metadata store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotView {
    pub(crate) record: SlotRecord,
    pub(crate) modified: Revision,
}

impl SlotView {
    /// The slot's spans in epoch order, the owner's own last. Of an open span `to` says nothing.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let SlotRecord { owner, epoch, from, .. } = self.record;
        let own = Span { epoch, wal: owner, from, to: WalPosition::new(u64::MAX) };
        self.record.spans.iter().copied().chain([own]).collect()
    }

    /// Whether the manifest contains everything of that epoch up to `position`.
    pub(crate) fn has_applied(&self, epoch: SlotEpoch, position: WalPosition) -> bool {
        self.record.applied.is_some_and(|applied| applied >= Applied { epoch, position })
    }
}

/// Slots and WALs at one revision.
#[derive(Debug, Clone)]
pub(crate) struct CellView {
    pub(crate) revision: Revision,
    pub(crate) slots: BTreeMap<SlotId, SlotView>,
    pub(crate) wals: BTreeMap<WalId, WalView>,
}

impl CellView {
    /// Reads all slots and WALs. One request unless there are very many WALs.
    pub(crate) async fn read(store: &dyn MetadataStore) -> Result<Self, MetadataError> {
        // All chains together, so that one request sees everything at one revision.
        let selects =
            [keys::SLOTS, keys::WALS, FLUSHED, CHAINS].map(|prefix| Select::Prefix(prefix.to_owned()));
        const { assert!(TRANSACTION_OPERATIONS_MAX >= 4) };
        let snapshot = store.read(&selects).await?;
        let mut results = snapshot.results.into_iter();
        let mut next = || results.next().unwrap_or_default();
        let (slots, wals, flushed, chains) = (next(), next(), next(), next());
        let mut view = Self { revision: snapshot.revision, slots: BTreeMap::new(), wals: BTreeMap::new() };
        for entry in &slots {
            let slot = parse(entry, keys::SLOTS)?;
            let record = SlotRecord::decode(&entry.value)?;
            view.slots.insert(slot, SlotView { record, modified: entry.modified });
        }
        for entry in &wals {
            let record = WalRecord::decode(&entry.value)?;
            let wal =
                WalView { modified: entry.modified, flushed: WalPosition::new(0), chain: Vec::new(), record };
            view.wals.insert(wal.record.wal, wal);
        }
        for entry in &flushed {
            let wal: WalId = parse(entry, FLUSHED)?;
            if let Some(view) = view.wals.get_mut(&wal) {
                view.flushed = FlushedRecord::decode(&entry.value)?.position;
            }
        }
        for entry in &chains {
            let (wal, link) = parse_chain(entry)?;
            if let Some(view) = view.wals.get_mut(&wal) {
                view.chain.push(link);
            }
        }
        Ok(view)
    }
}

/// All `flushed/…` keys.
const FLUSHED: &str = "flushed/";
/// All `chain/…` keys.
const CHAINS: &str = "chain/";

fn parse<T: std::str::FromStr>(entry: &Entry, prefix: &str) -> Result<T, MetadataError> {
    entry.key.strip_prefix(prefix).and_then(|rest| rest.parse().ok()).ok_or_else(|| unknown_key(entry))
}

fn parse_chain(entry: &Entry) -> Result<(WalId, ChainEntry), MetadataError> {
    let rest = entry.key.strip_prefix(CHAINS).and_then(|rest| rest.split_once('/'));
    let place = rest.and_then(|(wal, start)| Some((wal.parse().ok()?, start.parse().ok()?)));
    let (wal, start) = place.ok_or_else(|| unknown_key(entry))?;
    let record = ChainRecord::decode(&entry.value)?;
    let object = ObjectName::parse(&record.object)
        .map_err(|error| MetadataError::Invalid { reason: format!("`{}`: {error}", entry.key) })?;
    Ok((wal, ChainEntry { start, end: record.end, object }))
}

fn unknown_key(entry: &Entry) -> MetadataError {
    MetadataError::Invalid { reason: format!("key `{}` is not as expected", entry.key) }
}
