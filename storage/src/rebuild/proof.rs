//! The proof: every slot is folded as its next owner will, and what is only in copies must go on where the objects end. A history
//! that does not hold is cut where it breaks, and that is a loss.

use std::collections::BTreeMap;

use headgate_log::manifest::{FoldError, Manifest};
use headgate_metadata::id::{Offset, PartitionKey, Revision, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::record::{SlotRecord, WalRecord, WalState};

use super::history::History;
use super::logs::Logs;
use super::loss::Loss;
use super::{RebuildError, empty_wal};
use crate::chain::{CellView, SlotView, WalView};
use crate::objects::Objects;
use crate::start_error::StartError;

/// The cell as it will be, with every object that may count.
pub(super) fn view(logs: &Logs, owner: WalId) -> CellView {
    let mut view = CellView::default();
    for (wal, log) in logs {
        let record = WalRecord { wal: *wal, state: WalState::Sealed { end: log.end }, fragments: Vec::new() };
        let (flushed, chain) = (log.flushed, log.chain.iter().map(|link| link.entry.clone()).collect());
        view.wals.insert(*wal, WalView { record, modified: Revision::new(0), flushed, chain });
    }
    let (flushed, chain) = (WalPosition::new(0), Vec::new());
    let owned = WalView { record: empty_wal(owner), modified: Revision::new(0), flushed, chain };
    view.wals.insert(owner, owned);
    view
}

/// The slot's key with that history, before anybody has taken it.
pub(super) fn record(history: &History, owner: WalId, epoch: SlotEpoch) -> SlotRecord {
    let History { manifest, applied, spans, .. } = history.clone();
    SlotRecord { owner, epoch, from: WalPosition::new(0), spans, manifest, applied }
}

/// Proves one slot's history, and cuts it where it breaks.
pub(super) async fn prove(
    slot: SlotId,
    history: &mut History,
    cell: &CellView,
    owner: WalId,
    logs: &Logs,
    objects: &Objects,
) -> Result<Vec<Loss>, RebuildError> {
    let mut losses = Vec::new();
    let manifest = loop {
        let record = record(history, owner, history.epoch.next());
        let view = SlotView { record, modified: Revision::new(0) };
        let error = match objects.fold_slot(slot, &view, cell).await {
            Ok(folded) => break folded.manifest,
            Err(StartError::Fold { error, .. }) => error,
            Err(StartError::Object(error)) => return Err(error.into()),
            Err(error) => {
                losses.push(Loss::Object { slot, object: None, reason: error.to_string() });
                history.spans.clear();
                break Manifest::empty(slot);
            }
        };
        losses.push(broken(slot, &error));
        if !cut(history, logs, &error) {
            break Manifest::empty(slot);
        }
    };
    losses.extend(prove_copies(slot, history, logs, &manifest));
    Ok(losses)
}

fn broken(slot: SlotId, error: &FoldError) -> Loss {
    match error {
        FoldError::OffsetGap { partition, object, expected, found } => Loss::Offsets {
            slot,
            partition: *partition,
            from: *expected,
            to: *found,
            found: object.to_string(),
        },
        other => Loss::Object { slot, object: None, reason: other.to_string() },
    }
}

/// Ends the history before what does not fit. `false` = nothing is left that could be ended.
fn cut(history: &mut History, logs: &Logs, error: &FoldError) -> bool {
    if let FoldError::OffsetGap { object, .. } = error {
        for (index, span) in history.spans.iter().enumerate() {
            let chain = logs.get(&span.wal).map(|log| log.chain.as_slice()).unwrap_or_default();
            let broken = chain.iter().map(|link| &link.entry).find(|entry| entry.object == *object);
            if let Some(to) = broken.map(|entry| entry.start).filter(|start| *start < span.to) {
                history.spans.truncate(index + 1);
                history.spans[index].to = to;
                return true;
            }
        }
    }
    history.spans.pop().is_some()
}

/// What lies in copies above the objects goes on where those end, partition by partition.
fn prove_copies(slot: SlotId, history: &mut History, logs: &Logs, manifest: &Manifest) -> Vec<Loss> {
    // `None` = only a part of what was found counts, so where it ends is not known.
    let mut next: BTreeMap<PartitionKey, Option<Offset>> =
        manifest.partitions.iter().map(|(key, partition)| (*key, Some(partition.next_offset))).collect();
    for index in 0..history.spans.len() {
        let span = history.spans[index];
        let Some(log) = logs.get(&span.wal).filter(|log| log.flushed < span.to) else { continue };
        let life = log.unflushed.iter().find(|life| (life.slot, life.epoch) == (slot, span.epoch));
        let Some(life) = life else { continue };
        let is_whole = life.last < span.to;
        let mut losses = Vec::new();
        for offsets in &life.partitions {
            let partition = manifest.partitions.get(&offsets.partition);
            if partition.is_some_and(|partition| partition.removed) {
                continue;
            }
            let known = next.entry(offsets.partition).or_insert(Some(Offset::new(0)));
            if let Some(expected) = known.filter(|expected| *expected < offsets.base) {
                let (partition, found) = (offsets.partition, format!("WAL {}", span.wal));
                losses.push(Loss::Offsets { slot, partition, from: expected, to: offsets.base, found });
            }
            *known = known.filter(|_| is_whole).map(|known| known.max(offsets.next));
        }
        if !losses.is_empty() {
            // Up to here it holds.
            history.spans.truncate(index + 1);
            history.spans[index].to = log.flushed;
            return losses;
        }
    }
    Vec::new()
}
