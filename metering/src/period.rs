//! Hours, and the period a bill covers.
//!
//! Usage is metered in whole hours of slot time, so a period is a range of whole hours: two periods that touch share
//! nothing and miss nothing.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use headgate_metadata::id::TimestampMs;
use serde::{Deserialize, Serialize};

/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;

/// The first hour that is not accepted, 10000-01-01T00:00Z: beyond it dates have no text form.
const HOUR_MAX: u64 = 70_389_528;

/// An hour of slot time, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(u64);

impl Hour {
    /// Wraps the number of hours since the epoch.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }
    /// The hour `at` lies in.
    pub const fn of(at: TimestampMs) -> Self {
        Self(at.get() / HOUR_MS)
    }
    /// The number of hours since the epoch.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// Its first millisecond.
    pub const fn start(self) -> TimestampMs {
        TimestampMs::new(self.0.saturating_mul(HOUR_MS))
    }
    /// The first millisecond after it.
    pub const fn end(self) -> TimestampMs {
        self.next().start()
    }
    /// The hour after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
    /// The hour before it; `None` for the first.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
    /// The hours of the calendar month (UTC) it lies in: 672, 696, 720 or 744.
    ///
    /// Hours beyond the year 9999 count as lying in its last month; no [`Period`] contains them.
    pub fn hours_of_month(self) -> u64 {
        let date = instant(Self(self.0.min(HOUR_MAX - 1)).start()).date_naive();
        u64::from(date.num_days_in_month()) * 24
    }
}

/// The whole hours a bill covers, from the first to before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    from: Hour,
    to: Hour,
}

/// Why two texts do not name a period. The caller shows it to whoever typed them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPeriod {
    /// Not a time.
    #[error(
        "`{text}` is not a time: expected 2026-11-21, 2026-11-21T09:00:00Z or another RFC 3339 time from 1970 to 9999"
    )]
    NotATime {
        /// What was typed.
        text: String,
    },
    /// It ends before, or when, it begins.
    #[error("the period ends at {to}, which is not after its start {from}")]
    Empty {
        /// The start.
        from: String,
        /// The end.
        to: String,
    },
    /// It reaches beyond the year 9999.
    #[error("the period ends after the year 9999")]
    TooLate,
}

impl Period {
    /// The hours from `from` up to and not including `to`.
    pub fn new(from: Hour, to: Hour) -> Result<Self, InvalidPeriod> {
        if to.get() > HOUR_MAX {
            return Err(InvalidPeriod::TooLate);
        }
        if from >= to {
            return Err(InvalidPeriod::Empty { from: text(from.start()), to: text(to.start()) });
        }
        Ok(Self { from, to })
    }

    /// Reads what an operator typed. Without `from` the period begins with the calendar month (UTC) of `now`, without
    /// `to` it ends with the hour of `now`. Times inside an hour are widened to it: usage is metered in whole hours.
    pub fn parse(from: Option<&str>, to: Option<&str>, now: TimestampMs) -> Result<Self, InvalidPeriod> {
        let from = match from {
            Some(text) => parse_time(text)?,
            None => month_start(now),
        };
        let to = match to {
            Some(text) => parse_time(text)?,
            None => Hour::of(now).end(),
        };
        Self::new(Hour::of(from), Hour::new(to.get().div_ceil(HOUR_MS)))
    }

    /// Its first hour.
    pub const fn from(self) -> Hour {
        self.from
    }
    /// The first hour after it.
    pub const fn to(self) -> Hour {
        self.to
    }
    /// Its hours in order.
    pub fn hours(self) -> impl Iterator<Item = Hour> {
        (self.from.get()..self.to.get()).map(Hour::new)
    }
    /// The part of it in `[from, to)`; `None` when there is none.
    pub(crate) fn cut(self, from: Hour, to: Hour) -> Option<Self> {
        Self::new(self.from.max(from), self.to.min(to)).ok()
    }
    /// The calendar months (UTC) that contain it: the first moment of the first, the first moment after the last.
    pub fn months(self) -> (TimestampMs, TimestampMs) {
        let last = TimestampMs::new(self.to.start().get() - 1);
        let days = u64::from(instant(last).date_naive().num_days_in_month());
        (month_start(self.from.start()), TimestampMs::new(month_start(last).get() + days * 24 * HOUR_MS))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", text(self.from.start()), text(self.to.start()))
    }
}

/// A time as RFC 3339 in UTC, to the second, or to the millisecond where there are any.
pub fn text(at: TimestampMs) -> String {
    instant(at).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// The instant; times beyond the year 9999 become its last millisecond.
fn instant(at: TimestampMs) -> DateTime<Utc> {
    let ms = at.get().min(HOUR_MAX * HOUR_MS - 1);
    DateTime::from_timestamp_millis(ms as i64).expect("every millisecond from 1970 to 9999 is a date")
}

fn month_start(at: TimestampMs) -> TimestampMs {
    let date = instant(at).date_naive();
    let days_before = u64::from(date.day0());
    let day = at.get().min(HOUR_MAX * HOUR_MS - 1) / (24 * HOUR_MS);
    TimestampMs::new((day - days_before) * 24 * HOUR_MS)
}

fn parse_time(text: &str) -> Result<TimestampMs, InvalidPeriod> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|date| date.and_time(NaiveTime::MIN).and_utc());
    let time = day.or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc())).ok();
    time.and_then(|time| u64::try_from(time.timestamp_millis()).ok())
        .map(TimestampMs::new)
        .ok_or_else(|| InvalidPeriod::NotATime { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T09:06:41.500Z.
    const NOW: TimestampMs = TimestampMs::new(1_795_252_001_500);

    fn check(from: Option<&str>, to: Option<&str>, expected: &str) {
        let period = Period::parse(from, to, NOW).expect("the period is valid");
        assert_eq!(period.to_string(), expected);
    }

    #[test]
    fn without_times_the_period_is_the_month_up_to_this_hour() {
        check(None, None, "2026-11-01T00:00:00Z to 2026-11-21T10:00:00Z");
    }

    #[test]
    fn times_inside_an_hour_are_widened_to_it() {
        let (from, to) = (Some("2026-11-20T08:59:59Z"), Some("2026-11-20T10:00:01Z"));
        check(from, to, "2026-11-20T08:00:00Z to 2026-11-20T11:00:00Z");
        check(
            Some("2026-11-20T08:00:00Z"),
            Some("2026-11-20T10:00:00Z"),
            "2026-11-20T08:00:00Z to 2026-11-20T10:00:00Z",
        );
    }

    #[test]
    fn days_and_zones_are_understood() {
        check(Some("2026-11-20"), Some("2026-11-21"), "2026-11-20T00:00:00Z to 2026-11-21T00:00:00Z");
        check(
            Some("2026-11-20T02:00:00+02:00"),
            Some("2026-11-21"),
            "2026-11-20T00:00:00Z to 2026-11-21T00:00:00Z",
        );
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_was_expected() {
        for text in ["yesterday", "", "2026-13-01", "1969-12-31", "2026-11-20T08:00:00"] {
            let refused = Period::parse(Some(text), None, NOW).expect_err("not a time");
            assert_eq!(refused, InvalidPeriod::NotATime { text: text.to_owned() });
        }
    }

    #[test]
    fn an_empty_or_endless_period_is_refused() {
        let refused = Period::parse(Some("2026-11-22"), None, NOW).expect_err("it begins in the future");
        assert!(matches!(refused, InvalidPeriod::Empty { .. }));
        assert_eq!(Period::new(Hour::new(0), Hour::new(u64::MAX)), Err(InvalidPeriod::TooLate));
    }

    #[test]
    fn a_month_has_its_own_number_of_hours() {
        let hours = |day: &str| Hour::of(parse_time(day).expect("a day")).hours_of_month();
        assert_eq!(hours("2026-02-01"), 672);
        assert_eq!(hours("2028-02-29"), 696);
        assert_eq!(hours("2026-11-30"), 720);
        assert_eq!(hours("2026-12-31"), 744);
        assert_eq!(hours("9999-12-31"), 744);
        assert_eq!(Hour::new(u64::MAX).hours_of_month(), 744);
    }

    #[test]
    fn the_months_of_a_period_contain_it() {
        let months = |from, to| {
            let period = Period::parse(Some(from), Some(to), NOW).expect("a period");
            let (start, end) = period.months();
            format!("{} {}", text(start), text(end))
        };
        assert_eq!(months("2026-11-20", "2026-11-21"), "2026-11-01T00:00:00Z 2026-12-01T00:00:00Z");
        assert_eq!(months("2026-11-01", "2026-12-01"), "2026-11-01T00:00:00Z 2026-12-01T00:00:00Z");
        assert_eq!(months("2025-12-31", "2026-02-02"), "2025-12-01T00:00:00Z 2026-03-01T00:00:00Z");
    }
}
