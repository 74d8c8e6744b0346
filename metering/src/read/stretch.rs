//! Stretches of WALs as the fold takes them: flush objects, and what is not flushed yet.
//!
//! Memory: one chunk of a WAL at a time, of which only what counts for a bill is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headgate_log::disk::Disk;
use headgate_log::manifest::FoldInput;
use headgate_log::object::{FlushIndex, ObjectError, ObjectName, ObjectReader, StateEntry, build_flush};
use headgate_log::state_record::{LOG_START, REMOVED, SENT_BYTES, USAGE_MARK};
use headgate_log::store::Store;
use headgate_log::wal::WalScan;
use headgate_metadata::id::{SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::record::{SlotRecord, Span};

use super::cell::{Cell, lies_above};
use super::error::ReadUsageError;

/// The state records that change counters, or are marks.
const COUNTING_KINDS: [u8; 4] = [USAGE_MARK, LOG_START, REMOVED, SENT_BYTES];

/// A stretch of a WAL.
pub(super) struct Stretch {
    object: ObjectName,
    index: FlushIndex,
    states: BTreeMap<(SlotId, SlotEpoch), Vec<StateEntry>>,
}

impl Stretch {
    /// What the fold of a slot takes of it; `None` if it holds nothing of the slot in this span, or nothing new.
    pub(super) fn input(&self, id: SlotId, slot: &SlotRecord, span: Span) -> Option<FoldInput<'_>> {
        let Self { object, index, states } = self;
        let own = |(slot, epoch)| slot == id && epoch == span.epoch;
        let holds = index.runs.iter().any(|run| own((run.slot, run.slot_epoch)))
            || index.state_runs.iter().any(|run| own((run.slot, run.slot_epoch)));
        if !holds || !lies_above(slot, &span, index.start, index.end) {
            return None;
        }
        let states = states.get(&(id, span.epoch)).map(Vec::as_slice).unwrap_or_default();
        Some(FoldInput { span, object, index, states })
    }

    /// Keeps what counts for a bill.
    fn new(
        object: ObjectName,
        mut index: FlushIndex,
        mut states: BTreeMap<(SlotId, SlotEpoch), Vec<StateEntry>>,
    ) -> Self {
        for run in &mut index.runs {
            (run.sparse, run.producers, run.aborted) = (Vec::new(), Vec::new(), Vec::new());
        }
        for entries in states.values_mut() {
            entries.retain(|entry| COUNTING_KINDS.contains(&entry.key.kind));
            entries.shrink_to_fit();
        }
        Self { object, index, states }
    }
}

/// Everything of a WAL that some slot's manifest does not contain, by position. Two or more requests for each flush object;
/// reads the unflushed rest whole, verifying every checksum, and blocks meanwhile.
pub(super) async fn read(
    cell: &Cell,
    wal: WalId,
    objects: &Store,
    disk: &Arc<dyn Disk>,
    root: &Path,
) -> Result<Vec<Stretch>, ReadUsageError> {
    let mut stretches = Vec::new();
    for link in cell.links_wanted(wal) {
        stretches.push(of_object(objects, &link.object).await?);
    }
    read_unflushed(cell, wal, disk, root, &mut stretches)?;
    Ok(stretches)
}

async fn of_object(objects: &Store, name: &ObjectName) -> Result<Stretch, ObjectError> {
    let reader = ObjectReader::new(objects.clone(), name.clone());
    let index = reader.index().await?;
    let mut states = BTreeMap::new();
    for run in &index.state_runs {
        states.insert((run.slot, run.slot_epoch), reader.state_run(run).await?);
    }
    Ok(Stretch::new(name.clone(), index, states))
}

/// Reads what lies between the last flush and the end: the recorded one or, where none is recorded yet, the one that the
/// next start would find and record. A torn end is left where it is and not looked at.
fn read_unflushed(
    cell: &Cell,
    wal: WalId,
    disk: &Arc<dyn Disk>,
    root: &Path,
    stretches: &mut Vec<Stretch>,
) -> Result<(), ReadUsageError> {
    let flushed = cell.flushed(wal);
    let scan = WalScan::open(Arc::clone(disk), root, wal, cell.sealed_end(wal))?;
    let end = scan.end();
    if end < flushed {
        return Err(ReadUsageError::WalShort { wal, found: end, expected: flushed });
    }
    if flushed < end && scan.start() > flushed {
        return Err(ReadUsageError::WalShort { wal, found: flushed, expected: scan.start() });
    }
    for chunk in scan.chunks() {
        let (from, to) = (chunk.start.max(flushed), chunk.end.unwrap_or(end).min(end));
        if from < to {
            stretches.push(of_bytes(disk, root, wal, from, to)?);
        }
    }
    Ok(())
}

/// Chunks begin and end between write groups, and so do flushes and the log itself.
fn of_bytes(
    disk: &Arc<dyn Disk>,
    root: &Path,
    wal: WalId,
    from: WalPosition,
    to: WalPosition,
) -> Result<Stretch, ReadUsageError> {
    // Nothing is stored under the name, so it needs no random part.
    let flush = build_flush(disk, root, wal, from, to, 0)?;
    Ok(Stretch::new(flush.name, flush.index, flush.states))
}
