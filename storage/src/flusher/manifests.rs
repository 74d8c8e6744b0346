//! Manifests: fold, put, and one compare-and-swap of the slot key (`storage/PROTOCOL.md` §6.3).

use std::time::Duration;

use headgate_log::manifest::{Manifest, load_state};
use headgate_log::object::{manifest_name, state_name};
use headgate_metadata::id::SlotId;
use headgate_metadata::keys;
use headgate_metadata::record::{Applied, Record, SlotRecord, Span};
use headgate_metadata::store::{Compare, MetadataError, Outcome, Transaction, Write};
use tracing::info;

use super::{FlushFault, Flusher, Progress};
use crate::chain::{CellView, SlotView};
use crate::objects::holds;
use crate::planted::{Bug, is_planted};
use crate::producer_state::PRODUCER_EXPIRY_MS;

/// How often a manifest is folded anew when its slot key changes under it.
const ATTEMPTS_MAX: usize = 5;
/// A slot with this many spans gets a manifest early: replay visits every one of them, and each keeps a WAL alive.
const SPANS_MAX: usize = 8;

impl Flusher {
    /// The first slot whose manifest is due.
    pub(super) fn manifest_due(&self, progress: &Progress, now: Duration) -> Option<SlotId> {
        let due = progress.touched.iter().find(|(slot, touched)| {
            // Staggered by slot, so that slots that began together do not write together.
            let share = 0.75 + f64::from(slot.get() % 64) / 128.0;
            let flushes = (f64::from(self.manifest_flushes_max) * share).ceil() as u32;
            touched.flushes >= flushes
                || now.saturating_sub(touched.since) >= self.manifest_age.mul_f64(share)
        });
        due.map(|(slot, _)| *slot)
    }

    /// Writes the manifests of all slots with flushes above theirs, then tidies.
    pub(crate) async fn write_manifests_now(&self) -> Result<(), FlushFault> {
        let mut progress = self.progress.lock().await;
        self.follow(&mut progress).await?;
        while let Some(slot) = progress.touched.keys().next().copied() {
            self.write_manifest(&mut progress, slot).await?;
        }
        self.tidy(&mut progress).await
    }

    /// Writes one slot's manifest. If the key changed meanwhile: still owner = fold again, else stop.
    pub(super) async fn write_manifest(
        &self,
        progress: &mut Progress,
        slot: SlotId,
    ) -> Result<(), FlushFault> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(cell) = self.owned(progress, slot).await? else { return Ok(()) };
            let view = &cell.slots[&slot];
            let manifest = self.objects.fold_slot(slot, view, &cell).await?.manifest;
            if manifest.applied.is_none_or(|applied| view.record.applied == Some(applied)) {
                progress.touched.remove(&slot);
                return Ok(());
            }
            if self.commit_manifest(progress, &cell, manifest).await? {
                return Ok(());
            }
        }
        Err(MetadataError::Contended { key: keys::slot(slot) }.into())
    }

    /// The cell as it is now, with the slot in it, if this node owns it. What the slot's readers do not know of is told to them: a
    /// manifest that takes it in lets its chain entries go.
    pub(super) async fn owned(
        &self,
        progress: &mut Progress,
        slot: SlotId,
    ) -> Result<Option<CellView>, FlushFault> {
        let cell = CellView::read(&*self.store).await?;
        // What the manifest takes in must be known to readers here: its chain entries may go at once.
        self.cell.learn(&cell);
        // Looked at first: the readers of a slot that is opened from now on may not know of everything.
        let is_open = self.slots.slot(slot).is_some();
        self.follow(progress).await?;
        let owned = |view: &SlotView| is_open && view.record.owner == self.sequencer.wal();
        if cell.slots.get(&slot).is_some_and(owned) {
            return Ok(Some(cell));
        }
        // It has another owner now, who writes its manifests.
        progress.touched.remove(&slot);
        Ok(None)
    }

    /// Puts a manifest that was folded from `cell`, and commits it if the slot's key is still what it was there; `false` = it is not.
    pub(super) async fn commit_manifest(
        &self,
        progress: &mut Progress,
        cell: &CellView,
        manifest: Manifest,
    ) -> Result<bool, FlushFault> {
        let (slot, Some(applied)) = (manifest.slot, manifest.applied) else { return Ok(false) };
        let view = &cell.slots[&slot];
        let name = self.put_manifest(view, manifest).await?;
        let spans = self.spans_left(slot, &view.record.spans, Some(applied), cell).await?;
        let record =
            SlotRecord { manifest: Some(name), applied: Some(applied), spans, ..view.record.clone() };
        let key = keys::slot(slot);
        let compare = if is_planted(Bug::ManifestWithoutSlotKey) {
            Compare::Present(key.clone())
        } else {
            Compare::Unchanged(key.clone(), view.modified)
        };
        let transaction = Transaction::new().when(compare).then(Write::Put(key, record.encode()));
        match self.store.commit(transaction).await {
            Ok(Outcome::Committed(_)) => {
                progress.touched.remove(&slot);
                self.metrics.observe_manifest_committed();
                info!(%slot, epoch = %applied.epoch, position = %applied.position, "manifest committed");
                Ok(true)
            }
            // The key tells; folding again from what it says is right after either.
            Ok(Outcome::Refused(_)) | Err(MetadataError::OutcomeUnknown { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the manifest and the objects it names first. Returns its name.
    async fn put_manifest(&self, view: &SlotView, mut manifest: Manifest) -> Result<String, FlushFault> {
        let (slot, epoch) = (manifest.slot, view.record.epoch);
        manifest.expire_producers(manifest.slot_time, Duration::from_millis(PRODUCER_EXPIRY_MS));
        for (name, content) in manifest.spill_lists(epoch, || self.random.bits()) {
            self.objects.store.put(&name, vec![content]).await?;
        }
        if manifest.state_rewrite_due() {
            let base = load_state(&self.objects.store, &manifest).await?;
            let name = state_name(slot, epoch, self.random.bits());
            let content = manifest.replace_state(base, name.clone());
            self.objects.store.put(&name, vec![content]).await?;
        }
        let name = manifest_name(slot, epoch, self.random.bits());
        let content = manifest.encode();
        self.objects.store.put(&name, vec![content.clone()]).await?;
        // Seen in the store itself, not in a copy: what is committed next makes older objects garbage.
        let back = self.objects.store.get_range(&name, 0..content.len() as u64).await?;
        if back != content {
            return Err(FlushFault::ReadBack { object: name });
        }
        Ok(name.into())
    }

    /// The spans that are not fully applied: `applied` has not passed them, and not everything of the slot up to their end
    /// is flushed and applied.
    pub(super) async fn spans_left(
        &self,
        slot: SlotId,
        spans: &[Span],
        applied: Option<Applied>,
        cell: &CellView,
    ) -> Result<Vec<Span>, FlushFault> {
        let mut left = Vec::new();
        for span in spans {
            if applied.is_some_and(|applied| applied >= Applied { epoch: span.epoch, position: span.to }) {
                continue;
            }
            let is_flushed = cell.wals.get(&span.wal).is_some_and(|wal| wal.flushed >= span.to);
            if is_planted(Bug::SpanDroppedBeforeApplied) && is_flushed {
                continue;
            }
            if self.anything_left(slot, span, applied, cell).await? {
                left.push(*span);
            }
        }
        Ok(left)
    }

    async fn anything_left(
        &self,
        slot: SlotId,
        span: &Span,
        applied: Option<Applied>,
        cell: &CellView,
    ) -> Result<bool, FlushFault> {
        // A WAL that is not there says nothing; only what is known to be flushed lets a span go.
        let Some(wal) = cell.wals.get(&span.wal).filter(|wal| wal.flushed >= span.to) else {
            return Ok(true);
        };
        for entry in &wal.chain {
            let is_applied =
                applied.is_some_and(|applied| applied >= Applied { epoch: span.epoch, position: entry.end });
            if !is_applied && holds(&*self.objects.cache.index(&entry.object).await?, slot, span.epoch) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Slots whose spans have become many.
    pub(super) fn with_many_spans(cell: &CellView) -> Vec<SlotId> {
        let many = cell.slots.iter().filter(|(_, view)| view.record.spans.len() > SPANS_MAX);
        many.map(|(slot, _)| *slot).collect()
    }
}
