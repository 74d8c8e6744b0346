//! A moment in time, as every function of this crate takes it: the crate has no clock of its own.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Displays as RFC 3339 in UTC with whole seconds, `2026-01-02T03:04:05Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The moment `millis` milliseconds after the epoch; negative values lie before it.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The moment `seconds` seconds after the epoch, saturating at the ends of the range.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment minus `duration`, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this moment lies; zero if it does not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// `yyyyMMdd'T'HHmmss'Z'`, the form of `X-Amz-Date`.
    pub fn to_amz_date(self) -> String {
        self.format("%Y%m%dT%H%M%SZ")
    }

    /// Parses the form of `X-Amz-Date`, exactly 16 characters. `None` for anything else and for years before 1970.
    pub fn parse_amz_date(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let well_formed = bytes.len() == 16
            && bytes[8] == b'T'
            && bytes[15] == b'Z'
            && bytes[..8].iter().chain(&bytes[9..15]).all(u8::is_ascii_digit);
        if !well_formed {
            return None;
        }
        let parsed = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok()?;
        let seconds = parsed.and_utc().timestamp();
        (seconds >= 0).then(|| Self::from_seconds(seconds))
    }

    /// Parses what IAM accepts in a date condition: ISO 8601 (W3C profile: date, or date and time with zone) or
    /// seconds since the epoch.
    pub fn parse_condition_date(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<i64>() {
            // A bare year, such as `2026`, is a W3C date too; an epoch that small would lie in January 1970.
            if text.len() == 4 {
                let year = i32::try_from(seconds).ok()?;
                return Self::midnight(NaiveDate::from_ymd_opt(year, 1, 1)?);
            }
            return Some(Self::from_seconds(seconds));
        }
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(moment.timestamp_millis()));
        }
        if let Ok(moment) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%MZ") {
            return Some(Self(moment.and_utc().timestamp_millis()));
        }
        Self::midnight(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?)
    }

    fn midnight(date: NaiveDate) -> Option<Self> {
        Some(Self(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis()))
    }

    /// For `aws_sigv4`, which wants a `SystemTime`. Moments before the epoch are the epoch: `parse_amz_date` makes none.
    pub(crate) fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.max(0).unsigned_abs())
    }

    fn format(self, pattern: &str) -> String {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(moment) => moment.format(pattern).to_string(),
            None => format!("{} ms", self.0),
        }
    }
}

impl From<SystemTime> for UnixTime {
    /// Saturates: moments before the epoch become the epoch.
    fn from(time: SystemTime) -> Self {
        Self(0).plus(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amz_date_round_trips_through_its_text() {
        let time = UnixTime::parse_amz_date("20260102T030405Z").unwrap();
        assert_eq!(time.as_seconds(), 1_767_323_045);
        assert_eq!(time.to_amz_date(), "20260102T030405Z");
        assert_eq!(time.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn amz_dates_of_any_other_form_are_refused() {
        for text in [
            "",
            "20260102T030405",
            "2026-01-02T03:04:05Z",
            "20261302T030405Z",
            "20260230T030405Z",
            "+0260102T030405Z",
            "20260102 030405Z",
            "19691231T235959Z",
            "20260102T030405ZZ",
            "２0260102T0304",
        ] {
            assert_eq!(UnixTime::parse_amz_date(text), None, "{text}");
        }
    }

    #[test]
    fn condition_dates_may_be_iso_dates_moments_or_epoch_seconds() {
        let expected = Some(UnixTime::from_seconds(1_767_225_600));
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+01:00",
            "2026-01-01T00:00Z",
            "2026-01-01",
            "2026",
            "1767225600",
        ] {
            assert_eq!(UnixTime::parse_condition_date(text), expected, "{text}");
        }
        assert_eq!(UnixTime::parse_condition_date("yesterday"), None);
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = UnixTime::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(UnixTime::from_millis(0).since(end), Duration::ZERO);
        assert!(!end.to_string().is_empty());
    }
}
