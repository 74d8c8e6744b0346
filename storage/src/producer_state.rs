//! What a partition remembers of its idempotent producers (KIP-98), decided as Kafka's `ProducerStateManager` and
//! `ProducerAppendInfo` decide.
//!
//! Invariants: a function of the log alone (`storage/PROTOCOL.md` §7): what [`Producers::append`] does on the way in,
//! [`Producers::replay`] does again after a restart; an entry expires by slot time, never by a clock.

use std::collections::HashMap;

use headgate_metadata::id::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use headgate_storage_client::{AppendError, ProducerBatch};

/// How many batches a retry may be behind and still be recognised; Kafka's `NUM_BATCHES_TO_RETAIN`. Clients keep at most
/// five requests in flight.
pub(crate) const BATCHES_REMEMBERED: usize = 5;
/// A producer that has not appended for this long is forgotten; Kafka's `producer.id.expiration.ms`.
pub(crate) const PRODUCER_EXPIRY_MS: u64 = 24 * 3_600_000;

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RememberedBatch {
    /// The sequence of its first record.
    pub(crate) base_sequence: u32,
    /// The sequence of its last record.
    pub(crate) last_sequence: u32,
    /// The offset of its first record.
    pub(crate) base_offset: Offset,
}

/// One producer in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    /// Its fence.
    pub(crate) epoch: ProducerEpoch,
    /// The last batches under this epoch, oldest first; at most [`BATCHES_REMEMBERED`].
    pub(crate) batches: Vec<RememberedBatch>,
    /// The slot time of its last append.
    pub(crate) last_append: TimestampMs,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It follows: append it.
    Append,
    /// It is in the log already, at this offset: answer as the first time.
    Duplicate(Offset),
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    entries: HashMap<ProducerId, ProducerEntry>,
}

/// The last of `count` sequences from `base`; the numbers wrap from 2^31 - 1 to 0.
pub(crate) fn last_sequence(base: u32, count: u32) -> u32 {
    base.wrapping_add(count.wrapping_sub(1)) & 0x7fff_ffff
}

impl Producers {
    /// Judges a batch of `count` records against what is *appended*, and changes nothing.
    pub(crate) fn judge(
        &self,
        batch: ProducerBatch,
        count: u32,
        now: TimestampMs,
    ) -> Result<Verdict, AppendError> {
        let known = self.entries.get(&batch.id).filter(|entry| !expired(entry, now));
        // Records of the producer may have been removed by retention, so a producer unknown here may begin anywhere; so
        // does Kafka since KIP-360.
        let Some(entry) = known else { return Ok(Verdict::Append) };
        if batch.epoch < entry.epoch {
            return Err(AppendError::ProducerFenced);
        }
        if batch.epoch > entry.epoch {
            let starts_anew = batch.base_sequence == 0;
            return if starts_anew { Ok(Verdict::Append) } else { Err(AppendError::OutOfOrderSequence) };
        }
        let last = last_sequence(batch.base_sequence, count);
        let same =
            |seen: &&RememberedBatch| seen.base_sequence == batch.base_sequence && seen.last_sequence == last;
        if let Some(seen) = entry.batches.iter().find(same) {
            return Ok(Verdict::Duplicate(seen.base_offset));
        }
        match entry.batches.last() {
            Some(previous) if last_sequence(previous.last_sequence, 2) != batch.base_sequence => {
                Err(AppendError::OutOfOrderSequence)
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// Remembers a batch that was appended at `base_offset`.
    pub(crate) fn append(&mut self, batch: ProducerBatch, count: u32, base_offset: Offset, now: TimestampMs) {
        let remembered = RememberedBatch {
            base_sequence: batch.base_sequence,
            last_sequence: last_sequence(batch.base_sequence, count),
            base_offset,
        };
        self.replay(batch.id, batch.epoch, &[remembered], now);
    }

    /// Takes in batches found in the log, oldest first: those of an older epoch are forgotten.
    pub(crate) fn replay(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        batches: &[RememberedBatch],
        last_append: TimestampMs,
    ) {
        let fresh = || ProducerEntry { epoch, batches: Vec::with_capacity(BATCHES_REMEMBERED), last_append };
        let entry = self.entries.entry(id).or_insert_with(fresh);
        if entry.epoch != epoch || expired(entry, last_append) {
            *entry = fresh();
        }
        entry.last_append = entry.last_append.max(last_append);
        for batch in batches {
            if entry.batches.len() == BATCHES_REMEMBERED {
                entry.batches.remove(0);
            }
            entry.batches.push(*batch);
        }
    }

    /// Forgets producers that have not appended for [`PRODUCER_EXPIRY_MS`] of slot time.
    pub(crate) fn expire(&mut self, now: TimestampMs) {
        self.entries.retain(|_, entry| !expired(entry, now));
    }

    /// What is remembered of one producer.
    #[cfg(test)]
    pub(crate) fn entry(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.entries.get(&id)
    }

    /// Whether none is remembered.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn expired(entry: &ProducerEntry, now: TimestampMs) -> bool {
    now.get().saturating_sub(entry.last_append.get()) > PRODUCER_EXPIRY_MS
}

#[cfg(test)]
mod tests;
