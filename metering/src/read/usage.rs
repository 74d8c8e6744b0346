//! From slots' logs to counters: the replay, and the one place where a slot's counters become [`SlotUsage`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headgate_log::disk::Disk;
use headgate_log::manifest::{Manifest, fold, load_manifest, load_state};
use headgate_log::object::{ObjectName, StateKey};
use headgate_log::state_record::{USAGE_MARK, UsageMark as MarkRecord};
use headgate_log::store::Store;
use headgate_log::usage::UsageCounters;
use headgate_metadata::id::{PartitionKey, SlotId, TimestampMs, WalId};
use headgate_metadata::record::SlotRecord;
use headgate_metadata::store::MetadataStore;

use super::cell::{Cell, spans};
use super::error::ReadUsageError;
use super::stretch::{self, Stretch};
use crate::period::Hour;
use crate::usage::{LiveUsage, PartitionUsage, SlotUsage, StoredIntegral, UsageMark};

/// The usage of every slot, replayed from what is stored; writes nothing. No process may run on the cell meanwhile: it would
/// trim what is still to be read, which shows as an error.
///
/// Cost: about two requests for each flush object above the manifests and two for each slot, and one pass over the unflushed
/// part of the WALs. Memory: one WAL chunk, the indexes of what is not in manifests, one manifest, and the result. Blocks
/// on the disk, so it belongs on a thread of its own.
pub async fn slot_usages(
    store: &dyn MetadataStore,
    objects: &Store,
    disk: &Arc<dyn Disk>,
    wal_root: &Path,
) -> Result<Vec<SlotUsage>, ReadUsageError> {
    let cell = Cell::read(store).await?;
    let mut logs: BTreeMap<WalId, Vec<Stretch>> = BTreeMap::new();
    for wal in cell.wals_named()? {
        logs.insert(wal, stretch::read(&cell, wal, objects, disk, wal_root).await?);
    }
    let mut usages = Vec::new();
    for (&slot, record) in &cell.slots {
        let manifest = manifest(objects, slot, record).await?;
        let manifest = fold_above(slot, record, manifest, &logs)?;
        let base = load_state(objects, &manifest).await?;
        let marks = marks(slot, manifest.state(base))?;
        usages.push(of_manifest(&manifest, marks));
    }
    Ok(usages)
}

/// Brings a slot's counters into the form bills are computed from: `marks` as (partition, hour, counters at its end), and
/// `counters` as they stand after the slot's last record, which has `slot_time`.
///
/// Partitions that did not change since their last mark are left out of the live counters.
pub fn slot_usage(
    slot: SlotId,
    slot_time: TimestampMs,
    marks: impl IntoIterator<Item = (PartitionKey, Hour, UsageCounters)>,
    counters: impl IntoIterator<Item = (PartitionKey, UsageCounters)>,
) -> SlotUsage {
    let mut by_hour: BTreeMap<Hour, Vec<PartitionUsage>> = BTreeMap::new();
    let mut last: BTreeMap<PartitionKey, (Hour, UsageCounters)> = BTreeMap::new();
    for (partition, hour, counters) in marks {
        by_hour.entry(hour).or_default().push(partition_usage(partition, &counters));
        let known = last.entry(partition).or_insert((hour, counters));
        if known.0 < hour {
            *known = (hour, counters);
        }
    }
    let changed = |(partition, counters): &(PartitionKey, UsageCounters)| {
        let marked = last.get(partition).map(|(_, counters)| *counters).unwrap_or_default();
        marked != *counters
    };
    let live = counters.into_iter().filter(changed);
    let live: Vec<PartitionUsage> =
        live.map(|(partition, counters)| partition_usage(partition, &counters)).collect();
    SlotUsage {
        slot,
        marks: by_hour.into_iter().map(|(hour, counters)| UsageMark { hour, counters }).collect(),
        live: (!live.is_empty()).then(|| LiveUsage { hour: Hour::of(slot_time), counters: live }),
    }
}

fn partition_usage(partition: PartitionKey, counters: &UsageCounters) -> PartitionUsage {
    let UsageCounters { bytes_in, bytes_out, stored } = counters;
    let stored =
        StoredIntegral { byte_ms: stored.byte_ms, current_bytes: stored.current.get(), since: stored.since };
    PartitionUsage { partition, bytes_in: bytes_in.get(), bytes_out: bytes_out.get(), stored }
}

/// The manifest that the slot's record names. A slot that names none is empty, unless part of its log was applied.
async fn manifest(objects: &Store, slot: SlotId, record: &SlotRecord) -> Result<Manifest, ReadUsageError> {
    let Some(name) = &record.manifest else {
        return if record.applied.is_none() {
            Ok(Manifest::empty(slot))
        } else {
            Err(ReadUsageError::NoManifest(slot))
        };
    };
    let name = ObjectName::parse(name).map_err(|_| ReadUsageError::NoManifest(slot))?;
    Ok(load_manifest(objects, &name, slot).await?)
}

/// Folds everything above the manifest onto it, span by span.
fn fold_above(
    slot: SlotId,
    record: &SlotRecord,
    manifest: Manifest,
    logs: &BTreeMap<WalId, Vec<Stretch>>,
) -> Result<Manifest, ReadUsageError> {
    let above = spans(record).flat_map(|span| {
        let stretches = logs.get(&span.wal).map(Vec::as_slice).unwrap_or_default();
        stretches.iter().filter_map(move |stretch| stretch.input(slot, record, span))
    });
    let inputs: Vec<_> = above.collect();
    fold(slot, Some(manifest), &inputs).map_err(|error| ReadUsageError::Fold { slot, error })
}

fn marks(
    slot: SlotId,
    state: BTreeMap<StateKey, bytes::Bytes>,
) -> Result<Vec<(PartitionKey, Hour, UsageCounters)>, ReadUsageError> {
    let marks = state.into_iter().filter(|(key, _)| key.kind == USAGE_MARK);
    marks
        .map(|(key, value)| {
            let mark = MarkRecord::decode(key.cluster, &key.key, &value)
                .map_err(|error| ReadUsageError::Mark { slot, error })?;
            Ok((mark.partition, Hour::new(mark.hour.into()), mark.counters))
        })
        .collect()
}

fn of_manifest(manifest: &Manifest, mut marks: Vec<(PartitionKey, Hour, UsageCounters)>) -> SlotUsage {
    let mut marked: BTreeMap<PartitionKey, Hour> = BTreeMap::new();
    for (partition, hour, _) in &marks {
        let last = marked.entry(*partition).or_insert(*hour);
        *last = (*last).max(*hour);
    }
    let mut counters = Vec::new();
    for (&partition, known) in &manifest.partitions {
        if !known.removed {
            counters.push((partition, known.counters));
            continue;
        }
        // Nothing is counted after a removal, which need not be marked, and the slot goes on: so what the partition came to
        // belongs to the hour of its removal, not to that of the slot's last record. A mark of that hour says the same.
        let hour = Hour::of(known.counters.stored.since);
        if known.counters != UsageCounters::default()
            && marked.get(&partition).is_none_or(|last| *last < hour)
        {
            marks.push((partition, hour, known.counters));
        }
    }
    slot_usage(manifest.slot, manifest.slot_time, marks, counters)
}
