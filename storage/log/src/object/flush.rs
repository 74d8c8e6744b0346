//! Builds a flush object from WAL bytes (`storage/PROTOCOL.md` §6.1): read, verify everything, sort, describe.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::{KeyId, PartitionKey, SlotEpoch, SlotId, WalId, WalPosition};

use crate::batch_frame::UNSUMMED_BYTES;
use crate::checksum::crc32c;
use crate::codec::FormatError;
use crate::disk::{Disk, DiskError};
use crate::object::run_builder::RunBuilder;
use crate::object::{FlushIndex, ObjectName, StateEntry, StateKey, StateRun, flush_name, footer, state_run};
use crate::state_record;
use crate::wal::{
    BatchMeta, Chunk, Corruption, GROUP_HEADER_BYTES, GroupHeader, RecordHeader, RecordKind, WalReadError,
    list_chunks,
};

/// Why no flush object was built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The WAL bytes could not be read, or a checksum is wrong: heal, or refuse and say where (`storage/PROTOCOL.md`
    /// §14).
    #[error(transparent)]
    Wal(#[from] WalReadError),
    /// The end is not the boundary of a write group. A bug of the caller. (A wrong start shows as corruption there.)
    #[error("position {position} of WAL {wal} is not between two write groups")]
    NotABoundary {
        /// The log.
        wal: WalId,
        /// The position.
        position: WalPosition,
    },
}

/// A flush object, ready to be put.
#[derive(Debug, Clone)]
pub struct FlushObject {
    /// Its unique name.
    pub name: ObjectName,
    /// Its bytes in order; slices of the chunks that were read, not copies.
    pub parts: Vec<Bytes>,
    /// Its index, as its index block holds it.
    pub index: FlushIndex,
    /// The entries of its state runs, in WAL order, as [`crate::manifest::fold`] takes them.
    pub states: BTreeMap<(SlotId, SlotEpoch), Vec<StateEntry>>,
}

impl FlushObject {
    /// The object's size.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }
}

/// Reads bytes `[start, end)` of a WAL below `root`, verifies every checksum, and sorts them into a flush object named
/// with `random`. Both positions lie between write groups, and `end` is committed. Holds the bytes in memory once.
/// Blocks.
pub fn build_flush(
    disk: &Arc<dyn Disk>,
    root: &Path,
    wal: WalId,
    start: WalPosition,
    end: WalPosition,
    random: u64,
) -> Result<FlushObject, FlushError> {
    let mut sorter = Sorter::default();
    let mut at = start;
    for chunk in list_chunks(&**disk, root, wal).map_err(WalReadError::from)? {
        let chunk_end = chunk.end.map_or(end, |chunk_end| chunk_end.min(end));
        if chunk_end <= at || chunk.start > at {
            continue;
        }
        let bytes = read_chunk(&**disk, wal, &chunk, at, chunk_end)?;
        at = Stretch { wal, chunk: &chunk, bytes, from: at, to: chunk_end, end }.sort_into(&mut sorter)?;
    }
    if at < end {
        return Err(WalReadError::Trimmed { wal, position: at }.into());
    }
    Ok(sorter.finish(wal, start, end, random))
}

fn read_chunk(
    disk: &dyn Disk,
    wal: WalId,
    chunk: &Chunk,
    from: WalPosition,
    to: WalPosition,
) -> Result<Bytes, WalReadError> {
    let file = match disk.open(&chunk.path) {
        Err(DiskError::NotFound { .. }) => return Err(WalReadError::Trimmed { wal, position: from }),
        other => other?,
    };
    let mut buffer = vec![0; (to.get() - from.get()) as usize];
    let read = file.read_at(&mut buffer, from.get() - chunk.start.get())?;
    buffer.truncate(read);
    Ok(Bytes::from(buffer))
}

/// The bytes `[from, to)` of one chunk.
struct Stretch<'a> {
    wal: WalId,
    chunk: &'a Chunk,
    bytes: Bytes,
    from: WalPosition,
    to: WalPosition,
    /// Where the whole flush ends.
    end: WalPosition,
}

impl Stretch<'_> {
    /// Sorts every record; returns the position after the last group.
    fn sort_into(&self, sorter: &mut Sorter) -> Result<WalPosition, FlushError> {
        let mut at = self.from;
        while at < self.to {
            let group = GroupHeader::decode(self.slice(at), self.wal, at)
                .map_err(|error| self.corrupt(at, &error))?;
            if group.end() > self.to {
                return Err(self.crossing(&group));
            }
            self.sort_group(&group, sorter)?;
            at = group.end();
        }
        Ok(at)
    }

    fn sort_group(&self, group: &GroupHeader, sorter: &mut Sorter) -> Result<(), WalReadError> {
        let mut at = group.position.plus(GROUP_HEADER_BYTES as u64);
        for _ in 0..group.record_count {
            let record = RecordHeader::decode(self.slice(at), self.wal, at)
                .map_err(|error| self.corrupt(at, &error))?;
            if record.place.end() > group.end() {
                return Err(self.corrupt(at, &FormatError::CutOff { field: "record payload" }));
            }
            let from = (record.place.payload_position.get() - self.from.get()) as usize;
            let payload = self.bytes.slice(from..from + record.place.payload_bytes as usize);
            if !record.payload_holds(&payload) {
                return Err(self.corrupt(record.place.payload_position, &"a payload with a wrong checksum"));
            }
            let key = record.stamp.key_id;
            if key.get() != 0 {
                // A node's key lives no longer than its chunks, so its records cannot pass into an object as they are.
                return Err(WalReadError::Format { wal: self.wal, error: FormatError::Encrypted { key } });
            }
            sorter.take(&record, &payload).map_err(|what| self.corrupt(at, &what))?;
            at = record.place.end();
        }
        if at == group.end() {
            return Ok(());
        }
        Err(self.corrupt(at, &"bytes of a group that are no record"))
    }

    /// The bytes from a position on, as far as they were read.
    fn slice(&self, at: WalPosition) -> &[u8] {
        self.bytes.get((at.get() - self.from.get()) as usize..).unwrap_or_default()
    }

    fn crossing(&self, group: &GroupHeader) -> FlushError {
        if self.to == self.end {
            return FlushError::NotABoundary { wal: self.wal, position: self.end };
        }
        self.corrupt(group.position, &"a group that crosses into the next chunk").into()
    }

    fn corrupt(&self, at: WalPosition, what: &dyn ToString) -> WalReadError {
        let file = self.chunk.path.display().to_string();
        Corruption { wal: self.wal, file, position: at, what: what.to_string() }.into()
    }
}

/// Gathers records by slot and partition.
#[derive(Default)]
struct Sorter {
    runs: BTreeMap<(SlotId, PartitionKey), Vec<RunBuilder>>,
    states: BTreeMap<(SlotId, SlotEpoch), StateRunBuilder>,
}

#[derive(Default)]
struct StateRunBuilder {
    entries: BTreeMap<StateKey, StateEntry>,
    key_id: KeyId,
}

impl Sorter {
    /// Takes a verified record. The error says what is wrong with its place in the order.
    fn take(&mut self, record: &RecordHeader, payload: &Bytes) -> Result<(), String> {
        if let RecordKind::Batch(meta) = &record.kind {
            debug_assert!(
                payload.len() >= UNSUMMED_BYTES,
                "the header was decoded, so the payload is long enough"
            );
            return self.take_batch(record, meta, payload.clone());
        }
        let state = record.state(payload).ok_or("a state record whose lengths do not fit")?;
        let slot = record.stamp.slot;
        if let Some(partition) = state_record::partition_cut_by(state.kind, state.cluster, &state.key)
            && let Some(run) = self.runs.get_mut(&(slot, partition)).and_then(|runs| runs.last_mut())
        {
            run.close();
        }
        let run = self.states.entry((slot, record.stamp.slot_epoch)).or_default();
        run.key_id = record.stamp.key_id;
        let key = StateKey { kind: state.kind, cluster: state.cluster, key: state.key };
        let entry = StateEntry {
            key: key.clone(),
            value: state.value,
            position: record.place.header_position,
            slot_time: record.stamp.slot_time,
        };
        run.entries.insert(key, entry);
        Ok(())
    }

    fn take_batch(&mut self, record: &RecordHeader, meta: &BatchMeta, payload: Bytes) -> Result<(), String> {
        let runs = self.runs.entry((record.stamp.slot, meta.partition)).or_default();
        // Between two epochs the slot may have lived elsewhere, so only within one the offsets must follow.
        if let Some(expected) = runs.last().and_then(|run| run.next_offset_within(record.stamp.slot_epoch))
            && meta.base_offset != expected
        {
            let (partition, found) = (meta.partition, meta.base_offset);
            return Err(format!("a batch of {partition} at offset {found}, {expected} was expected"));
        }
        match runs.last_mut() {
            Some(run) if run.takes(&record.stamp) => run.push(record, meta, payload),
            _ => runs.push(RunBuilder::begin(record, meta, payload)),
        }
        Ok(())
    }

    fn finish(self, wal: WalId, start: WalPosition, end: WalPosition, random: u64) -> FlushObject {
        let mut parts = Vec::new();
        let mut offset = 0;
        let mut runs = Vec::new();
        for builder in self.runs.into_values().flatten() {
            let (run, run_parts) = builder.finish(offset);
            offset = run.object_range.end;
            runs.push(run);
            parts.extend(run_parts);
        }
        let mut state_runs = Vec::new();
        let mut states = BTreeMap::new();
        for ((slot, slot_epoch), builder) in self.states {
            let mut entries: Vec<StateEntry> = builder.entries.into_values().collect();
            entries.sort_by_key(|entry| entry.position);
            let raw = state_run::encode(&entries);
            let last = entries.last().expect("a state run is begun by an entry");
            state_runs.push(StateRun {
                slot,
                slot_epoch,
                last_position: last.position,
                max_slot_time: last.slot_time,
                entry_count: entries.len() as u32,
                object_range: offset..offset + raw.len() as u64,
                checksum: crc32c(&raw),
                key_id: builder.key_id,
            });
            offset += raw.len() as u64;
            parts.push(Bytes::from(raw));
            states.insert((slot, slot_epoch), entries);
        }
        let index = FlushIndex { wal, start, end, runs, state_runs };
        footer::seal(&index, offset, &mut parts);
        FlushObject { name: flush_name(wal, start, random), parts, index, states }
    }
}
