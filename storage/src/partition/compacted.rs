//! What compaction sees of a partition, and what it does to it.

use headgate_metadata::id::Offset;

use super::{PartitionLog, Run};

/// Kafka's default `min.cleanable.dirty.ratio`: half of the bytes.
const DIRTY_SHARE: u64 = 2;
/// With so many runs that were not compacted a pass is due in any case (`storage/PROTOCOL.md` §8).
const DIRTY_RUNS_MAX: usize = 64;

impl PartitionLog {
    /// Whether enough of what lies in objects was not compacted yet.
    pub(crate) fn compaction_due(&self) -> bool {
        let bytes = |runs: &[Run]| runs.iter().map(|run| run.bytes).sum::<u64>();
        let dirty = &self.runs[self.runs.partition_point(|run| run.compacted)..];
        !dirty.is_empty()
            && (dirty.len() >= DIRTY_RUNS_MAX || bytes(dirty) * DIRTY_SHARE >= bytes(&self.runs))
    }

    /// Readers find `by` from now on instead of the runs that lie within its bounds: the manifest says so. What lies below the log
    /// start is left out.
    pub(crate) fn replace_runs(&mut self, mut by: Vec<Run>) {
        let (Some(first), Some(last)) = (by.first(), by.last()) else { return };
        let (from, to) = (first.first, last.next);
        debug_assert!(to <= self.flushed, "what is compacted was flushed, and readers were told");
        let begin = self.runs.partition_point(|run| run.next <= from);
        let end = self.runs.partition_point(|run| run.next <= to);
        let counts = |run: &&Run| run.next > self.trim_asked;
        let mut left: u64 = self.runs[begin..end].iter().filter(counts).map(|run| run.counted).sum();
        by.retain(|run| run.next > self.log_start);
        for run in &mut by {
            run.counted = if run.next > self.trim_asked { run.bytes.min(left) } else { 0 };
            left -= run.counted;
        }
        self.freed += left;
        self.runs.splice(begin..end, by);
        self.note_compacted();
    }

    /// The runs have changed: up to where are they compacted?
    pub(super) fn note_compacted(&mut self) {
        let compacted = self.runs.iter().take_while(|run| run.compacted).last();
        self.compacted_to = compacted.map_or(self.compacted_to, |run| run.next);
    }

    /// After a replay: what an earlier owner compacted and did not come to count. Nothing may be in flight.
    pub(crate) fn recount_freed(&mut self) {
        let held: u64 = self.pieces().map(|(_, bytes, _)| bytes).sum();
        self.freed = self.size().saturating_sub(held);
    }

    /// The bytes that no longer count as stored since this was last asked.
    pub(crate) fn take_freed(&mut self) -> u64 {
        std::mem::take(&mut self.freed)
    }

    /// Retention was asked to move the log start: what lies below is counted there.
    pub(crate) fn trim_is_asked(&mut self, to: Offset) {
        self.trim_asked = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::tests::{log_of, run};

    fn compacted(first: u64, next: u64, bytes: u64) -> Run {
        Run { object: "compacted/x".into(), compacted: true, ..run(first, next, bytes) }
    }

    /// Runs of 100 bytes for every ten offsets; nothing in memory.
    fn runs_of(count: u64) -> PartitionLog {
        let mut log = log_of(count * 5);
        for index in 0..count {
            log.flushed(run(index * 10, (index + 1) * 10, 100));
        }
        log
    }

    #[test]
    fn section_8_what_was_taken_is_counted_once() {
        let mut log = runs_of(3);
        log.replace_runs(vec![compacted(0, 20, 30)]);
        let places: Vec<_> =
            log.runs().iter().map(|run| (run.first.get(), run.next.get(), run.counted)).collect();
        assert_eq!(places, [(0, 20, 30), (20, 30, 100)]);
        assert_eq!((log.take_freed(), log.take_freed()), (170, 0));
    }

    #[test]
    fn what_retention_was_asked_to_take_is_counted_there() {
        let mut log = runs_of(3);
        log.trim_is_asked(Offset::new(10));
        log.replace_runs(vec![compacted(0, 10, 5), compacted(10, 20, 30)]);
        assert_eq!(log.take_freed(), 70, "of the second run alone");
    }

    #[test]
    fn a_pass_is_due_when_half_is_dirty_or_many_runs_are() {
        let mut log = runs_of(4);
        assert!(log.compaction_due());
        log.replace_runs(vec![compacted(0, 30, 250)]);
        assert!(!log.compaction_due(), "100 of 350 bytes");
        log.replace_runs(vec![compacted(0, 30, 90)]);
        assert!(log.compaction_due(), "100 of 190 bytes");
        log.replace_runs(vec![compacted(0, 40, 90)]);
        assert!(!log.compaction_due(), "nothing is dirty");
        assert!(!PartitionLog::default().compaction_due());
        let mut many = runs_of(DIRTY_RUNS_MAX as u64 + 1);
        many.replace_runs(vec![compacted(0, 10, 1_000_000)]);
        assert!(many.compaction_due());
    }
}
