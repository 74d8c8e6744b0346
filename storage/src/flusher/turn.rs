//! Flushing in turn: a slot's log is folded in the order of its epochs, so no WAL is flushed beyond the first record of a slot of
//! which something earlier, in another WAL, is not flushed yet (`storage/PROTOCOL.md` §6.3, §6.4).
//!
//! No WAL waits for ever: what it waits for was written before the slot came to it, so following who waits for whom leads to ever
//! earlier moments, and ends at a WAL that waits for nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use headgate_log::object::FlushError;
use headgate_log::wal::{WalReadError, WalScan};
use headgate_metadata::id::{SlotEpoch, SlotId, WalId, WalPosition};

use super::{FlushFault, Flusher};
use crate::chain::CellView;
use crate::flush_plan::Left;
use crate::spawn;

impl Flusher {
    /// What may be flushed of a WAL now.
    pub(super) async fn in_turn(&self, left: Left) -> Result<Left, FlushFault> {
        let early = self.cell.with(|cell| out_of_turn(cell, left.wal));
        if early.is_empty() {
            return Ok(left);
        }
        let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        let find = move || -> Result<Option<WalPosition>, WalReadError> {
            let scan = WalScan::open(disk, &dir, left.wal, Some(left.end))?;
            let mut records = scan.records(left.flushed)?;
            while let Some(record) = records.next() {
                let stamp = record?.stamp;
                if early.contains(&(stamp.slot, stamp.slot_epoch)) {
                    return Ok(records.group());
                }
            }
            Ok(None)
        };
        let found = spawn::blocking(find).await.ok_or(FlushFault::Interrupted)?.map_err(FlushError::Wal)?;
        Ok(Left { end: found.unwrap_or(left.end), ..left })
    }
}

/// The lives of slots in `wal` before which something is unflushed elsewhere.
fn out_of_turn(cell: &CellView, wal: WalId) -> BTreeSet<(SlotId, SlotEpoch)> {
    let mut early = BTreeSet::new();
    for (slot, view) in &cell.slots {
        let mut is_behind = false;
        for span in view.spans() {
            if span.wal == wal && is_behind {
                early.insert((*slot, span.epoch));
            }
            let flushed = cell.wals.get(&span.wal).map(|view| view.flushed);
            is_behind |= span.wal != wal && flushed.is_some_and(|flushed| flushed < span.to);
        }
    }
    early
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{Incarnation, NodeId, Revision};
    use headgate_metadata::record::{SlotRecord, Span, WalRecord, WalState};

    use super::*;
    use crate::chain::{SlotView, WalView};

    fn wal(node: u32) -> WalId {
        WalId { node: NodeId::new(node), incarnation: Incarnation::new(1) }
    }

    fn cell(flushed_of_first: u64) -> CellView {
        let mut cell = CellView::default();
        for (node, flushed) in [(1, flushed_of_first), (2, 0)] {
            let record = WalRecord { wal: wal(node), state: WalState::Open, fragments: Vec::new() };
            let flushed = WalPosition::new(flushed);
            let view = WalView { record, modified: Revision::new(1), flushed, chain: Vec::new() };
            cell.wals.insert(wal(node), view);
        }
        let (from, to) = (WalPosition::new(0), WalPosition::new(100));
        let record = SlotRecord {
            owner: wal(2),
            epoch: SlotEpoch::new(2),
            from,
            spans: vec![Span { epoch: SlotEpoch::new(1), wal: wal(1), from, to }],
            manifest: None,
            applied: None,
        };
        cell.slots.insert(SlotId::new(3), SlotView { record, modified: Revision::new(1) });
        cell
    }

    #[test]
    fn section_6_4_a_slot_is_not_flushed_before_what_it_inherited() {
        let early = BTreeSet::from([(SlotId::new(3), SlotEpoch::new(2))]);
        assert_eq!(out_of_turn(&cell(99), wal(2)), early);
        assert!(out_of_turn(&cell(100), wal(2)).is_empty());
        assert!(out_of_turn(&cell(0), wal(1)).is_empty(), "the inherited WAL itself waits for nobody");
    }
}
