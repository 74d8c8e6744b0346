//! Taking slots (`storage/PROTOCOL.md` §5): one compare-and-swap each, many in one transaction, all of them at start.

use headgate_metadata::id::{Incarnation, NodeId, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, Fragment, Record, SlotRecord, Span, WalRecord, WalState};
use headgate_metadata::store::{
    Compare, MetadataStore, Outcome, TRANSACTION_OPERATIONS_MAX, Transaction, Write,
};

use crate::chain::{CellView, SlotView};
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

/// Takes every slot of the cell for `wal`, which must be open when it happens. Returns each slot's new epoch.
pub(crate) async fn take_all(
    store: &dyn MetadataStore,
    count: u16,
    wal: WalId,
    cell: &CellView,
) -> Result<Vec<(SlotId, SlotEpoch)>, StartError> {
    let mut taken = Vec::with_capacity(usize::from(count));
    let slots: Vec<SlotId> = (0..count).map(SlotId::new).collect();
    // One compare of each transaction is for the WAL.
    for some in slots.chunks(TRANSACTION_OPERATIONS_MAX - 1) {
        let wal_key = keys::wal(wal);
        let mut transaction =
            Transaction::new().when(Compare::Value(wal_key.clone(), open_wal(wal).encode()));
        for slot in some {
            let key = keys::slot(*slot);
            let before = cell.slots.get(slot);
            let compare = match before {
                None => Compare::Absent(key.clone()),
                Some(view) => Compare::Unchanged(key.clone(), view.modified),
            };
            let record = inherited(*slot, wal, before, cell)?;
            taken.push((*slot, record.epoch));
            transaction = transaction.when(compare).then(Write::Put(key, record.encode()));
        }
        if let Outcome::Refused(_) = store.commit(transaction).await? {
            return Err(StartError::Contended { key: wal_key });
        }
    }
    Ok(taken)
}

/// The slot key as the next owner writes it: epoch + 1, and the last owner's span added.
fn inherited(
    slot: SlotId,
    wal: WalId,
    before: Option<&SlotView>,
    cell: &CellView,
) -> Result<SlotRecord, StartError> {
    let from = WalPosition::new(0);
    let Some(SlotView { record, .. }) = before else {
        let epoch = SlotEpoch::new(1);
        return Ok(SlotRecord { owner: wal, epoch, from, spans: Vec::new(), manifest: None, applied: None });
    };
    let owner = cell.wals.get(&record.owner);
    let end = owner.and_then(crate::chain::WalView::sealed_end);
    let end = end.ok_or(StartError::SlotHeld { slot, owner: record.owner })?;
    let last = Span { epoch: record.epoch, wal: record.owner, from: record.from, to: end };
    let mut spans = record.spans.clone();
    // An empty span holds nothing to replay, and would only keep its WAL from being retired.
    if last.to > last.from {
        spans.push(last);
    }
    Ok(SlotRecord { owner: wal, epoch: record.epoch.next(), from, spans, ..record.clone() })
}
