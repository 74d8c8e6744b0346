//! Compaction: of each key the newest record stays (`cleanup.policy=compact`, `storage/PROTOCOL.md` §8).
//!
//! ```text
//! runs of a partition:  c c c │ d d d d      c = compacted before, d = not yet; c always lie below d
//!                             └─ mapping ─►   the newest offset of each key in d            (latest.rs)
//!                       └─── rewriting ───►   all runs without what is superseded           (rewrite.rs)
//! ```
//! A pass goes in stages, each with one object and one manifest, so that flushing goes on in between. A stage may be cut off at any
//! moment: what counts is the manifest that names its object. A pass that is cut off begins anew.
//!
//! Invariants: the newest record of a key stays; offsets never move; the last record of a partition's objects stays; a run that is
//! dirty is rewritten after all runs below it.

mod latest;
mod rewrite;

use std::sync::Arc;

use bytes::Bytes;
use headgate_log::batch_frame::checksum_holds;
use headgate_log::manifest::RunRef;
use headgate_log::object::{CompactedBatch, CompactedRun};
use headgate_metadata::id::{Offset, TimestampMs};

use self::latest::LatestOffsets;
use self::rewrite::{Rewritten, Rules};
use crate::decode::StoredBatch;
use crate::partition::{Partition, Run};

/// How much a stage reads. Higher: fewer, larger objects. Lower: flushing waits less, and less memory is used.
pub(crate) const STAGE_BYTES: u64 = 32 << 20;

/// A pass over a partition.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) partition: Arc<Partition>,
    latest: LatestOffsets,
    stage: Stage,
}

/// Where a pass stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Keys are taken in from here on.
    Mapping { next: Offset },
    /// Runs from `next` on, up to `end`, are rewritten.
    Rewriting { next: Offset, end: Offset },
}

/// Bytes that are not what a run's index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run with a batch that is cut or has a wrong checksum")]
pub struct BrokenRun;

impl Pass {
    pub(crate) fn new(partition: Arc<Partition>, seed: u64) -> Self {
        Self { partition, latest: LatestOffsets::new(seed), stage: Stage::Mapping { next: Offset::new(0) } }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// The runs that are mapped next, as many as a stage reads.
    pub(crate) fn to_map(&self, next: Offset) -> Vec<Run> {
        let log = self.partition.log();
        let dirty = log.runs().iter().filter(|run| !run.compacted && run.first >= next);
        take_stage(dirty, |run| run.bytes).into_iter().cloned().collect()
    }

    /// Takes in the keys of a run. One whose keys do not all find room is not rewritten: a tombstone of it must not begin its day
    /// while what it deletes is not known. Blocks for as long as decompression takes.
    pub(crate) fn map(&mut self, next: Offset, bytes: Bytes) -> Result<(), BrokenRun> {
        for batch in batches(bytes)? {
            if !self.latest.take(&batch) {
                return Ok(());
            }
        }
        self.stage = Stage::Mapping { next };
        Ok(())
    }

    /// All dirty runs are mapped, or as many as fit; `false` = there is nothing to rewrite.
    pub(crate) fn mapped(&mut self) -> bool {
        let Stage::Mapping { next: end } = self.stage else { return true };
        self.stage = Stage::Rewriting { next: Offset::new(0), end };
        end > Offset::new(0)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.latest.is_full()
    }

    /// The stage that ended here is committed, or changed nothing; `false` = the pass is over.
    pub(crate) fn rewritten(&mut self, next: Offset) -> bool {
        if let Stage::Rewriting { next: at, .. } = &mut self.stage {
            *at = next;
        }
        matches!(self.stage, Stage::Rewriting { next, end } if next < end)
    }
}

/// As many of the first items as a stage reads; at least one, if there is one.
fn take_stage<T>(items: impl Iterator<Item = T>, bytes: impl Fn(&T) -> u64) -> Vec<T> {
    let (mut taken, mut sum) = (Vec::new(), 0);
    for item in items {
        sum += bytes(&item);
        taken.push(item);
        if sum >= STAGE_BYTES {
            break;
        }
    }
    taken
}

/// Runs that are rewritten together, and what is left of them.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    runs: Vec<CompactedRun>,
    /// Runs at the front of which nothing is left: the next one that holds something stands for them too.
    empty_from: Option<Offset>,
    bytes_read: u64,
    is_changed: bool,
    next: Offset,
}

impl Rewrite {
    /// Adds a run. Blocks for as long as its codecs take.
    pub(crate) fn take(
        &mut self,
        pass: &Pass,
        end: Offset,
        run: &RunRef,
        bytes: Bytes,
        now: TimestampMs,
    ) -> Result<(), BrokenRun> {
        self.bytes_read += run.bytes();
        self.is_changed |= !run.object.is_compacted();
        self.next = run.next_offset;
        let last = Offset::new(end.get().saturating_sub(1));
        let was_compacted = run.object.is_compacted();
        let rules = Rules { latest: &pass.latest, last, now_ms: now.get() as i64, was_compacted };
        let mut left = Vec::new();
        for batch in batches(bytes)? {
            let rewritten = rules.rewrite(&batch);
            self.is_changed |= rewritten != Rewritten::Kept;
            let batch = match rewritten {
                Rewritten::Kept => batch,
                Rewritten::Changed(changed) => changed,
                Rewritten::Gone => continue,
            };
            left.push(CompactedBatch {
                base_offset: batch.base_offset(),
                max_timestamp: batch.max_timestamp(),
                bytes: batch.into_bytes(),
            });
        }
        self.add(run, left);
        Ok(())
    }

    fn add(&mut self, run: &RunRef, left: Vec<CompactedBatch>) {
        match self.runs.last_mut() {
            // Nothing is left, so it does not matter under which epoch it was appended.
            Some(before) if left.is_empty() || before.slot_epoch == run.slot_epoch => {
                before.batches.extend(left);
                before.next_offset = run.next_offset;
                before.max_slot_time = before.max_slot_time.max(run.max_slot_time);
            }
            None if left.is_empty() => {
                self.empty_from.get_or_insert(run.base_offset);
            }
            _ => self.runs.push(CompactedRun {
                slot_epoch: run.slot_epoch,
                base_offset: self.empty_from.take().unwrap_or(run.base_offset),
                next_offset: run.next_offset,
                max_slot_time: run.max_slot_time,
                batches: left,
            }),
        }
    }

    /// Whether the stage has read enough, and something is left to stand for what it read.
    pub(crate) fn is_enough(&self) -> bool {
        self.bytes_read >= STAGE_BYTES && !self.runs.is_empty()
    }

    /// The offset after the last run.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }

    /// What replaces the runs; `None` = they stay as they are.
    pub(crate) fn finish(self) -> Option<Vec<CompactedRun>> {
        (self.is_changed && !self.runs.is_empty()).then_some(self.runs)
    }
}

/// The batches of a whole run, each checked.
fn batches(mut bytes: Bytes) -> Result<Vec<StoredBatch>, BrokenRun> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let batch = StoredBatch::split_from(&mut bytes).ok_or(BrokenRun)?;
        if !checksum_holds(batch.bytes(), &[]) {
            return Err(BrokenRun);
        }
        batches.push(batch);
    }
    Ok(batches)
}
