//! Usage counters: what a slot counted, folded into hours.
//!
//! Counters are cumulative and durable in the slot's log (`storage/PROTOCOL.md` §13). A *mark* of hour h holds the
//! counters, as of the end of h, of the partitions that changed in h. What is not in a mark did not change in its hour,
//! so the usage of an hour is a difference of two points, and adding up hours gives back the counter: nothing can be
//! billed twice, and a mark that is read twice changes nothing.

use std::collections::BTreeMap;

use headgate_metadata::id::{PartitionKey, SlotId, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::period::{HOUR_MS, Hour, Period};

/// Stored bytes over slot time, as an integral that can be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredIntegral {
    /// Byte-milliseconds stored until `since`.
    pub byte_ms: u128,
    /// Bytes stored from `since` on.
    pub current_bytes: u64,
    /// The slot time of the last change of `current_bytes`.
    pub since: TimestampMs,
}

impl StoredIntegral {
    /// The integral at `at`; at or before `since` it is what was counted. `None` beyond 2^128.
    fn extrapolated(&self, at: TimestampMs) -> Option<u128> {
        let elapsed_ms = at.get().saturating_sub(self.since.get());
        self.byte_ms.checked_add(u128::from(self.current_bytes) * u128::from(elapsed_ms))
    }
}

/// The cumulative counters of one partition at one point of slot time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionUsage {
    /// Whose.
    pub partition: PartitionKey,
    /// Σ(12 + batchLength) of its data batches ever committed.
    pub bytes_in: u64,
    /// The same sum over batches ever handed to clients.
    pub bytes_out: u64,
    /// Its stored bytes over time.
    pub stored: StoredIntegral,
}

/// The durable counters of a slot at the end of an hour: of the partitions that changed in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageMark {
    /// The hour, in slot time.
    pub hour: Hour,
    /// Counters as of its end.
    pub counters: Vec<PartitionUsage>,
}

/// A slot's counters as they stand, later than its last mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveUsage {
    /// The hour of slot time the slot is in: that of its last record. All that was counted since the last mark belongs
    /// to it, because a mark is written before the first record of a new hour.
    pub hour: Hour,
    /// Counters of at least the partitions that changed since the last mark.
    pub counters: Vec<PartitionUsage>,
}

/// Everything known about one slot, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotUsage {
    /// Which slot.
    pub slot: SlotId,
    /// Its marks; repeated ones and any order are fine.
    pub marks: Vec<UsageMark>,
    /// Its counters now, where it could be asked.
    pub live: Option<LiveUsage>,
}

/// Which counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// [`PartitionUsage::bytes_in`].
    BytesIn,
    /// [`PartitionUsage::bytes_out`].
    BytesOut,
    /// [`PartitionUsage::stored`].
    Stored,
}

impl std::fmt::Display for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::Stored => "stored",
        })
    }
}

/// Counters that contradict each other. The bill must not be issued; the slot's log has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A cumulative counter is lower than it was.
    #[error("slot {slot}: {counter} of {partition} went back in hour {}: from {was} to {is}", hour.get())]
    WentBack {
        /// In which slot.
        slot: SlotId,
        /// Of which partition.
        partition: PartitionKey,
        /// Which counter.
        counter: Counter,
        /// The hour of the lower figure.
        hour: Hour,
        /// The earlier figure (bytes, or byte-milliseconds at the end of the hour before).
        was: u128,
        /// The later, lower figure.
        is: u128,
    },
    /// Two marks of one hour disagree about a partition.
    #[error("slot {slot}: two marks of hour {} disagree about {partition}", hour.get())]
    Conflict {
        /// In which slot.
        slot: SlotId,
        /// About which partition.
        partition: PartitionKey,
        /// In which hour.
        hour: Hour,
    },
    /// One partition has counters in two slots; it would be billed twice.
    #[error("{partition} has counters in slots {one} and {other}")]
    TwoSlots {
        /// Which partition.
        partition: PartitionKey,
        /// In this slot.
        one: SlotId,
        /// And in this one.
        other: SlotId,
    },
    /// An integral beyond 2^128 byte-milliseconds: no disk holds that.
    #[error("slot {slot}: the stored bytes of {partition} are beyond measure")]
    Overflow {
        /// In which slot.
        slot: SlotId,
        /// Of which partition.
        partition: PartitionKey,
    },
}

/// What one partition used in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourUsage {
    /// Whose.
    pub partition: PartitionKey,
    /// When.
    pub hour: Hour,
    /// Bytes committed in it.
    pub bytes_in: u64,
    /// Bytes handed to clients in it.
    pub bytes_out: u64,
    /// Byte-milliseconds stored in it.
    pub stored_byte_ms: u128,
}

impl HourUsage {
    const fn is_nothing(&self) -> bool {
        self.bytes_in == 0 && self.bytes_out == 0 && self.stored_byte_ms == 0
    }
}

/// Until when stored bytes are counted on where no further counters exist.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The moment the counters were read: the future is not billed.
    pub as_of: TimestampMs,
    /// When the partition was removed, if it was: hours that begin later are not billed.
    pub removed: Option<TimestampMs>,
}

impl Horizon {
    fn end(&self) -> TimestampMs {
        self.removed.map_or(self.as_of, |removed| removed.min(self.as_of))
    }
}

/// The counters of one slot, checked and in order: per partition, its points in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedSlot {
    slot: SlotId,
    points: BTreeMap<PartitionKey, BTreeMap<Hour, PartitionUsage>>,
}

impl FoldedSlot {
    /// Puts marks and live counters in order and checks that no counter goes back.
    pub fn fold(usage: &SlotUsage) -> Result<Self, UsageError> {
        let mut folded = Self { slot: usage.slot, points: BTreeMap::new() };
        for mark in &usage.marks {
            for &counters in &mark.counters {
                folded.insert(mark.hour, counters)?;
            }
        }
        if let Some(live) = &usage.live {
            let last_marked = usage.marks.iter().map(|mark| mark.hour).max();
            let hour = last_marked.map_or(live.hour, |marked| marked.max(live.hour));
            for &counters in &live.counters {
                folded.supersede(hour, counters)?;
            }
        }
        folded.check_growth()?;
        Ok(folded)
    }

    /// Which slot.
    pub const fn slot(&self) -> SlotId {
        self.slot
    }

    /// The partitions that have counters, in order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionKey> {
        self.points.keys().copied()
    }

    /// What `partition` used in each hour of `period`, in order; hours without use are left out.
    pub fn hours(
        &self,
        partition: PartitionKey,
        period: Period,
        horizon: Horizon,
    ) -> Result<Vec<HourUsage>, UsageError> {
        let mut used = Vec::new();
        let Some(points) = self.points.get(&partition) else { return Ok(used) };
        let Some(span) = counted_hours(points, horizon).and_then(|(from, to)| period.cut(from, to)) else {
            return Ok(used);
        };
        let mut before = match span.from().previous() {
            Some(hour) => self.at_end(points, hour, horizon)?,
            None => Cumulative::default(),
        };
        for hour in span.hours() {
            let after = self.at_end(points, hour, horizon)?;
            self.require_growth(partition, hour, before, after)?;
            let usage = HourUsage {
                partition,
                hour,
                bytes_in: after.bytes_in - before.bytes_in,
                bytes_out: after.bytes_out - before.bytes_out,
                stored_byte_ms: after.stored_byte_ms - before.stored_byte_ms,
            };
            before = after;
            if !usage.is_nothing() {
                used.push(usage);
            }
        }
        Ok(used)
    }

    /// The counters at the end of `hour`: those of the last point up to then, the integral continued to the horizon.
    fn at_end(
        &self,
        points: &BTreeMap<Hour, PartitionUsage>,
        hour: Hour,
        horizon: Horizon,
    ) -> Result<Cumulative, UsageError> {
        let Some((_, usage)) = points.range(..=hour).next_back() else { return Ok(Cumulative::default()) };
        self.cumulative(usage, hour.end().min(horizon.end()))
    }

    fn cumulative(&self, usage: &PartitionUsage, at: TimestampMs) -> Result<Cumulative, UsageError> {
        let PartitionUsage { partition, bytes_in, bytes_out, stored } = *usage;
        let stored_byte_ms =
            stored.extrapolated(at).ok_or(UsageError::Overflow { slot: self.slot, partition })?;
        Ok(Cumulative { bytes_in, bytes_out, stored_byte_ms })
    }

    fn insert(&mut self, hour: Hour, usage: PartitionUsage) -> Result<(), UsageError> {
        let known = *self.points.entry(usage.partition).or_default().entry(hour).or_insert(usage);
        if known == usage {
            return Ok(());
        }
        Err(UsageError::Conflict { slot: self.slot, partition: usage.partition, hour })
    }

    /// Live counters replace those of a mark of the same hour: they are later, and must not be lower.
    fn supersede(&mut self, hour: Hour, usage: PartitionUsage) -> Result<(), UsageError> {
        let Some(marked) = self.points.entry(usage.partition).or_default().insert(hour, usage) else {
            return Ok(());
        };
        let at = marked.stored.since;
        self.require_growth(
            usage.partition,
            hour,
            self.cumulative(&marked, at)?,
            self.cumulative(&usage, at)?,
        )
    }

    fn check_growth(&self) -> Result<(), UsageError> {
        for (&partition, points) in &self.points {
            for ((_, was), (&hour, is)) in points.iter().zip(points.iter().skip(1)) {
                // Until its hour began nothing had changed, else there would be a mark in between.
                let at = hour.start();
                self.require_growth(partition, hour, self.cumulative(was, at)?, self.cumulative(is, at)?)?;
            }
        }
        Ok(())
    }

    fn require_growth(
        &self,
        partition: PartitionKey,
        hour: Hour,
        was: Cumulative,
        is: Cumulative,
    ) -> Result<(), UsageError> {
        let figures = [
            (Counter::BytesIn, u128::from(was.bytes_in), u128::from(is.bytes_in)),
            (Counter::BytesOut, u128::from(was.bytes_out), u128::from(is.bytes_out)),
            (Counter::Stored, was.stored_byte_ms, is.stored_byte_ms),
        ];
        match figures.into_iter().find(|(_, was, is)| is < was) {
            None => Ok(()),
            Some((counter, was, is)) => {
                Err(UsageError::WentBack { slot: self.slot, partition, counter, hour, was, is })
            }
        }
    }
}

/// Counters at one moment.
#[derive(Clone, Copy, Default)]
struct Cumulative {
    bytes_in: u64,
    bytes_out: u64,
    stored_byte_ms: u128,
}

/// The hours in which a partition with these points can have used anything: from the first point, to the last one or
/// while bytes stay stored until the horizon, but none that begins after its removal.
fn counted_hours(points: &BTreeMap<Hour, PartitionUsage>, horizon: Horizon) -> Option<(Hour, Hour)> {
    let (&first, _) = points.first_key_value()?;
    let (&last, usage) = points.last_key_value()?;
    let mut end = last.next();
    if usage.stored.current_bytes > 0 {
        end = end.max(Hour::of(horizon.end()).next());
    }
    if let Some(removed) = horizon.removed {
        end = end.min(Hour::new(removed.get().div_ceil(HOUR_MS)));
    }
    Some((first, end))
}

#[cfg(test)]
mod tests;
