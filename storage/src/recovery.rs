//! Opening slots: manifest, flush indexes above it, record headers above those (`storage/PROTOCOL.md` §5, §7).
//!
//! Costs headers, not data: payloads stay readable where they lie. Invariants: a slot takes exactly the records of its spans'
//! epochs above what is applied; an offset gap is corruption, not a skip; what is restored is a function of the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use headgate_log::disk::Disk;
use headgate_log::manifest::{Manifest, PartitionManifest, RunRef, load_list, load_state};
use headgate_log::object::StateKey;
use headgate_log::state_record::{
    INHERITED, Inherited, InheritedSpan, LOG_START, LogStart, REMOVED, Removed, SENT_BYTES, SentBytes,
    USAGE_MARK, UsageMark,
};
use headgate_log::wal::{BatchControl, BatchMeta, RecordHeader, RecordKind, StateMeta, WalReader, WalScan};
use headgate_metadata::id::{PartitionKey, SlotEpoch, SlotId, TimestampMs, WalId, WalPosition};
use headgate_metadata::record::{SlotRecord, Span};
use headgate_storage_client::PartitionAddress;

use crate::chain::{CellView, SlotView};
use crate::objects::{Folded, Objects};
use crate::partition::{BatchEntry, Restored, Run};
use crate::planted::{Bug, is_planted};
use crate::producer_state::{RememberedBatch, last_sequence};
use crate::slot::Slot;
use crate::slots::Slots;
use crate::spawn;
use crate::start_error::StartError;
use crate::state_log::{StateKind, StateRecord};
use crate::topics::{Tombstone, Topics};

/// State that belongs to coordinators, in the order they must take it in.
pub(crate) type CoordinatorState = Vec<(SlotId, StateRecord)>;

/// Restores slots before they are published.
pub(crate) struct Recovery {
    /// The slots that are opened: nobody else has them yet.
    pub(crate) opening: BTreeMap<SlotId, Arc<Slot>>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) objects: Objects,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) wal_dir: PathBuf,
    pub(crate) wal: Arc<WalReader>,
}

impl Recovery {
    /// Restores the slots from one view of the cell.
    pub(crate) async fn run(self, cell: &CellView) -> Result<CoordinatorState, StartError> {
        let mut coordinators = Vec::new();
        let mut last = LastRecords::new();
        for slot in self.opening.keys().copied() {
            let Some(view) = cell.slots.get(&slot) else { continue };
            let Folded { manifest, last: in_objects } = self.objects.fold_slot(slot, view, cell).await?;
            last.extend(in_objects.into_iter().map(|(epoch, position)| ((slot, epoch), position)));
            let base = load_state(&self.objects.store, &manifest).await?;
            let mut lists = BTreeMap::new();
            for (key, partition) in manifest.partitions.iter().filter(|(_, partition)| !partition.removed) {
                for list in &partition.lists {
                    let runs = load_list(&self.objects.store, key, list).await?;
                    lists.entry(*key).or_insert_with(Vec::new).extend(runs);
                }
            }
            self.install(slot, manifest, base, lists, &mut coordinators)?;
        }
        let unflushed = Unflushed::of(cell, self.opening.keys().copied());
        let views: BTreeMap<SlotId, SlotView> = self.views(cell);
        let sealed: BTreeMap<WalId, WalPosition> =
            cell.wals.iter().filter_map(|(wal, view)| Some((*wal, view.sealed_end()?))).collect();
        let replayed = spawn::blocking(move || {
            self.replay_headers(&unflushed, &mut last, &mut coordinators)?;
            self.note_unmarked();
            self.note_freed();
            for (slot, view) in &views {
                let inherited = inherited(*slot, &view.record, &last, &sealed);
                if let Some(slot) = self.opening.get(slot) {
                    slot.state().inherits(inherited);
                }
            }
            Ok(coordinators)
        });
        replayed.await.ok_or(StartError::Interrupted)?
    }

    fn views(&self, cell: &CellView) -> BTreeMap<SlotId, SlotView> {
        let views = self.opening.keys().filter_map(|slot| Some((*slot, cell.slots.get(slot)?.clone())));
        views.collect()
    }

    /// Takes a folded manifest in.
    fn install(
        &self,
        slot_id: SlotId,
        manifest: Manifest,
        base: BTreeMap<StateKey, Bytes>,
        mut lists: BTreeMap<PartitionKey, Vec<RunRef>>,
        coordinators: &mut CoordinatorState,
    ) -> Result<(), StartError> {
        let slot = self.opening.get(&slot_id).ok_or(StartError::NoManifest(slot_id))?;
        slot.state().advance(manifest.slot_time);
        let state = manifest.state(base);
        for (key, partition) in manifest.partitions {
            if partition.removed {
                // Its stored bytes ended then and there, whatever the slot did later.
                let ended = partition.counters.stored.since;
                slot.state().ended(key, partition.counters, ended);
                continue;
            }
            let older = lists.remove(&key).unwrap_or_default();
            let restored = restored(partition, older);
            let address = PartitionAddress { key, slot: slot_id };
            self.slots.partition(address).log().restore(restored);
        }
        for (key, value) in state {
            if key.kind == LOG_START {
                // The manifest's own figures are newer: they hold what was appended since.
                continue;
            }
            let meta = StateMeta { cluster: key.cluster, kind: key.kind, key: key.key, value: Some(value) };
            self.take_state(slot_id, &meta, manifest.slot_time, coordinators)
                .ok_or(StartError::ManifestState(slot_id))?;
        }
        Ok(())
    }

    /// Replays the record headers of what is not flushed: each WAL is read once, each slot taken in in the order of its epochs.
    /// Blocks.
    fn replay_headers(
        &self,
        unflushed: &Unflushed,
        last: &mut LastRecords,
        coordinators: &mut CoordinatorState,
    ) -> Result<(), StartError> {
        let mut headers: BTreeMap<(SlotId, SlotEpoch), Vec<RecordHeader>> = BTreeMap::new();
        for (wal, Stretch { from, end }) in &unflushed.stretches {
            let scan = WalScan::open(Arc::clone(&self.disk), &self.wal_dir, *wal, Some(*end))?;
            if scan.start() > *from {
                return Err(StartError::WalShort { wal: *wal, found: scan.start(), expected: *from });
            }
            for header in scan.records(*from)? {
                let header = header?;
                let mut lived = (header.stamp.slot, header.stamp.slot_epoch);
                if is_planted(Bug::ReplayWithoutEpoch) {
                    let mut spans = unflushed.spans.iter().filter(|((slot, _), _)| *slot == lived.0);
                    lived = spans.find(|(_, span)| span.wal == *wal).map_or(lived, |(first, _)| *first);
                }
                // Records of other epochs are another owner's part of the log, or lie below what the slot inherits.
                if unflushed.spans.get(&lived).is_some_and(|span| span.wal == *wal) {
                    headers.entry(lived).or_default().push(header);
                }
            }
        }
        for (lived, headers) in headers {
            let Some(span) = unflushed.spans.get(&lived) else { continue };
            for header in headers.iter().filter(|header| header.place.header_position < span.to) {
                last.insert(lived, header.place.header_position);
                self.replay(span.wal, header, coordinators)?;
            }
        }
        Ok(())
    }

    fn replay(
        &self,
        wal: WalId,
        header: &RecordHeader,
        coordinators: &mut CoordinatorState,
    ) -> Result<(), StartError> {
        let slot_id = header.stamp.slot;
        let Some(slot) = self.opening.get(&slot_id) else { return Ok(()) };
        let time = slot.state().advance(header.stamp.slot_time);
        match &header.kind {
            RecordKind::Batch(meta) => self.replay_batch(wal, header, meta),
            RecordKind::State { .. } => {
                let position = header.place.header_position;
                let malformed = || StartError::State { wal, position };
                let length = header.place.payload_bytes as usize;
                let payload = self.wal.read(wal, header.place.payload_position, length)?;
                if !header.payload_holds(&payload) {
                    return Err(malformed());
                }
                let meta = header.state(&payload).ok_or_else(malformed)?;
                self.take_state(slot_id, &meta, time, coordinators).ok_or_else(malformed)
            }
        }
    }

    fn replay_batch(&self, wal: WalId, header: &RecordHeader, meta: &BatchMeta) -> Result<(), StartError> {
        let address = PartitionAddress { key: meta.partition, slot: header.stamp.slot };
        // What the slot's own log removed. A removal it does not know yet takes this batch's bytes into account when it comes.
        let forgot = self.opening.get(&address.slot).is_none_or(|slot| slot.state().forgot(&address.key));
        if forgot {
            return Ok(());
        }
        let partition = self.slots.partition(address);
        let mut log = partition.log();
        if meta.base_offset != log.end() {
            return Err(StartError::OffsetGap {
                wal,
                position: header.place.header_position,
                partition: meta.partition,
                expected: log.end(),
                found: meta.base_offset,
            });
        }
        let time = header.stamp.slot_time;
        if let Some(producer) = meta.producer {
            let base_sequence = producer.base_sequence as u32;
            let batch = RememberedBatch {
                base_sequence,
                last_sequence: last_sequence(base_sequence, meta.record_count),
                base_offset: meta.base_offset,
            };
            log.producers.replay(producer.id, producer.epoch, &[batch], time);
        }
        let billable =
            if meta.control == BatchControl::Data { u64::from(header.place.payload_bytes) } else { 0 };
        if is_planted(Bug::CountersAppliedTwice) {
            let twice = log.counters.bytes_in.get() + billable;
            log.counters.bytes_in = headgate_metadata::id::ByteCount::new(twice);
        }
        log.count(meta.base_offset, meta.record_count, billable, header.stamp.slot_epoch, time);
        log.commit(BatchEntry::at(wal, header.place, meta, time), None);
        Ok(())
    }

    /// Takes one state record in; `None` = it does not decode.
    fn take_state(
        &self,
        slot_id: SlotId,
        meta: &StateMeta,
        time: TimestampMs,
        coordinators: &mut CoordinatorState,
    ) -> Option<()> {
        let slot = self.opening.get(&slot_id)?;
        let (cluster, key, value) = (meta.cluster, &meta.key, meta.value.as_deref());
        match (meta.kind, value) {
            (USAGE_MARK, Some(value)) => {
                let mark = UsageMark::decode(cluster, key, value).ok()?;
                slot.state().marked(mark.partition, u64::from(mark.hour), mark.counters);
            }
            (LOG_START, Some(value)) => {
                let start = LogStart::decode(cluster, key, value).ok()?;
                if let Some(partition) = self.slots.known(&start.partition) {
                    partition.log().start_at(start.offset, start.stored);
                }
            }
            (REMOVED, Some(value)) => {
                let removed = Removed::decode(cluster, key, value).ok()?;
                let tombstone = Tombstone { cluster: removed.cluster, topic: removed.topic };
                self.topics.remember_removed(tombstone);
                let mut state = slot.state();
                state.removed(tombstone);
                for (key, counters) in self.slots.forget(slot_id, removed.cluster, removed.topic) {
                    state.ended(key, counters, removed.at);
                }
            }
            (SENT_BYTES, Some(value)) => {
                let sent = SentBytes::decode(cluster, key, value).ok()?;
                if slot.state().forgot(&sent.partition) {
                    return Some(());
                }
                let partition = self.slots.partition(PartitionAddress { key: sent.partition, slot: slot_id });
                let mut log = partition.log();
                log.sent.insert(sent.gateway, (sent.reported, time));
                log.counters.bytes_out = log.counters.bytes_out.max(sent.bytes_out);
            }
            (SENT_BYTES, None) => {
                // The value of a removed key says nothing; only its gateway is forgotten.
                let empty = [0; 16];
                let sent = SentBytes::decode(cluster, key, &empty).ok()?;
                if let Some(partition) = self.slots.known(&sent.partition) {
                    partition.log().sent.remove(&sent.gateway);
                }
            }
            (USAGE_MARK | LOG_START | REMOVED, None) | (INHERITED, _) => {}
            (kind, _) => {
                let kind = coordinator_kind(kind)?;
                let record = StateRecord { cluster, kind, key: meta.key.clone(), value: meta.value.clone() };
                coordinators.push((slot_id, record));
            }
        }
        Some(())
    }

    /// Partitions whose counters changed since their last usage mark get one when their hour is over (§13: on opening, missed
    /// hours are marked first).
    fn note_unmarked(&self) {
        for partition in self.slots.partitions() {
            let Some(slot) = self.opening.get(&partition.address.slot) else { continue };
            let mut state = slot.state();
            let marked = state.marks_of(partition.address.key).last().map(|(_, counters)| counters);
            let mut log = partition.log();
            if log.counters != marked.unwrap_or_default() {
                state.changed(&partition, &mut log.unmarked);
            }
        }
    }

    /// A pass may have been committed of which the counters do not tell yet.
    fn note_freed(&self) {
        for partition in self.slots.partitions() {
            if partition.topic.compacts() && self.opening.contains_key(&partition.address.slot) {
                partition.log().recount_freed();
            }
        }
    }
}

/// The last record that was found of each life of a slot.
type LastRecords = BTreeMap<(SlotId, SlotEpoch), WalPosition>;

/// What the slot's next life follows.
fn inherited(
    slot: SlotId,
    record: &SlotRecord,
    last: &LastRecords,
    sealed: &BTreeMap<WalId, WalPosition>,
) -> Inherited {
    let spans = record.spans.iter().filter_map(|span| {
        let Span { epoch, wal, to, .. } = *span;
        let last = *last.get(&(slot, epoch))?;
        Some(InheritedSpan { epoch, wal, to, last, ends: sealed.get(&wal) == Some(&to) })
    });
    Inherited { applied: record.applied, spans: spans.collect() }
}

/// The kinds that coordinators write.
fn coordinator_kind(kind: u8) -> Option<StateKind> {
    [StateKind::GroupOffset, StateKind::GroupMetadata].into_iter().find(|known| *known as u8 == kind)
}

fn restored(partition: PartitionManifest, older: Vec<RunRef>) -> Restored {
    let runs = older.into_iter().chain(partition.runs).map(|run| Run::of(&run)).collect();
    let producers = partition.producers.into_iter().map(|(id, state)| {
        let batches = state.batches.iter().map(|batch| {
            let base_sequence = batch.base_sequence as u32;
            RememberedBatch {
                base_sequence,
                last_sequence: last_sequence(base_sequence, batch.record_count),
                base_offset: batch.base_offset,
            }
        });
        (id, state.epoch, batches.collect(), state.last_slot_time)
    });
    Restored {
        log_start: partition.log_start,
        end: partition.next_offset,
        runs,
        epochs: partition.epoch_starts,
        aborted: partition
            .aborted
            .iter()
            .map(|aborted| (aborted.producer, aborted.first_offset, aborted.marker_offset))
            .collect(),
        producers: producers.collect(),
        counters: partition.counters,
    }
}

/// What of some slots' spans is in no object yet.
pub(crate) struct Unflushed {
    /// The spans of the slots, the owner's own excepted. A slot lives in one WAL under one epoch only.
    spans: BTreeMap<(SlotId, SlotEpoch), Span>,
    /// What must be read of each WAL.
    pub(crate) stretches: BTreeMap<WalId, Stretch>,
}

/// WAL bytes `[from, end)`; both lie between groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: WalPosition,
    pub(crate) end: WalPosition,
}

impl Unflushed {
    /// Of these slots, at one revision.
    pub(crate) fn of(cell: &CellView, slots: impl Iterator<Item = SlotId>) -> Self {
        let mut unflushed = Self { spans: BTreeMap::new(), stretches: BTreeMap::new() };
        for slot in slots {
            let spans = cell.slots.get(&slot).map(|view| view.record.spans.as_slice()).unwrap_or_default();
            for span in spans {
                let flushed = cell.wals.get(&span.wal).map_or(span.to, |wal| wal.flushed);
                if flushed < span.to {
                    unflushed.spans.insert((slot, span.epoch), *span);
                    let from = Stretch { from: flushed, end: span.to };
                    let stretch = unflushed.stretches.entry(span.wal).or_insert(from);
                    stretch.end = stretch.end.max(span.to);
                }
            }
        }
        unflushed
    }
}
