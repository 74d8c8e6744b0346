//! Taking and giving slots (`storage/PROTOCOL.md` §5): one compare-and-swap of each slot key, many in one transaction, which
//! also compares that the new owner's WAL is open.

use std::collections::BTreeMap;

use headgate_metadata::id::{Incarnation, NodeId, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, Fragment, Record, SlotRecord, Span, WalRecord, WalState};
use headgate_metadata::store::{
    Compare, MetadataError, MetadataStore, Outcome, TRANSACTION_OPERATIONS_MAX, Transaction, Write,
};

use crate::chain::{CellView, SlotView};
use crate::planted::{Bug, is_planted};
use crate::start_error::StartError;

/// Reads the cell's identity.
pub(crate) async fn cell(store: &dyn MetadataStore) -> Result<CellRecord, StartError> {
    let entry = store.get(keys::CELL).await?.ok_or(StartError::NoCell)?;
    Ok(CellRecord::decode(&entry.value)?)
}

/// The record of a WAL whose ensemble is its owner alone.
fn open_wal(wal: WalId) -> WalRecord {
    let ensemble: Vec<(NodeId, Incarnation)> = vec![(wal.node, wal.incarnation)];
    WalRecord {
        wal,
        state: WalState::Open,
        fragments: vec![Fragment { start: WalPosition::new(0), ensemble }],
    }
}

/// Registers the WAL of this start.
pub(crate) async fn register(store: &dyn MetadataStore, wal: WalId) -> Result<(), StartError> {
    let key = keys::wal(wal);
    let transaction = Transaction::new()
        .when(Compare::Absent(key.clone()))
        .then(Write::Put(key.clone(), open_wal(wal).encode()));
    match store.commit(transaction).await? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Refused(_) => Err(StartError::Contended { key }),
    }
}

/// Slots that were taken, each with its new epoch.
pub(crate) type Taken = BTreeMap<SlotId, SlotEpoch>;

/// Takes slots for `wal`, which must be open when it happens: slots that nobody had, and slots of sealed WALs. As many as one
/// transaction holds at a time; stops at the first that is refused because a key moved since `cell` was read, and returns what
/// was taken until then.
pub(crate) async fn take(
    store: &dyn MetadataStore,
    slots: &[SlotId],
    wal: WalId,
    cell: &CellView,
) -> Result<Taken, StartError> {
    let mut taken = Taken::new();
    let Some(own) = cell.wals.get(&wal).filter(|own| own.record.state == WalState::Open) else {
        return Ok(taken);
    };
    // One compare of each transaction is for the WAL.
    for some in slots.chunks(TRANSACTION_OPERATIONS_MAX - 1) {
        let mut transaction = Transaction::new().when(Compare::Unchanged(keys::wal(wal), own.modified));
        let mut epochs = Taken::new();
        for slot in some {
            let key = keys::slot(*slot);
            let before = cell.slots.get(slot);
            let compare = match before {
                None => Compare::Absent(key.clone()),
                Some(view) => Compare::Unchanged(key.clone(), view.modified),
            };
            let record = inherited(*slot, wal, before, cell)?;
            epochs.insert(*slot, record.epoch);
            transaction = transaction.when(compare).then(Write::Put(key, record.encode()));
        }
        match store.commit(transaction).await? {
            Outcome::Committed(_) => taken.append(&mut epochs),
            Outcome::Refused(_) => break,
        }
    }
    Ok(taken)
}

/// Gives slots of `wal`, which lived there up to `to`, to the open WAL `heir`, all or none. An outcome that is not known is
/// told as it came: the keys decide.
pub(crate) async fn give(
    store: &dyn MetadataStore,
    slots: &[SlotId],
    wal: WalId,
    to: WalPosition,
    heir: WalId,
    cell: &CellView,
) -> Result<Outcome, MetadataError> {
    let Some(target) = cell.wals.get(&heir).filter(|target| target.record.state == WalState::Open) else {
        return Ok(Outcome::Refused(cell.revision));
    };
    let mut transaction = Transaction::new();
    if !is_planted(Bug::TargetNotCompared) {
        transaction = transaction.when(Compare::Unchanged(keys::wal(heir), target.modified));
    }
    for slot in slots {
        let Some(view) = cell.slots.get(slot).filter(|view| view.record.owner == wal) else {
            return Ok(Outcome::Refused(cell.revision));
        };
        let key = keys::slot(*slot);
        let record = succeeded(view, to, heir);
        transaction = transaction
            .when(Compare::Unchanged(key.clone(), view.modified))
            .then(Write::Put(key, record.encode()));
    }
    store.commit(transaction).await
}

/// The slot key as the next owner writes it: epoch + 1, and the last owner's span added.
fn inherited(
    slot: SlotId,
    wal: WalId,
    before: Option<&SlotView>,
    cell: &CellView,
) -> Result<SlotRecord, StartError> {
    let from = WalPosition::new(0);
    let Some(view) = before else {
        let epoch = SlotEpoch::new(1);
        return Ok(SlotRecord { owner: wal, epoch, from, spans: Vec::new(), manifest: None, applied: None });
    };
    let record = &view.record;
    let owner = cell.wals.get(&record.owner);
    let end = owner.and_then(crate::chain::WalView::sealed_end);
    let end = end.ok_or(StartError::SlotHeld { slot, owner: record.owner })?;
    Ok(succeeded(view, end, wal))
}

/// The slot key under its next owner: epoch + 1, and the last owner's span, which ends at `to`, added.
fn succeeded(before: &SlotView, to: WalPosition, heir: WalId) -> SlotRecord {
    let SlotView { record, .. } = before;
    let last = Span { epoch: record.epoch, wal: record.owner, from: record.from, to };
    let mut spans = record.spans.clone();
    // An empty span holds nothing to replay, and would only keep its WAL from being retired.
    if last.to > last.from {
        spans.push(last);
    }
    let from = WalPosition::new(0);
    SlotRecord { owner: heir, epoch: record.epoch.next(), from, spans, ..record.clone() }
}
