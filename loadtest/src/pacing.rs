//! When records are due: an open loop at a fixed rate, or as fast as the broker takes them.
//!
//! In an open loop a record is due whether or not the broker keeps up, and its latency counts from that moment: a
//! stalled broker cannot hide its stall by slowing the load (coordinated omission).

use std::time::{Duration, Instant};

/// Where one producer stands in its schedule.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    end: Option<Instant>,
    records_max: Option<u64>,
    /// Time between two records of this producer; `None` is as fast as possible.
    interval: Option<Duration>,
    issued: u64,
}

/// What the schedule says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A record that was due at this moment.
    Record(Instant),
    /// Nothing before this moment.
    At(Instant),
    /// No more records, ever.
    Finished,
}

/// The whole run's load, to be divided among its producers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) producers: u32,
    pub(crate) records: Option<u64>,
    pub(crate) duration: Option<Duration>,
    /// Records per second over all producers.
    pub(crate) rate: Option<f64>,
}

impl Load {
    /// The schedule of one producer. Producers of a paced load start staggered, so that they do not beat together.
    pub(crate) fn schedule(&self, producer: u32, start: Instant) -> Schedule {
        let producers = u64::from(self.producers.max(1));
        let share = |total: u64| total / producers + u64::from(u64::from(producer) < total % producers);
        let interval = self.rate.map(|rate| Duration::from_secs_f64(producers as f64 / rate));
        let stagger = interval.map_or(Duration::ZERO, |interval| interval * producer / self.producers.max(1));
        Schedule {
            start: start + stagger,
            end: self.duration.map(|duration| start + duration),
            records_max: self.records.map(share),
            interval,
            issued: 0,
        }
    }
}

impl Schedule {
    /// What is due; a record that is due is counted as issued.
    pub(crate) fn next(&mut self, now: Instant) -> Due {
        if self.records_max.is_some_and(|max| self.issued >= max) {
            return Due::Finished;
        }
        let due = match self.interval {
            // Seconds times a count: no error adds up over a long run.
            Some(interval) => {
                self.start + Duration::from_secs_f64(interval.as_secs_f64() * self.issued as f64)
            }
            None => now,
        };
        if self.end.is_some_and(|end| due >= end) {
            return Due::Finished;
        }
        if due > now {
            return Due::At(due);
        }
        self.issued += 1;
        Due::Record(due)
    }

    /// Issues no more records.
    pub(crate) fn finish(&mut self) {
        self.records_max = Some(0);
    }

    /// Whether records come as fast as the broker takes them.
    pub(crate) fn is_unpaced(&self) -> bool {
        self.interval.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_paced_schedule_keeps_due_times_when_it_is_late() {
        let start = clock::now();
        let load = Load { producers: 1, rate: Some(10.0), ..Load::default() };
        let mut schedule = load.schedule(0, start);
        let late = start + Duration::from_secs(1);
        for index in 0..=10 {
            let Due::Record(due) = schedule.next(late) else { panic!("record {index} is due") };
            assert!((due - start).abs_diff(Duration::from_millis(100 * index)) < Duration::from_micros(10));
        }
        assert!(matches!(schedule.next(late), Due::At(due) if due > late));
    }

    #[test]
    fn records_are_divided_without_loss() {
        let load = Load { producers: 3, records: Some(10), ..Load::default() };
        let now = clock::now();
        let counts: Vec<usize> = (0..3)
            .map(|producer| {
                let mut schedule = load.schedule(producer, now);
                std::iter::from_fn(|| matches!(schedule.next(now), Due::Record(_)).then_some(())).count()
            })
            .collect();
        assert_eq!(counts, [4, 3, 3]);
    }

    #[test]
    fn time_ends_a_schedule() {
        let start = clock::now();
        let load = Load { producers: 1, duration: Some(Duration::from_secs(1)), ..Load::default() };
        let mut schedule = load.schedule(0, start);
        assert!(matches!(schedule.next(start), Due::Record(_)));
        assert_eq!(schedule.next(start + Duration::from_secs(1)), Due::Finished);
    }

    #[test]
    fn a_rate_is_shared_by_the_producers() {
        let start = clock::now();
        let load = Load { producers: 4, rate: Some(400.0), ..Load::default() };
        let mut schedule = load.schedule(2, start);
        assert_eq!(schedule.next(start), Due::At(start + Duration::from_millis(5)));
        assert!(matches!(schedule.next(start + Duration::from_millis(5)), Due::Record(_)));
        assert_eq!(
            schedule.next(start + Duration::from_millis(6)),
            Due::At(start + Duration::from_millis(15))
        );
    }
}
