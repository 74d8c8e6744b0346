//! Following the chains of WALs in which slots of this node lived: their bytes may be flushed by others
//! (`storage/PROTOCOL.md` §6.4).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use headgate_log::object::{FlushIndex, ObjectError, ObjectName};
use headgate_log::wal::list_chunks;
use headgate_metadata::id::{NodeId, SlotEpoch, SlotId, WalId, WalPosition};

use super::{FlushFault, Flusher, Opened, Progress, Touched, slots_in};
use crate::chain::{CellView, ChainEntry, WalView};
use crate::flush_plan::Left;
use crate::objects::holds;
use crate::partition::Run;
use crate::spawn;

/// How long an heir waits for whoever has the duty to flush a sealed WAL.
const HEIR_PATIENCE: Duration = Duration::from_secs(10);

impl Flusher {
    /// The node, which is that of its WAL.
    pub(super) fn node(&self) -> NodeId {
        self.sequencer.wal().node
    }

    /// Whether this node does for the whole cell what one node must: the live one with the lowest number.
    pub(super) fn is_janitor(&self, cell: &CellView) -> bool {
        cell.nodes.keys().next().is_none_or(|first| *first == self.node())
    }

    /// Slots were opened as `cell` had them: from there on this flusher keeps up with their chains. Called before they are published,
    /// and never waits for a flush in flight: the object store may be away, and slots stand still until they are open.
    pub(crate) async fn opened(
        &self,
        slots: &BTreeMap<SlotId, SlotEpoch>,
        cell: &CellView,
    ) -> Result<(), ObjectError> {
        let mut opened = Opened::default();
        for slot in slots.keys() {
            let Some(view) = cell.slots.get(slot) else { continue };
            for span in view.spans() {
                let Some(wal) = cell.wals.get(&span.wal) else { continue };
                opened.flushed.insert(span.wal, wal.flushed);
                for entry in wal.chain.iter().filter(|entry| !view.has_applied(span.epoch, entry.end)) {
                    if holds(&*self.objects.cache.index(&entry.object).await?, *slot, span.epoch) {
                        *opened.flushes.entry(*slot).or_default() += 1;
                    }
                }
            }
        }
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
        Ok(())
    }

    /// Takes note of what was opened. What its readers were not told of, because a flush was committed meanwhile, is told again.
    fn take_opened(&self, progress: &mut Progress) {
        let now = self.clock.monotonic();
        for opened in std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner)) {
            for (wal, flushed) in opened.flushed {
                let switched = progress.switched.entry(wal).or_insert(flushed);
                *switched = flushed.min(*switched);
            }
            for (slot, flushes) in opened.flushes {
                let touched = progress.touched.entry(slot).or_insert(Touched { flushes: 0, since: now });
                touched.flushes += flushes;
            }
        }
    }

    /// Tells readers of everything that was chained since.
    pub(super) async fn follow(&self, progress: &mut Progress) -> Result<(), FlushFault> {
        self.take_opened(progress);
        let behind: Vec<(WalId, WalPosition, Vec<ChainEntry>)> = self.cell.with(|cell| {
            let followed = progress.switched.iter().filter_map(|(wal, switched)| {
                let view = cell.wals.get(wal).filter(|view| view.flushed > *switched)?;
                let entries = view.chain.iter().filter(|entry| entry.end > *switched).cloned().collect();
                Some((*wal, view.flushed, entries))
            });
            followed.collect()
        });
        for (wal, flushed, entries) in behind {
            for entry in entries {
                let index = self.objects.cache.index(&entry.object).await?;
                self.switch_places(progress, &entry.object, &index);
                self.objects.copy_states(&entry.object, &index).await?;
            }
            progress.switched.insert(wal, flushed);
            if wal == progress.own.wal {
                progress.own.flushed = flushed.max(progress.own.flushed);
            }
            self.trim_chunks(wal).await?;
        }
        Ok(())
    }

    /// Readers find the runs in the object from now on.
    pub(super) fn switch_places(&self, progress: &mut Progress, object: &ObjectName, index: &FlushIndex) {
        let name: Arc<str> = object.as_str().into();
        for run in &index.runs {
            if let Some(partition) = self.slots.known(&run.partition) {
                partition.log().flushed(Run::in_flush(&name, run));
            }
        }
        let now = self.clock.monotonic();
        for slot in slots_in(index).into_iter().filter(|slot| self.slots.slot(*slot).is_some()) {
            let touched = progress.touched.entry(slot).or_insert(Touched { flushes: 0, since: now });
            touched.flushes += 1;
        }
    }

    /// Where the spans of the slots here end, by WAL.
    fn inherited(&self) -> BTreeMap<WalId, WalPosition> {
        let own = self.sequencer.wal();
        let mut ends: BTreeMap<WalId, WalPosition> = BTreeMap::new();
        self.cell.with(|cell| {
            for view in cell.slots.values().filter(|view| view.record.owner == own) {
                for span in view.record.spans.iter().filter(|span| span.wal != own) {
                    let end = ends.entry(span.wal).or_default();
                    *end = span.to.max(*end);
                }
            }
        });
        ends
    }

    /// The WALs of others that this node is to flush: sealed ones of which it holds a copy and is the first live holder, and,
    /// after a while, what slots here have inherited. Anybody may flush what is committed; the compare-and-swap decides.
    pub(super) async fn on_duty(&self, progress: &mut Progress) -> Result<Vec<Left>, FlushFault> {
        let now = self.clock.monotonic();
        let mut waiting: BTreeMap<WalId, (Left, bool)> = BTreeMap::new();
        for (wal, to) in self.inherited() {
            let flushed = self.cell.with(|cell| cell.wals.get(&wal).map(|view| view.flushed));
            if let Some(flushed) = flushed.filter(|flushed| *flushed < to) {
                waiting.insert(wal, (Left { wal, flushed, end: to }, false));
            }
        }
        self.cell.with(|cell| {
            for (wal, view) in &cell.wals {
                let Some(end) = view.sealed_end().filter(|end| view.flushed < *end) else { continue };
                let left = Left { wal: *wal, flushed: view.flushed, end };
                waiting.insert(*wal, (left, self.comes_first(cell, view)));
            }
        });
        progress.waiting.retain(|wal, _| waiting.contains_key(wal));
        let mut on_duty = Vec::new();
        for (left, comes_first) in waiting.into_values() {
            let since = *progress.waiting.entry(left.wal).or_insert(now);
            let due = comes_first || now.saturating_sub(since) >= HEIR_PATIENCE;
            if due && self.holds_copy(left).await? {
                on_duty.push(left);
            }
        }
        on_duty.sort_unstable_by_key(|left| (left.wal.incarnation, left.wal.node));
        Ok(on_duty)
    }

    fn comes_first(&self, cell: &CellView, view: &WalView) -> bool {
        let own = self.node();
        let mut holders = view.holders().iter().map(|(node, _)| *node);
        holders.find(|node| *node == own || cell.is_live(*node)) == Some(own)
    }

    /// Whether everything unflushed of the WAL lies on this disk.
    async fn holds_copy(&self, left: Left) -> Result<bool, FlushFault> {
        let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        let listed = spawn::blocking(move || list_chunks(&*disk, &dir, left.wal)).await;
        let chunks = listed.ok_or(FlushFault::Interrupted)??;
        Ok(chunks.first().is_some_and(|chunk| chunk.start <= left.flushed))
    }
}
