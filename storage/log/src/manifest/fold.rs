//! The fold: a previous manifest and flush indexes in, the next manifest out (`storage/PROTOCOL.md` §6.3).
//!
//! Pure, and the same in one go as in steps. Invariants: runs of a partition follow each other without gap or overlap;
//! `applied` only grows and is always the end of a flush object; a counter is what the last mark says plus the runs
//! after it; dropping a run changes no counter.

use std::collections::BTreeSet;

use headgate_metadata::id::{ByteCount, Offset, PartitionKey, SlotId, WalPosition};
use headgate_metadata::record::{Applied, Span};

use crate::codec::FormatError;
use crate::manifest::{Manifest, PartitionManifest, RunRef, producer};
use crate::object::{FlushIndex, FlushRun, ObjectName, StateEntry};
use crate::state_record::{
    LOG_START, LogStart, REMOVED, Removed, SENT_BYTES, SentBytes, USAGE_MARK, UsageMark,
};

/// One flush object as one slot sees it.
#[derive(Debug, Clone, Copy)]
pub struct FoldInput<'a> {
    /// The span of the slot that the object belongs to; records of other epochs in it are not looked at.
    pub span: Span,
    /// The object's name.
    pub object: &'a ObjectName,
    /// Its index.
    pub index: &'a FlushIndex,
    /// The entries of its state run of this slot and epoch, in WAL order; empty if it has none.
    pub states: &'a [StateEntry],
}

/// Why the inputs do not make a manifest. Nothing is committed; all variants are corruption or a bug, never a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An input does not lie above what is applied, or not in the order of epochs and positions.
    #[error("flush object at epoch {} position {} offered above {applied:?}", at.epoch, at.position)]
    OutOfOrder {
        /// Where the fold stands.
        applied: Option<Applied>,
        /// What was offered: its epoch and its end.
        at: Applied,
    },
    /// An index belongs to another WAL than its span.
    #[error("flush object `{object}` is not of the span's WAL")]
    ForeignWal {
        /// The object.
        object: ObjectName,
    },
    /// A partition's offsets do not follow: corruption, not a skip (`storage/PROTOCOL.md` §7).
    #[error("partition {partition} goes on at offset {found} in `{object}`, {expected} was expected")]
    OffsetGap {
        /// The partition.
        partition: PartitionKey,
        /// The object.
        object: ObjectName,
        /// The offset after what is folded.
        expected: Offset,
        /// The run's first offset.
        found: Offset,
    },
    /// A state record of a kind the fold understands does not decode.
    #[error("state record at position {position}: {error}")]
    State {
        /// Its position.
        position: WalPosition,
        /// Why.
        error: FormatError,
    },
    /// The previous manifest is of another slot.
    #[error("a manifest of slot {found} was offered for slot {slot}")]
    ForeignSlot {
        /// The slot that is folded.
        slot: SlotId,
        /// The manifest's slot.
        found: SlotId,
    },
}

/// Folds flush objects, given in log order (epochs ascending, positions ascending within), onto a previous manifest.
/// Pure; folding in one go or in steps gives the same.
pub fn fold(
    slot: SlotId,
    previous: Option<Manifest>,
    inputs: &[FoldInput<'_>],
) -> Result<Manifest, FoldError> {
    let mut manifest = previous.unwrap_or_else(|| Manifest::empty(slot));
    if manifest.slot != slot {
        return Err(FoldError::ForeignSlot { slot, found: manifest.slot });
    }
    for input in inputs {
        fold_one(&mut manifest, input)?;
    }
    Ok(manifest)
}

fn fold_one(manifest: &mut Manifest, input: &FoldInput<'_>) -> Result<(), FoldError> {
    let index = input.index;
    let at = Applied { epoch: input.span.epoch, position: index.end };
    if index.wal != input.span.wal {
        return Err(FoldError::ForeignWal { object: input.object.clone() });
    }
    if let Some(applied) = manifest.applied {
        let overlaps = applied.epoch == at.epoch && index.start < applied.position;
        if at <= applied || overlaps {
            return Err(FoldError::OutOfOrder { applied: Some(applied), at });
        }
    }
    for event in events(manifest.slot, input) {
        match event {
            Event::Run(run) => add_run(manifest, input.object, run)?,
            Event::State(entry) => set_state(manifest, entry)
                .map_err(|error| FoldError::State { position: entry.position, error })?,
        }
    }
    for run in &index.state_runs {
        if run.slot == manifest.slot && run.slot_epoch == input.span.epoch {
            manifest.slot_time = manifest.slot_time.max(run.max_slot_time);
        }
    }
    manifest.applied = Some(at);
    Ok(())
}

enum Event<'a> {
    Run(&'a FlushRun),
    State(&'a StateEntry),
}

/// What the object holds of the slot and epoch, in WAL order. A run counts at its last position: it was cut wherever a
/// state record sets what the run adds to.
fn events<'a>(slot: SlotId, input: &FoldInput<'a>) -> Vec<Event<'a>> {
    let own = |run: &&FlushRun| run.slot == slot && run.slot_epoch == input.span.epoch;
    let runs = input.index.runs.iter().filter(own).map(|run| (run.last_position, Event::Run(run)));
    let states = input.states.iter().map(|entry| (entry.position, Event::State(entry)));
    let mut events: Vec<(WalPosition, Event<'a>)> = runs.chain(states).collect();
    events.sort_by_key(|(position, _)| *position);
    events.into_iter().map(|(_, event)| event).collect()
}

fn add_run(manifest: &mut Manifest, object: &ObjectName, run: &FlushRun) -> Result<(), FoldError> {
    manifest.slot_time = manifest.slot_time.max(run.max_slot_time);
    let partition = manifest.partitions.entry(run.partition).or_default();
    if run.base_offset != partition.next_offset {
        return Err(FoldError::OffsetGap {
            partition: run.partition,
            object: object.clone(),
            expected: partition.next_offset,
            found: run.base_offset,
        });
    }
    partition.next_offset = run.next_offset;
    if partition.epoch_starts.last().is_none_or(|(epoch, _)| *epoch < run.slot_epoch) {
        partition.epoch_starts.push((run.slot_epoch, run.base_offset));
    }
    count_run(partition, run);
    producer::fold_run(partition, run);
    partition.runs.push(RunRef::of(object, run));
    Ok(())
}

fn count_run(partition: &mut PartitionManifest, run: &FlushRun) {
    let counters = &mut partition.counters;
    let bytes = run.billable_bytes.get();
    counters.bytes_in = ByteCount::new(counters.bytes_in.get() + bytes);
    let mut stored = counters.stored.grown(bytes, run.max_slot_time);
    stored.byte_ms = stored.byte_ms.saturating_add(run.stored_byte_ms);
    counters.stored = stored;
}

fn set_state(manifest: &mut Manifest, entry: &StateEntry) -> Result<(), FormatError> {
    manifest.slot_time = manifest.slot_time.max(entry.slot_time);
    if let Some(value) = &entry.value {
        interpret(manifest, entry, value)?;
    }
    if entry.value.is_none() && manifest.state_object.is_none() {
        // Nothing lies below the delta that a tombstone would have to hide.
        manifest.state_delta.remove(&entry.key);
    } else {
        manifest.state_delta.insert(entry.key.clone(), entry.value.clone());
    }
    Ok(())
}

/// The few kinds that change more than their own key.
fn interpret(manifest: &mut Manifest, entry: &StateEntry, value: &[u8]) -> Result<(), FormatError> {
    let (cluster, key) = (entry.key.cluster, &entry.key.key);
    match entry.key.kind {
        USAGE_MARK => {
            let mark = UsageMark::decode(cluster, key, value)?;
            manifest.partitions.entry(mark.partition).or_default().counters = mark.counters;
        }
        SENT_BYTES => {
            let sent = SentBytes::decode(cluster, key, value)?;
            manifest.partitions.entry(sent.partition).or_default().counters.bytes_out = sent.bytes_out;
        }
        LOG_START => move_log_start(manifest, &LogStart::decode(cluster, key, value)?),
        REMOVED => remove(manifest, &Removed::decode(cluster, key, value)?),
        _ => {}
    }
    Ok(())
}

fn move_log_start(manifest: &mut Manifest, moved: &LogStart) {
    let partition = manifest.partitions.entry(moved.partition).or_default();
    if moved.offset < partition.log_start {
        return;
    }
    partition.log_start = moved.offset;
    partition.counters.stored = moved.stored;
    let kept = partition.runs.partition_point(|run| run.next_offset <= moved.offset);
    let dropped: Vec<RunRef> = partition.runs.drain(..kept).collect();
    manifest.garbage.extend(compacted_of(dropped, &partition.runs));
    partition.aborted.retain(|aborted| aborted.marker_offset >= moved.offset);
    // An epoch is needed as long as one of its offsets is readable.
    let superseded =
        partition.epoch_starts.iter().skip(1).take_while(|(_, start)| *start <= moved.offset).count();
    partition.epoch_starts.drain(..superseded);
    let (kept, gone) = std::mem::take(&mut partition.lists)
        .into_iter()
        .partition::<Vec<_>, _>(|list| list.next_offset > moved.offset);
    partition.lists = kept;
    manifest.garbage.extend(gone.into_iter().map(|list| list.object));
}

fn remove(manifest: &mut Manifest, removed: &Removed) {
    for (key, partition) in &mut manifest.partitions {
        if !removed.covers(key) || partition.removed {
            continue;
        }
        partition.removed = true;
        partition.log_start = partition.next_offset;
        partition.counters.stored = partition.counters.stored.changed(ByteCount::new(0), removed.at);
        manifest.garbage.extend(compacted_of(std::mem::take(&mut partition.runs), &[]));
        partition.epoch_starts.clear();
        partition.producers.clear();
        partition.aborted.clear();
        manifest.garbage.extend(std::mem::take(&mut partition.lists).into_iter().map(|list| list.object));
    }
}

/// The compacted objects that these runs lay in and no other run of the partition does: unlike a flush object, one holds runs of
/// one partition only.
pub(super) fn compacted_of(dropped: Vec<RunRef>, left: &[RunRef]) -> BTreeSet<ObjectName> {
    let objects = dropped.into_iter().map(|run| run.object);
    let unnamed = |object: &ObjectName| left.iter().all(|run| run.object != *object);
    objects.filter(|object| object.is_compacted() && unnamed(object)).collect()
}
