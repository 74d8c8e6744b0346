//! The history checker: journals and logs in, findings out. No I/O, no clock.
//!
//! The rules follow Jepsen's Kafka workload (<https://github.com/jepsen-io/jepsen>, `jepsen/tests/kafka.clj`):
//! * **lost**: acknowledged, at or above the log start, not readable;
//! * **duplicated**: one value at two offsets;
//! * **reordered**: a record of a series behind one that was sent later;
//! * **inconsistent offsets**: the acknowledged offset holds another value, or two acknowledgements name one offset;
//! * **refused but readable**: the server refused the batch for good, yet serves it (an aborted read).
//!
//! Gaps, bad sums and misplaced records are found by the scan of each partition and passed on.

mod interval_set;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::journal::{Acknowledgement, Journal};
use crate::partition_scan::{PartitionScan, Span, Tally};
use crate::value::Series;
use interval_set::IntervalSet;

/// What the check found. All tallies count records, except gaps (offsets) and bad sums (batches).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    pub(crate) lost: Tally,
    pub(crate) duplicated: Tally,
    pub(crate) reordered: Tally,
    pub(crate) inconsistent_offsets: Tally,
    pub(crate) refused_but_readable: Tally,
    pub(crate) gaps: Tally,
    pub(crate) bad_crc: Tally,
    pub(crate) malformed: Tally,
    pub(crate) misplaced: Tally,
}

/// Counts that are no defects but that a reader of the result wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Coverage {
    /// Records that journals name as acknowledged.
    pub(crate) acknowledged: u64,
    /// Acknowledged records below the log start: retention took them, nothing can be said.
    pub(crate) below_log_start: u64,
    /// Readable load-test records, duplicates counted once.
    pub(crate) readable: u64,
    /// Readable records of journalled runs whose acknowledgement never arrived; allowed.
    pub(crate) readable_unacknowledged: u64,
}

/// The result of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) coverage: Coverage,
    pub(crate) findings: Findings,
}

impl Findings {
    /// Every kind with its name, in the order of gravity.
    pub(crate) fn kinds(&self) -> [(&'static str, &Tally); 9] {
        [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("reordered", &self.reordered),
            ("inconsistent offsets", &self.inconsistent_offsets),
            ("refused but readable", &self.refused_but_readable),
            ("gaps", &self.gaps),
            ("bad crc", &self.bad_crc),
            ("malformed", &self.malformed),
            ("misplaced", &self.misplaced),
        ]
    }

    /// Whether nothing at all was found.
    pub(crate) fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, tally)| tally.count == 0)
    }
}

/// Holds the logs to what the journals promise.
pub(crate) fn check(journal: &Journal, logs: &[PartitionScan]) -> Verdict {
    let mut verdict = Verdict::default();
    let readable = check_logs(logs, &mut verdict.findings);
    let by_partition: BTreeMap<i32, &PartitionScan> = logs.iter().map(|log| (log.partition, log)).collect();
    let mut acknowledged: BTreeMap<Series, IntervalSet> = BTreeMap::new();
    for ack in &journal.acknowledged {
        let series = ack.records.series;
        acknowledged.entry(series).or_default().insert(ack.records.first_sequence, ack.records.count);
        let log = by_partition.get(&series.partition).copied();
        check_acknowledgement(ack, log, readable.get(&series), &mut verdict);
    }
    check_offsets_acknowledged_twice(journal, &mut verdict.findings);
    for refused in &journal.refused {
        let seen =
            readable.get(&refused.series).map_or(0, |set| set.covered(refused.first_sequence, refused.count));
        verdict
            .findings
            .refused_but_readable
            .add(seen, || format!("{} sequences from {}", refused.series, refused.first_sequence));
    }
    verdict.coverage.readable = readable.values().map(IntervalSet::total).sum();
    verdict.coverage.readable_unacknowledged = unacknowledged(&readable, &acknowledged);
    verdict
}

/// Finds what the logs show by themselves, and collects which sequences of each series are readable.
fn check_logs(logs: &[PartitionScan], findings: &mut Findings) -> BTreeMap<Series, IntervalSet> {
    let mut readable: BTreeMap<Series, IntervalSet> = BTreeMap::new();
    for log in logs {
        let mut highest: BTreeMap<Series, u64> = BTreeMap::new();
        for span in &log.spans {
            let seen = readable.entry(span.series).or_default();
            let high = highest.entry(span.series).or_default();
            let behind = span.count.min(high.saturating_sub(span.first_sequence));
            let late = behind - seen.covered(span.first_sequence, behind);
            let again = span.count - seen.insert(span.first_sequence, span.count);
            findings.reordered.add(late, || describe(span, "comes after a later record"));
            findings.duplicated.add(again, || describe(span, "was already at a lower offset"));
            *high = (*high).max(span.end_sequence());
        }
        merge(&mut findings.gaps, &log.gaps);
        merge(&mut findings.bad_crc, &log.bad_crc);
        merge(&mut findings.malformed, &log.malformed);
        merge(&mut findings.misplaced, &log.misplaced);
    }
    readable
}

fn check_acknowledgement(
    ack: &Acknowledgement,
    log: Option<&PartitionScan>,
    readable: Option<&IntervalSet>,
    verdict: &mut Verdict,
) {
    let records = ack.records;
    verdict.coverage.acknowledged += records.count;
    let log_start = log.map_or(0, |log| log.log_start);
    let below = match ack.base_offset {
        Some(base) => records.count.min(log_start.saturating_sub(base).max(0) as u64),
        // Without an offset nobody can tell whether retention took the records.
        None if log_start > 0 => records.count,
        None => 0,
    };
    verdict.coverage.below_log_start += below;
    let (first, count) = (records.first_sequence + below, records.count - below);
    let covered = readable.map_or(0, |set| set.covered(first, count));
    verdict.findings.lost.add(count - covered, || {
        let offset = ack.base_offset.map_or_else(|| "unknown".to_owned(), |offset| offset.to_string());
        format!("{} sequences {first}..{} acknowledged at offset {offset}", records.series, first + count)
    });
    if let (Some(base), Some(log), Some(readable)) = (ack.base_offset, log, readable) {
        let misplaced = offsets_that_differ(ack, base.saturating_add(below as i64), count, log, readable);
        verdict.findings.inconsistent_offsets.add(misplaced, || {
            format!(
                "{} sequences {first}..{} are not at the acknowledged offset {base}",
                records.series,
                first + count
            )
        });
    }
}

/// How many of the `count` offsets from `start` hold another record than the acknowledgement says, or none although
/// the record is readable elsewhere.
fn offsets_that_differ(
    ack: &Acknowledgement,
    start: i64,
    count: u64,
    log: &PartitionScan,
    readable: &IntervalSet,
) -> u64 {
    let Some(base) = ack.base_offset else { return 0 };
    let end = start.saturating_add(count as i64);
    let sequence_at = |offset: i64| ack.records.first_sequence + (offset - base) as u64;
    let mut differing = 0;
    let mut position = start;
    let first_span = log.spans.partition_point(|span| span.end_offset() <= start);
    for span in log.spans[first_span..].iter().take_while(|span| span.first_offset < end) {
        let from = span.first_offset.max(position);
        let to = span.end_offset().min(end);
        if from >= to {
            continue;
        }
        differing += readable.covered(sequence_at(position), (from - position) as u64);
        let found = span.first_sequence + (from - span.first_offset) as u64;
        if span.series != ack.records.series || found != sequence_at(from) {
            differing += (to - from) as u64;
        }
        position = to;
    }
    differing + readable.covered(sequence_at(position), (end - position) as u64)
}

/// Two acknowledgements for one offset are wrong even where retention hides what the log held.
fn check_offsets_acknowledged_twice(journal: &Journal, findings: &mut Findings) {
    let mut placed: Vec<(i32, i64, &Acknowledgement)> = journal
        .acknowledged
        .iter()
        .filter_map(|ack| ack.base_offset.map(|base| (ack.records.series.partition, base, ack)))
        .collect();
    placed.sort_by_key(|(partition, base, _)| (*partition, *base));
    for pair in placed.windows(2) {
        let [(partition, base, earlier), (next_partition, next_base, later)] = pair else { continue };
        let end = base.saturating_add(earlier.records.count as i64);
        if partition == next_partition && *next_base < end && earlier.records != later.records {
            let shared = (end - next_base) as u64;
            findings.inconsistent_offsets.add(shared.min(later.records.count), || {
                format!(
                    "offset {next_base} acknowledged to {} and to {}",
                    earlier.records.series, later.records.series
                )
            });
        }
    }
}

fn unacknowledged(
    readable: &BTreeMap<Series, IntervalSet>,
    acknowledged: &BTreeMap<Series, IntervalSet>,
) -> u64 {
    acknowledged
        .iter()
        .filter_map(|(series, acknowledged)| readable.get(series).map(|readable| (readable, acknowledged)))
        .map(|(readable, acknowledged)| {
            readable.iter().map(|(first, count)| count - acknowledged.covered(first, count)).sum::<u64>()
        })
        .sum()
}

fn describe(span: &Span, what: &str) -> String {
    let Span { series, first_sequence, first_offset, count } = span;
    format!("{series} sequences {first_sequence}..{} at offset {first_offset} {what}", first_sequence + count)
}

fn merge(into: &mut Tally, from: &Tally) {
    into.count += from.count;
    let room = crate::partition_scan::SAMPLES_MAX.saturating_sub(into.samples.len());
    into.samples.extend(from.samples.iter().take(room).cloned());
}

#[cfg(test)]
mod tests;
