//! What a cluster's clients were told lately, for explanations.
//!
//! Invariant: at most [`PRINCIPALS_MAX`] principals are remembered; the one that was quiet longest makes room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::{RefusedOperations, ThrottledPrincipal, milliseconds};

use super::Limit;

const PRINCIPALS_MAX: usize = 100;
/// After how long what happened is not told any more.
const TOLD_FOR: Duration = Duration::from_mins(15);

#[derive(Debug)]
struct Throttles {
    limit: Limit,
    count: u64,
    time: Duration,
    last: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
struct Refusals {
    count: u64,
    last: Duration,
}

/// See the module. Time is counted from any fixed moment.
#[derive(Debug, Default)]
pub(super) struct History {
    throttled: HashMap<Arc<str>, Throttles>,
    refused: BTreeMap<QuotaKey, Refusals>,
}

impl History {
    pub(super) fn throttled(&mut self, principal: &Arc<str>, limit: Limit, time: Duration, now: Duration) {
        if self.throttled.len() >= PRINCIPALS_MAX && !self.throttled.contains_key(principal) {
            let quiet = self.throttled.iter().min_by_key(|(_, throttles)| throttles.last);
            if let Some(quiet) = quiet.map(|(principal, _)| Arc::clone(principal)) {
                self.throttled.remove(&quiet);
            }
        }
        let none = Throttles { limit, count: 0, time: Duration::ZERO, last: now };
        let throttles = self.throttled.entry(Arc::clone(principal)).or_insert(none);
        throttles.count += 1;
        throttles.time += time;
        (throttles.limit, throttles.last) = (limit, now);
    }

    pub(super) fn refused(&mut self, quota: QuotaKey, now: Duration) {
        let refusals = self.refused.entry(quota).or_default();
        refusals.count += 1;
        refusals.last = now;
    }

    /// Those that were throttled lately, the longest first.
    pub(super) fn throttled_lately(&self, now: Duration) -> Vec<ThrottledPrincipal> {
        let lately = |last: Duration| now.saturating_sub(last) < TOLD_FOR;
        let mut lately: Vec<_> = self
            .throttled
            .iter()
            .filter(|(_, throttles)| lately(throttles.last))
            .map(|(principal, throttles)| ThrottledPrincipal {
                principal: principal.to_string(),
                limit: throttles.limit.name().to_owned(),
                throttles: throttles.count,
                throttled_ms: milliseconds(throttles.time),
                ago_ms: milliseconds(now.saturating_sub(throttles.last)),
            })
            .collect();
        lately.sort_unstable_by_key(|one| (u64::MAX - one.throttled_ms, one.principal.clone()));
        lately
    }

    pub(super) fn refused_lately(&self, now: Duration) -> Vec<RefusedOperations> {
        let lately = self.refused.iter().filter(|(_, refusals)| now.saturating_sub(refusals.last) < TOLD_FOR);
        let told = |(quota, refusals): (&QuotaKey, &Refusals)| RefusedOperations {
            quota: *quota,
            refused: refusals.count,
            ago_ms: milliseconds(now.saturating_sub(refusals.last)),
        };
        lately.map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_held_longest_comes_first_and_what_is_long_ago_is_not_told() {
        let mut history = History::default();
        let second = Duration::from_secs(1);
        let limit = Limit::Quota(QuotaKey::RequestsPerSecond);
        history.throttled(&"a".into(), limit, second, Duration::ZERO);
        history.throttled(&"b".into(), limit, second, TOLD_FOR);
        history.throttled(&"c".into(), limit, second * 2, TOLD_FOR);
        history.throttled(&"b".into(), limit, second * 2, TOLD_FOR);
        let told = history.throttled_lately(TOLD_FOR + second);
        let told: Vec<_> =
            told.iter().map(|one| (&*one.principal, one.throttles, one.throttled_ms)).collect();
        assert_eq!(told, [("b", 2, 3_000), ("c", 1, 2_000)]);
    }

    #[test]
    fn only_so_many_principals_are_remembered() {
        let mut history = History::default();
        for number in 0..=PRINCIPALS_MAX as u64 {
            let limit = Limit::Quota(QuotaKey::RequestsPerSecond);
            let name = number.to_string().into();
            history.throttled(&name, limit, Duration::ZERO, Duration::from_secs(number));
        }
        assert_eq!(history.throttled.len(), PRINCIPALS_MAX);
        assert!(!history.throttled.contains_key("0"), "the one that was quiet longest");
    }
}
