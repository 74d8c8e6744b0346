//! A set of numbers kept as disjoint intervals: sequences come in long runs, so millions fit in a few entries.

use std::collections::BTreeMap;

/// Disjoint, non-touching half-open intervals, keyed by their start.
#[derive(Clone, Debug, Default)]
pub(super) struct IntervalSet {
    ends: BTreeMap<u64, u64>,
}

impl IntervalSet {
    /// Adds `count` numbers from `first`; returns how many were new.
    pub(super) fn insert(&mut self, first: u64, count: u64) -> u64 {
        let end = first.saturating_add(count);
        if end == first {
            return 0;
        }
        let new = (end - first) - self.covered(first, end - first);
        let (mut start, mut stop) = (first, end);
        // Every interval that touches the new one is swallowed by it.
        while let Some((&other_start, &other_end)) = self.ends.range(..=stop).next_back() {
            if other_end < start {
                break;
            }
            self.ends.remove(&other_start);
            start = start.min(other_start);
            stop = stop.max(other_end);
        }
        self.ends.insert(start, stop);
        new
    }

    /// How many of the `count` numbers from `first` are in the set.
    pub(super) fn covered(&self, first: u64, count: u64) -> u64 {
        let end = first.saturating_add(count);
        let start = self.ends.range(..=first).next_back().map_or(first, |(start, _)| *start);
        self.ends
            .range(start..end.max(start))
            .map(|(&from, &to)| to.min(end).saturating_sub(from.max(first)))
            .sum()
    }

    /// How many numbers are in the set.
    pub(super) fn total(&self) -> u64 {
        self.ends.iter().map(|(start, end)| end - start).sum()
    }

    /// The intervals as (first, count), ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ends.iter().map(|(&start, &end)| (start, end - start))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_like_a_set_of_single_numbers(steps in proptest::collection::vec((0_u64..200, 0_u64..30), 1..40)) {
            let mut intervals = IntervalSet::default();
            let mut numbers = BTreeSet::new();
            for (first, count) in steps {
                let covered = (first..first + count).filter(|number| numbers.contains(number)).count() as u64;
                prop_assert_eq!(intervals.covered(first, count), covered);
                let before = numbers.len();
                numbers.extend(first..first + count);
                prop_assert_eq!(intervals.insert(first, count), (numbers.len() - before) as u64);
                prop_assert_eq!(intervals.total(), numbers.len() as u64);
            }
            let listed: Vec<u64> = intervals.iter().flat_map(|(first, count)| first..first + count).collect();
            prop_assert_eq!(listed, numbers.into_iter().collect::<Vec<_>>());
        }
    }
}
