//! Compaction as the flusher does it: one stage of a pass at a time, when nothing is to be flushed (`storage/PROTOCOL.md` §8).
//!
//! A stage reads runs, puts one object, and commits a manifest that names it in their place. Nobody but the owner's readers must be
//! told: whoever opens the slot later begins with that manifest. So no record of the log tells of it, and the fold stays a fold.

use std::sync::Arc;

use headgate_log::manifest::{RunRef, load_list};
use headgate_log::object::{ObjectReader, build_compacted, compacted_name};
use headgate_metadata::id::Offset;
use tracing::{info, warn};

use super::{FlushFault, Flusher, Progress};
use crate::compaction::{Pass, Rewrite, Stage};
use crate::partition::{Partition, Run};
use crate::spawn;

impl Flusher {
    /// Makes the next stage; `false` = nothing is due. A pass that fails begins anew, after other partitions have had their turn.
    pub(super) async fn compact(&self, progress: &mut Progress) -> bool {
        let Some(pass) = progress.pass.take().or_else(|| self.next_pass(progress)) else { return false };
        let key = pass.partition.address.key;
        match self.stage(progress, pass).await {
            Ok(pass) => progress.pass = pass,
            Err(fault) => {
                self.metrics.observe_flush_failed();
                warn!(partition = %key, %fault, "compaction pass given up, it begins anew later");
            }
        }
        true
    }

    /// Compacts everything that is due when it is called.
    pub(crate) async fn compact_now(&self) -> Result<(), FlushFault> {
        let mut progress = self.progress.lock().await;
        self.follow(&mut progress).await?;
        for partition in self.slots.partitions() {
            let mut pass = is_due(&partition).then(|| Pass::new(partition, self.random.bits()));
            while let Some(begun) = pass.take() {
                pass = self.stage(&mut progress, begun).await?;
            }
        }
        Ok(())
    }

    /// A pass over the partition whose turn it is, in the order of their keys.
    fn next_pass(&self, progress: &mut Progress) -> Option<Pass> {
        let due: Vec<Arc<Partition>> = self.slots.partitions().into_iter().filter(is_due).collect();
        let after = progress.compacted.map_or(0, |last| {
            due.partition_point(|partition| partition.address.key <= last) % due.len().max(1)
        });
        let partition = Arc::clone(due.get(after)?);
        progress.compacted = Some(partition.address.key);
        Some(Pass::new(partition, self.random.bits()))
    }

    async fn stage(&self, progress: &mut Progress, pass: Pass) -> Result<Option<Pass>, FlushFault> {
        match pass.stage() {
            Stage::Mapping { next } => self.map(pass, next).await,
            Stage::Rewriting { next, end } => self.rewrite(progress, pass, next, end).await,
        }
    }

    async fn map(&self, mut pass: Pass, next: Offset) -> Result<Option<Pass>, FlushFault> {
        let runs = pass.to_map(next);
        let is_all = runs.is_empty();
        for run in runs {
            let bytes = self.read(&run).await?;
            pass = spawn::blocking(move || pass.map(run.next, bytes).map(|()| pass))
                .await
                .ok_or(FlushFault::Interrupted)??;
            if pass.is_full() {
                break;
            }
        }
        let goes_on = !(is_all || pass.is_full()) || pass.mapped();
        Ok(goes_on.then_some(pass))
    }

    async fn rewrite(
        &self,
        progress: &mut Progress,
        mut pass: Pass,
        next: Offset,
        end: Offset,
    ) -> Result<Option<Pass>, FlushFault> {
        let (slot, key) = (pass.partition.address.slot, pass.partition.address.key);
        let Some(cell) = self.owned(progress, slot).await? else { return Ok(None) };
        let view = &cell.slots[&slot];
        let mut manifest = self.objects.fold_slot(slot, view, &cell).await?.manifest;
        let Some(partition) = manifest.partitions.get(&key).filter(|partition| !partition.removed) else {
            return Ok(None);
        };
        let mut runs: Vec<RunRef> = Vec::new();
        for list in &partition.lists {
            runs.extend(load_list(&self.objects.store, &key, list).await?);
        }
        runs.extend(partition.runs.iter().cloned());
        let mut rewrite = Rewrite::default();
        let now = progress.time.read(&*self.clock).0;
        for run in runs.iter().filter(|run| run.next_offset > next && run.next_offset <= end) {
            let (run, bytes) = (run.clone(), self.read(&Run::of(run)).await?);
            let take = move || rewrite.take(&pass, end, &run, bytes, now).map(|()| (rewrite, pass));
            (rewrite, pass) = spawn::blocking(take).await.ok_or(FlushFault::Interrupted)??;
            if rewrite.is_enough() {
                break;
            }
        }
        let reached = rewrite.next();
        if let Some(compacted) = rewrite.finish() {
            let name = compacted_name(slot, view.record.epoch, self.random.bits());
            let (parts, index) = build_compacted(self.sequencer.wal(), slot, key, compacted);
            self.objects.store.put(&name, parts).await?;
            // Never let go of what it replaces before it was seen in the store itself.
            if ObjectReader::new(self.objects.store.clone(), name.clone()).stored_index().await? != index {
                return Err(FlushFault::ReadBack { object: name });
            }
            let by: Vec<RunRef> = index.runs.iter().map(|run| RunRef::of(&name, run)).collect();
            let replaced: Vec<Run> = by.iter().map(Run::of).collect();
            manifest.replace_runs(&key, runs, by);
            if !self.commit_manifest(progress, &cell, manifest).await? {
                return Ok(None);
            }
            if let Some(partition) = self.slots.known(&key) {
                partition.log().replace_runs(replaced);
            }
            info!(partition = %key, object = %name, %reached, "compacted");
        }
        // Without a run there is nothing left to do: retention took what there was.
        Ok((reached > next && pass.rewritten(reached)).then_some(pass))
    }

    async fn read(&self, run: &Run) -> Result<bytes::Bytes, FlushFault> {
        let object = run.object_name();
        Ok(self.objects.store.get_range(&object, run.at..run.at + run.bytes).await?)
    }
}

fn is_due(partition: &Arc<Partition>) -> bool {
    let topic = &partition.topic;
    topic.compacts() && !topic.removed() && partition.log().compaction_due()
}
