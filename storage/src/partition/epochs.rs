//! The leader epochs of a partition and where each begins (KIP-101, KIP-320).

use headgate_metadata::id::{LeaderEpoch, Offset};
use headgate_storage_client::EpochEnd;

/// `(epoch, start offset)` in order; an epoch without records has no entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<(LeaderEpoch, Offset)>);

impl Epochs {
    /// A batch was written under `epoch` at `offset`.
    pub(crate) fn observe(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if self.0.last().is_none_or(|(last, _)| *last < epoch) {
            self.0.push((epoch, offset));
        }
    }

    /// Entries that end at or below the log start say nothing any more; the one that holds it begins there.
    pub(crate) fn trim(&mut self, log_start: Offset) {
        let gone = self.0.iter().skip(1).take_while(|(_, start)| *start <= log_start).count();
        self.0.drain(..gone);
        if let Some((_, start)) = self.0.first_mut() {
            *start = log_start.max(*start);
        }
    }

    /// The epoch `offset` was written under.
    pub(crate) fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.0.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// Where `asked` ends, as Kafka's `LeaderEpochFileCache.endOffsetFor` decides. The owner's own epoch has an entry at
    /// the log end even before its first record, as a Kafka leader's has.
    pub(crate) fn end_of(&self, asked: LeaderEpoch, current: LeaderEpoch, end: Offset) -> EpochEnd {
        if asked == current {
            return EpochEnd { epoch: Some(current), end: Some(end) };
        }
        let own = (self.0.last().is_none_or(|(last, _)| *last < current)).then_some((current, end));
        let known = self.0.iter().copied().chain(own);
        let mut floor = None;
        for (epoch, start) in known {
            if epoch > asked {
                return EpochEnd { epoch: floor.or(Some(asked)), end: Some(start) };
            }
            floor = Some(epoch);
        }
        EpochEnd { epoch: None, end: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, offset) in [(2, 0), (2, 5), (4, 10), (7, 30)] {
            epochs.observe(LeaderEpoch::new(epoch), Offset::new(offset));
        }
        epochs
    }

    fn check(epochs: &Epochs, asked: u32, current: u32, expected: Option<(u32, u64)>) {
        let found = epochs.end_of(LeaderEpoch::new(asked), LeaderEpoch::new(current), Offset::new(50));
        assert_eq!(
            found.epoch.zip(found.end).map(|(epoch, end)| (epoch.get(), end.get())),
            expected,
            "asked {asked}"
        );
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        check(&epochs(), 2, 7, Some((2, 10)));
        check(&epochs(), 4, 7, Some((4, 30)));
        check(&epochs(), 7, 7, Some((7, 50)));
    }

    #[test]
    fn an_epoch_without_records_answers_with_the_largest_one_below_it() {
        check(&epochs(), 3, 7, Some((2, 10)));
        check(&epochs(), 6, 7, Some((4, 30)));
        check(&epochs(), 1, 7, Some((1, 0)));
    }

    #[test]
    fn an_epoch_above_the_owners_has_no_end() {
        check(&epochs(), 8, 7, None);
    }

    #[test]
    fn the_owners_epoch_begins_at_the_log_end_before_its_first_record() {
        check(&epochs(), 7, 9, Some((7, 50)));
        check(&epochs(), 8, 9, Some((7, 50)));
        check(&epochs(), 9, 9, Some((9, 50)));
        check(&Epochs::default(), 1, 1, Some((1, 50)));
    }

    #[test]
    fn trimming_keeps_the_epoch_that_holds_the_log_start() {
        let mut trimmed = epochs();
        trimmed.trim(Offset::new(12));
        assert_eq!(trimmed.0.first(), Some(&(LeaderEpoch::new(4), Offset::new(12))));
        assert_eq!(trimmed.at(Offset::new(29)), Some(LeaderEpoch::new(4)));
        assert_eq!(trimmed.at(Offset::new(30)), Some(LeaderEpoch::new(7)));
    }
}
