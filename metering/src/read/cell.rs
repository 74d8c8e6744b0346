//! What the metadata store says of slots and WALs, read at one revision.

use std::collections::{BTreeMap, BTreeSet};

use headgate_log::object::ObjectName;
use headgate_metadata::id::{SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{
    Applied, ChainRecord, FlushedRecord, Record, SlotRecord, Span, WalRecord, WalState,
};
use headgate_metadata::store::{Entry, MetadataError, MetadataStore, Select};

use super::error::ReadUsageError;

/// All keys of how far WALs are flushed.
const FLUSHED: &str = "flushed/";
/// All keys of flush objects that count.
const CHAINS: &str = "chain/";

/// All slots and WALs.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) slots: BTreeMap<SlotId, SlotRecord>,
    wals: BTreeMap<WalId, WalState>,
    flushed: BTreeMap<WalId, WalPosition>,
    chains: BTreeMap<WalId, Vec<Link>>,
}

/// One flush object that counts.
#[derive(Debug)]
pub(super) struct Link {
    start: WalPosition,
    end: WalPosition,
    pub(super) object: ObjectName,
}

impl Cell {
    /// Reads everything with one request.
    pub(super) async fn read(store: &dyn MetadataStore) -> Result<Self, MetadataError> {
        let selects =
            [keys::SLOTS, keys::WALS, FLUSHED, CHAINS].map(|prefix| Select::Prefix(prefix.to_owned()));
        let mut results = store.read(&selects).await?.results.into_iter();
        let mut next = || results.next().unwrap_or_default();
        let (slots, wals, flushed, chains) = (next(), next(), next(), next());
        let mut cell = Self::default();
        for entry in &slots {
            cell.slots.insert(name_in(entry, keys::SLOTS)?, decode(entry)?);
        }
        for entry in &wals {
            cell.wals.insert(name_in(entry, keys::WALS)?, decode::<WalRecord>(entry)?.state);
        }
        for entry in &flushed {
            cell.flushed.insert(name_in(entry, FLUSHED)?, decode::<FlushedRecord>(entry)?.position);
        }
        // Twenty digits each, so the keys of a WAL come in the order of their positions.
        for entry in &chains {
            let (wal, link) = link(entry)?;
            cell.chains.entry(wal).or_default().push(link);
        }
        Ok(cell)
    }

    /// Where the WAL ends, once that is decided.
    pub(super) fn sealed_end(&self, wal: WalId) -> Option<WalPosition> {
        match self.wals.get(&wal) {
            Some(WalState::Sealed { end }) => Some(*end),
            Some(WalState::Open | WalState::Sealing) | None => None,
        }
    }

    /// Everything below this position of the WAL is in flush objects.
    pub(super) fn flushed(&self, wal: WalId) -> WalPosition {
        self.flushed.get(&wal).copied().unwrap_or_default()
    }

    /// The WAL's flush objects that some slot's manifest does not contain yet, by position.
    pub(super) fn links_wanted(&self, wal: WalId) -> impl Iterator<Item = &Link> {
        let links = self.chains.get(&wal).map(Vec::as_slice).unwrap_or_default();
        links.iter().filter(move |link| {
            let wants = |slot: &SlotRecord| {
                spans(slot).any(|span| span.wal == wal && lies_above(slot, &span, link.start, link.end))
            };
            self.slots.values().any(wants)
        })
    }

    /// The WALs that slots name, in order.
    pub(super) fn wals_named(&self) -> Result<BTreeSet<WalId>, ReadUsageError> {
        let mut named = BTreeSet::new();
        for (&slot, record) in &self.slots {
            for Span { wal, .. } in spans(record) {
                if !self.wals.contains_key(&wal) {
                    return Err(ReadUsageError::WalUnknown { slot, wal });
                }
                named.insert(wal);
            }
        }
        Ok(named)
    }
}

/// The slot's spans in epoch order, the owner's own last; of that one `to` says nothing.
pub(super) fn spans(slot: &SlotRecord) -> impl Iterator<Item = Span> {
    let own = Span { epoch: slot.epoch, wal: slot.owner, from: slot.from, to: WalPosition::new(u64::MAX) };
    slot.spans.iter().copied().chain([own])
}

/// Whether bytes `[start, end)` of the span's WAL may hold something of the slot that its manifest does not contain.
pub(super) fn lies_above(slot: &SlotRecord, span: &Span, start: WalPosition, end: WalPosition) -> bool {
    start < span.to && !has_applied(slot, span.epoch, end)
}

fn has_applied(slot: &SlotRecord, epoch: SlotEpoch, position: WalPosition) -> bool {
    slot.applied.is_some_and(|applied| applied >= Applied { epoch, position })
}

fn link(entry: &Entry) -> Result<(WalId, Link), MetadataError> {
    let rest = entry.key.strip_prefix(CHAINS).and_then(|rest| rest.split_once('/'));
    let place = rest.and_then(|(wal, start)| Some((wal.parse().ok()?, start.parse().ok()?)));
    let (wal, start) = place.ok_or_else(|| unknown_key(entry))?;
    let ChainRecord { end, object } = decode(entry)?;
    let object = ObjectName::parse(&object)
        .map_err(|error| MetadataError::Invalid { reason: format!("`{}`: {error}", entry.key) })?;
    Ok((wal, Link { start, end, object }))
}

fn name_in<T: std::str::FromStr>(entry: &Entry, prefix: &str) -> Result<T, MetadataError> {
    entry.key.strip_prefix(prefix).and_then(|rest| rest.parse().ok()).ok_or_else(|| unknown_key(entry))
}

fn unknown_key(entry: &Entry) -> MetadataError {
    MetadataError::Invalid { reason: format!("key `{}` is not as expected", entry.key) }
}

/// Decodes an entry's value; the error names the key.
pub(super) fn decode<R: Record>(entry: &Entry) -> Result<R, MetadataError> {
    R::decode(&entry.value).map_err(|error| match error {
        MetadataError::Invalid { reason } => {
            MetadataError::Invalid { reason: format!("`{}`: {reason}", entry.key) }
        }
        other => other,
    })
}
