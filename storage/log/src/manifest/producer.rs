//! Idempotent producers and their transactions in the fold: a function of the log alone (`storage/PROTOCOL.md` §7).

use std::time::Duration;

use headgate_metadata::id::TimestampMs;

use crate::manifest::{AbortedTransaction, Manifest, PartitionManifest, ProducerState};
use crate::object::{AbortedInRun, FlushRun, ProducerInRun, remember};

/// Adds what a run says of its producers.
pub(super) fn fold_run(partition: &mut PartitionManifest, run: &FlushRun) {
    // First the transactions that ended: they may have begun before the run, which only the state before it knows.
    for aborted in &run.aborted {
        let earlier =
            partition.producers.get(&aborted.producer).and_then(|state| state.open_transaction_start);
        let earlier = earlier.filter(|_| aborted.may_begin_earlier);
        // A marker may end a transaction that wrote nothing to this partition.
        if let Some(first_offset) = earlier.or(aborted.first_offset) {
            let AbortedInRun { producer, marker_offset, .. } = *aborted;
            partition.aborted.push(AbortedTransaction { producer, first_offset, marker_offset });
        }
    }
    for found in &run.producers {
        match partition.producers.get_mut(&found.id) {
            Some(state) => fold_producer(state, found),
            None => {
                partition.producers.insert(
                    found.id,
                    ProducerState {
                        epoch: found.epoch,
                        batches: found.batches.clone(),
                        last_slot_time: found.last_slot_time,
                        open_transaction_start: found.open_transaction_start,
                    },
                );
            }
        }
    }
}

fn fold_producer(state: &mut ProducerState, found: &ProducerInRun) {
    if state.epoch != found.epoch {
        state.epoch = found.epoch;
        state.batches.clear();
    }
    for batch in &found.batches {
        remember(&mut state.batches, *batch);
    }
    state.last_slot_time = state.last_slot_time.max(found.last_slot_time);
    if found.ends_earlier_transaction {
        state.open_transaction_start = None;
    }
    state.open_transaction_start = state.open_transaction_start.or(found.open_transaction_start);
}

/// Forgets the producers whose last append is too old, but never one whose transaction is open.
pub(super) fn expire(manifest: &mut Manifest, now: TimestampMs, after: Duration) {
    let oldest = u128::from(now.get()).saturating_sub(after.as_millis());
    for partition in manifest.partitions.values_mut() {
        partition.producers.retain(|_, state| {
            state.open_transaction_start.is_some() || u128::from(state.last_slot_time.get()) >= oldest
        });
    }
}
