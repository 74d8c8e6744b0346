//! The quotas of a cluster: which there are, and what holds where the operator set nothing.
//!
//! The defaults are those of Amazon MSK Serverless ("Quotas for Amazon MSK Serverless" of its Developer Guide); MB there is
//! taken as 2^20 bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A value that a quota cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaInvalid {
    /// There is no such quota. Ask for the list.
    #[error("there is no quota named `{0}`")]
    Unknown(String),
    /// The value is outside of what the quota can be.
    #[error("{key} must be from {min} to {max}, not {value}")]
    OutOfRange {
        /// The quota.
        key: QuotaKey,
        /// What was asked for.
        value: u64,
        /// The least it can be.
        min: u64,
        /// The most it can be.
        max: u64,
    },
}

/// One row per quota: variant, name, least, default, greatest, and what it limits.
macro_rules! quotas {
    ($($variant:ident $name:literal $min:expr, $default:expr, $max:expr, $what:literal;)+) => {
        /// A quota, by the name an operator sets it with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum QuotaKey {
            $(#[doc = $what] #[serde(rename = $name)] $variant,)+
        }

        impl QuotaKey {
            /// All of them, in the order in which they are listed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name, as in `headgate quota set NAME=VALUE`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What holds where the operator set nothing.
            pub const fn default_value(self) -> u64 {
                match self { $(Self::$variant => $default,)+ }
            }

            /// What it limits, in a few words.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }

            const fn range(self) -> (u64, u64) {
                match self { $(Self::$variant => ($min, $max),)+ }
            }
        }

        const COUNT: usize = [$(QuotaKey::$variant,)+].len();
    };
}

quotas! {
    BytesInPerSecond "bytes_in_per_second" KIB, 200 * MIB, 1 << 50,
        "bytes of requests a second, all clients together";
    BytesOutPerSecond "bytes_out_per_second" KIB, 400 * MIB, 1 << 50,
        "bytes of fetched records a second, all clients together";
    RequestsPerSecond "requests_per_second" 1, 15_000, 1 << 30,
        "requests a second, all clients together";
    PartitionBytesInPerSecond "partition_bytes_in_per_second" KIB, 5 * MIB, 1 << 50,
        "bytes written to one partition a second, when the cluster has nothing to lend";
    PartitionBytesOutPerSecond "partition_bytes_out_per_second" KIB, 10 * MIB, 1 << 50,
        "bytes read from one partition a second, when the cluster has nothing to lend";
    ConnectionsMax "connections_max" 1, 3_000, 1 << 24,
        "authenticated connections";
    ConnectionAttemptsPerSecond "connection_attempts_per_second" 1, 100, 1 << 20,
        "new connections a second whose signature verified";
    TopicOperationsPerSecond "topic_operations_per_second" 1, 2, 1 << 20,
        "requests a second that create, change or delete topics";
    PartitionChangesPer5Minutes "partition_changes_per_5_minutes" 1, 250, 1 << 24,
        "partitions created and deleted in five minutes";
    PartitionsMax "partitions_max" 1, 2_400, 1 << 20,
        "partitions of topics that are not compacted";
    CompactedPartitionsMax "compacted_partitions_max" 0, 120, 1 << 20,
        "partitions of compacted topics";
    GroupsMax "groups_max" 0, 500, 10_000,
        "consumer groups";
    MessageBytesMax "message_bytes_max" KIB, 8 * MIB, 100 * MIB,
        "bytes of one record batch";
    FetchBytesMax "fetch_bytes_max" KIB, 55 * MIB, 100 * MIB,
        "bytes of one Fetch answer";
}

impl QuotaKey {
    /// The value, if the quota can have it.
    pub fn check(self, value: u64) -> Result<u64, QuotaInvalid> {
        let (min, max) = self.range();
        if (min..=max).contains(&value) {
            Ok(value)
        } else {
            Err(QuotaInvalid::OutOfRange { key: self, value, min, max })
        }
    }
}

impl fmt::Display for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for QuotaKey {
    type Err = QuotaInvalid;
    fn from_str(text: &str) -> Result<Self, QuotaInvalid> {
        let found = Self::ALL.iter().find(|key| key.name() == text);
        found.copied().ok_or_else(|| QuotaInvalid::Unknown(text.to_owned()))
    }
}

/// What holds for a cluster: a value for every quota.
///
/// It is written by names, so that processes of two versions understand one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, u64>", into = "BTreeMap<String, u64>")]
pub struct QuotaLimits([u64; COUNT]);

impl Default for QuotaLimits {
    fn default() -> Self {
        Self(std::array::from_fn(|index| QuotaKey::ALL[index].default_value()))
    }
}

impl From<BTreeMap<String, u64>> for QuotaLimits {
    fn from(set: BTreeMap<String, u64>) -> Self {
        Self::with(&set)
    }
}

impl From<QuotaLimits> for BTreeMap<String, u64> {
    fn from(limits: QuotaLimits) -> Self {
        QuotaKey::ALL.iter().map(|key| (key.name().to_owned(), limits.get(*key))).collect()
    }
}

impl QuotaLimits {
    /// The defaults, but for what is set here. Names that this version does not know, and values it cannot have, are passed
    /// over: a newer process wrote them.
    pub fn with(set: &BTreeMap<String, u64>) -> Self {
        let mut limits = Self::default();
        for (name, value) in set {
            if let Ok(key) = name.parse::<QuotaKey>()
                && let Ok(value) = key.check(*value)
            {
                limits.0[key as usize] = value;
            }
        }
        limits
    }

    /// The quota's value.
    pub const fn get(&self, key: QuotaKey) -> u64 {
        self.0[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_is_found_by_its_name_and_can_have_its_default() {
        for key in QuotaKey::ALL {
            assert_eq!(key.name().parse(), Ok(*key));
            assert_eq!(key.check(key.default_value()), Ok(key.default_value()), "{key}");
        }
        assert_eq!("speed".parse::<QuotaKey>(), Err(QuotaInvalid::Unknown("speed".into())));
    }

    #[test]
    fn limits_are_read_back_as_they_were_written() {
        let limits = QuotaLimits::with(&BTreeMap::from([("groups_max".to_owned(), 3)]));
        let text = serde_json::to_string(&limits).expect("numbers");
        assert_eq!(serde_json::from_str::<QuotaLimits>(&text).expect("as written"), limits);
    }

    #[test]
    fn what_is_set_takes_the_place_of_the_default_and_of_nothing_else() {
        let set = BTreeMap::from([("requests_per_second".to_owned(), 7), ("of_the_future".to_owned(), 1)]);
        let limits = QuotaLimits::with(&set);
        assert_eq!(limits.get(QuotaKey::RequestsPerSecond), 7);
        assert_eq!(limits.get(QuotaKey::BytesInPerSecond), 200 * MIB);
    }

    #[test]
    fn a_value_that_would_stop_everything_is_refused_and_not_taken_over() {
        let refused = QuotaKey::RequestsPerSecond.check(0).expect_err("zero stops a cluster");
        assert_eq!(refused.to_string(), "requests_per_second must be from 1 to 1073741824, not 0");
        let set = BTreeMap::from([("requests_per_second".to_owned(), 0)]);
        assert_eq!(QuotaLimits::with(&set), QuotaLimits::default());
    }
}
