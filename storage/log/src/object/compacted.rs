//! Compacted objects: runs of one partition, rewritten without what later records supersede (`storage/PROTOCOL.md` §8).
//!
//! Laid out as a flush object, so that everything that reads one reads the other. Its runs have holes: a batch keeps its offsets
//! when records of it go, and whole batches go. What a flush index says for the fold is empty: everything in here was folded
//! before. Positions mean nothing: the footer says `[0, 1)` of the owner's WAL, and each run lies at 0.

use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, KeyId, Offset, PartitionKey, SlotEpoch, SlotId, TimestampMs, WalId, WalPosition,
};

use crate::checksum::Crc32c;
use crate::object::{FlushIndex, FlushRun, SPARSE_INDEX_BYTES, SparseEntry, footer};

/// A batch that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactedBatch {
    /// Its bytes as they are served.
    pub bytes: Bytes,
    /// Its first offset.
    pub base_offset: Offset,
    /// Its greatest timestamp, ms; -1 if unknown.
    pub max_timestamp: i64,
}

/// A run of what stays: batches of one slot epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactedRun {
    /// The epoch they were appended under.
    pub slot_epoch: SlotEpoch,
    /// The first offset that the run stands for, whether a record is left there or not.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// The slot time of the last batch that was there.
    pub max_slot_time: TimestampMs,
    /// The batches that stay, in offset order; at least one.
    pub batches: Vec<CompactedBatch>,
}

impl CompactedRun {
    /// How many bytes of batches it holds.
    pub fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.bytes.len() as u64).sum()
    }
}

/// Puts an object together: its bytes in order, and its index. `runs` come in offset order.
pub fn build_compacted(
    wal: WalId,
    slot: SlotId,
    partition: PartitionKey,
    runs: Vec<CompactedRun>,
) -> (Vec<Bytes>, FlushIndex) {
    let (start, end) = (WalPosition::new(0), WalPosition::new(1));
    let (mut parts, mut offset) = (Vec::new(), 0);
    let mut indexed = Vec::with_capacity(runs.len());
    for run in runs {
        let entry = index_of(slot, partition, &run, offset);
        offset = entry.object_range.end;
        indexed.push(entry);
        parts.extend(run.batches.into_iter().map(|batch| batch.bytes));
    }
    let index = FlushIndex { wal, start, end, runs: indexed, state_runs: Vec::new() };
    footer::seal(&index, offset, &mut parts);
    (parts, index)
}

fn index_of(slot: SlotId, partition: PartitionKey, run: &CompactedRun, at: u64) -> FlushRun {
    let mut checksum = Crc32c::new();
    let (mut sparse, mut position, mut max_timestamp) = (Vec::new(), 0, i64::MIN);
    let mut due_at = 0;
    for batch in &run.batches {
        if position >= due_at {
            // The first entry is the run's start, whatever is left there.
            let base_offset = if position == 0 { run.base_offset } else { batch.base_offset };
            let entry =
                SparseEntry { base_offset, run_position: position, max_timestamp_before: max_timestamp };
            sparse.push(entry);
            due_at = position + SPARSE_INDEX_BYTES;
        }
        checksum.update(&batch.bytes);
        position += batch.bytes.len() as u64;
        max_timestamp = max_timestamp.max(batch.max_timestamp);
    }
    FlushRun {
        slot,
        slot_epoch: run.slot_epoch,
        partition,
        first_position: WalPosition::new(0),
        last_position: WalPosition::new(0),
        base_offset: run.base_offset,
        next_offset: run.next_offset,
        batch_count: run.batches.len() as u32,
        base_timestamp: -1,
        max_timestamp,
        billable_bytes: ByteCount::new(position),
        stored_byte_ms: 0,
        max_slot_time: run.max_slot_time,
        object_range: at..at + position,
        checksum: checksum.finish(),
        key_id: KeyId::new(0),
        sparse,
        producers: Vec::new(),
        aborted: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32c;
    use crate::fixture::{partition, wal_id};
    use crate::object::{Footer, index_codec};

    fn batch(base: u64, bytes: usize) -> CompactedBatch {
        CompactedBatch {
            bytes: vec![9; bytes].into(),
            base_offset: Offset::new(base),
            max_timestamp: base as i64,
        }
    }

    fn run(base: u64, next: u64, batches: Vec<CompactedBatch>) -> CompactedRun {
        CompactedRun {
            slot_epoch: SlotEpoch::new(1),
            base_offset: Offset::new(base),
            next_offset: Offset::new(next),
            max_slot_time: TimestampMs::new(5),
            batches,
        }
    }

    #[test]
    fn section_8_an_object_reads_back_as_a_flush_object_does_and_is_found_at_every_offset() {
        let slot = SlotId::new(3);
        let runs = vec![
            run(0, 40, vec![batch(7, 100), batch(20, 2 * SPARSE_INDEX_BYTES as usize), batch(30, 50)]),
            run(40, 90, vec![batch(41, 60)]),
        ];
        let (parts, index) = build_compacted(wal_id(), slot, partition(5), runs);
        let whole = parts.concat();
        let footer = whole.last_chunk().expect("a footer");
        let footer = Footer::decode(footer, whole.len() as u64).expect("it decodes");
        let block = &whole[footer.index_offset as usize..][..footer.index_bytes as usize];
        assert_eq!(crc32c(block), footer.index_checksum);
        assert_eq!(index_codec::decode(block, &footer), Ok(index.clone()));
        for (offset, base, entry) in
            [(0, 0, (0, 0)), (29, 0, (0, 0)), (30, 0, (30, 131_172)), (89, 40, (40, 0))]
        {
            let found =
                index.find_run(slot, &partition(5), Offset::new(offset)).expect("a run stands for it");
            assert_eq!(found.base_offset, Offset::new(base), "{offset}");
            let (first, position) = found.entry_of_offset(Offset::new(offset));
            assert_eq!((first.get(), position), entry, "{offset}");
        }
        assert_eq!(index.find_run(slot, &partition(5), Offset::new(90)), None);
        for run in &index.runs {
            let bytes = &whole[run.object_range.start as usize..run.object_range.end as usize];
            assert_eq!(crc32c(bytes), run.checksum);
        }
    }
}
