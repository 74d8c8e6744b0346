//! What the metadata store says of slots, WALs and nodes, at one revision (`storage/PROTOCOL.md` §5).

use std::collections::BTreeMap;

use headgate_log::object::ObjectName;
use headgate_metadata::id::{Incarnation, NodeId, Revision, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{
    Applied, CellLifeRecord, ChainRecord, FlushedRecord, NodeRecord, PlacementRecord, Record, SlotRecord,
    Span, WalRecord, WalState,
};
use headgate_metadata::store::{MetadataError, MetadataStore, Select, TRANSACTION_OPERATIONS_MAX};

use crate::planted::{Bug, is_planted};

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

    /// Who holds a copy of everything that is not flushed: a member is admitted only when it does (`ensemble.rs`), so the
    /// last fragment names them all.
    pub(crate) fn holders(&self) -> &[(NodeId, Incarnation)] {
        self.record.fragments.last().map(|fragment| fragment.ensemble.as_slice()).unwrap_or_default()
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
        self.record.applied.is_some_and(|applied| {
            applied >= Applied { epoch, position }
                || is_planted(Bug::AppliedWithoutEpoch) && applied.position >= position
        })
    }
}

/// Slots, WALs and nodes at one revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct CellView {
    pub(crate) revision: Revision,
    pub(crate) slots: BTreeMap<SlotId, SlotView>,
    pub(crate) wals: BTreeMap<WalId, WalView>,
    /// The live storage nodes, as far as their leases tell.
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    /// Where slots were told to live.
    pub(crate) placements: BTreeMap<SlotId, NodeId>,
    /// Which life of the store this is.
    pub(crate) life: Option<CellLifeRecord>,
    /// Figures of WALs whose own key was not seen yet: keys of one transaction come in any order.
    loose: BTreeMap<WalId, (WalPosition, Vec<ChainEntry>)>,
}

impl CellView {
    /// Reads everything. One request, so that it is seen at one revision.
    pub(crate) async fn read(store: &dyn MetadataStore) -> Result<Self, MetadataError> {
        let selects = PREFIXES.map(|prefix| Select::Prefix(prefix.to_owned()));
        const { assert!(PREFIXES.len() <= TRANSACTION_OPERATIONS_MAX) };
        let snapshot = store.read(&selects).await?;
        let mut view = Self { revision: snapshot.revision, ..Self::default() };
        for entry in snapshot.results.iter().flatten() {
            view.apply(&entry.key, Some((&entry.value, entry.modified)))?;
        }
        Ok(view)
    }

    /// Takes one key's new value in; `None` = it was deleted. Keys that are not of the view are passed over.
    pub(crate) fn apply(&mut self, key: &str, value: Option<(&[u8], Revision)>) -> Result<(), MetadataError> {
        let Some(prefix) = PREFIXES.into_iter().find(|prefix| key.starts_with(prefix)) else { return Ok(()) };
        match prefix {
            keys::SLOTS => {
                let slot = parse(key, prefix)?;
                match value {
                    Some((value, modified)) => {
                        let record = SlotRecord::decode(value)?;
                        self.slots.insert(slot, SlotView { record, modified });
                    }
                    None => drop(self.slots.remove(&slot)),
                }
            }
            keys::WALS => self.apply_wal(parse(key, prefix)?, value)?,
            keys::NODES => {
                let node = parse(key, prefix)?;
                match value {
                    Some((value, _)) => drop(self.nodes.insert(node, NodeRecord::decode(value)?)),
                    None => drop(self.nodes.remove(&node)),
                }
            }
            keys::PLACEMENTS => {
                let slot = parse(key, prefix)?;
                let _ = match value {
                    Some((value, _)) => self.placements.insert(slot, PlacementRecord::decode(value)?.node),
                    None => self.placements.remove(&slot),
                };
            }
            keys::CELL_LIFE => {
                self.life = value.map(|(value, _)| CellLifeRecord::decode(value)).transpose()?;
            }
            keys::FLUSHED => {
                let (flushed, _) = self.figures(parse(key, prefix)?);
                if let Some((value, _)) = value {
                    *flushed = FlushedRecord::decode(value)?.position;
                }
            }
            _ => {
                let (wal, start) = parse_chain(key)?;
                let (_, chain) = self.figures(wal);
                chain.retain(|entry| entry.start != start);
                if let Some((value, _)) = value {
                    let record = ChainRecord::decode(value)?;
                    let object = ObjectName::parse(&record.object)
                        .map_err(|error| MetadataError::Invalid { reason: format!("`{key}`: {error}") })?;
                    chain.push(ChainEntry { start, end: record.end, object });
                    chain.sort_unstable_by_key(|entry| entry.start);
                }
            }
        }
        Ok(())
    }

    fn apply_wal(&mut self, wal: WalId, value: Option<(&[u8], Revision)>) -> Result<(), MetadataError> {
        let Some((value, modified)) = value else {
            self.wals.remove(&wal);
            self.loose.remove(&wal);
            return Ok(());
        };
        let record = WalRecord::decode(value)?;
        match self.wals.get_mut(&wal) {
            Some(view) => (view.record, view.modified) = (record, modified),
            None => {
                let (flushed, chain) = self.loose.remove(&wal).unwrap_or_default();
                self.wals.insert(wal, WalView { record, modified, flushed, chain });
            }
        }
        Ok(())
    }

    fn figures(&mut self, wal: WalId) -> (&mut WalPosition, &mut Vec<ChainEntry>) {
        match self.wals.get_mut(&wal) {
            Some(view) => (&mut view.flushed, &mut view.chain),
            None => {
                let (flushed, chain) = self.loose.entry(wal).or_default();
                (flushed, chain)
            }
        }
    }

    /// Whether the node lives, as far as its lease tells.
    pub(crate) fn is_live(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }
}

/// What a view is made of.
const PREFIXES: [&str; 6] =
    [keys::SLOTS, keys::WALS, keys::FLUSHED, keys::CHAINS, keys::NODES, keys::PLACEMENTS];

fn parse<T: std::str::FromStr>(key: &str, prefix: &str) -> Result<T, MetadataError> {
    key.strip_prefix(prefix).and_then(|rest| rest.parse().ok()).ok_or_else(|| unknown_key(key))
}

fn parse_chain(key: &str) -> Result<(WalId, WalPosition), MetadataError> {
    let rest = key.strip_prefix(keys::CHAINS).and_then(|rest| rest.split_once('/'));
    let place = rest.and_then(|(wal, start)| Some((wal.parse().ok()?, start.parse().ok()?)));
    place.ok_or_else(|| unknown_key(key))
}

fn unknown_key(key: &str) -> MetadataError {
    MetadataError::Invalid { reason: format!("key `{key}` is not as expected") }
}
