//! The quotas of a cluster: which there are, and what holds where the operator set nothing.
//!
//! The defaults are those of Amazon MSK Serverless ("Quotas for Amazon MSK Serverless" of its Developer Guide); MB there is
//! taken as 2^20 bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

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

/// One row per quota: variant, the number it has in calls (never reused), name, least, default, greatest, and what it limits.
macro_rules! quotas {
    ($($variant:ident = $number:literal $name:literal $min:expr, $default:expr, $max:expr, $what:literal;)+) => {
        /// A quota, by the name an operator sets it with.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
        )]
        #[cbor(index_only)]
        pub enum QuotaKey {
            $(#[doc = $what] #[serde(rename = $name)] #[n($number)] $variant,)+
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

            const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)+ }
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
    BytesInPerSecond = 0 "bytes_in_per_second" KIB, 200 * MIB, 1 << 50,
        "bytes of requests a second, all clients together";
    BytesOutPerSecond = 1 "bytes_out_per_second" KIB, 400 * MIB, 1 << 50,
        "bytes of fetched records a second, all clients together";
    RequestsPerSecond = 2 "requests_per_second" 1, 15_000, 1 << 30,
        "requests a second, all clients together";
    PartitionBytesInPerSecond = 3 "partition_bytes_in_per_second" KIB, 5 * MIB, 1 << 50,
        "bytes written to one partition a second, when the cluster has nothing to lend";
    PartitionBytesOutPerSecond = 4 "partition_bytes_out_per_second" KIB, 10 * MIB, 1 << 50,
        "bytes read from one partition a second, when the cluster has nothing to lend";
    ConnectionsMax = 5 "connections_max" 1, 3_000, 1 << 24,
        "authenticated connections";
    ConnectionAttemptsPerSecond = 6 "connection_attempts_per_second" 1, 100, 1 << 20,
        "new connections a second whose signature verified";
    TopicOperationsPerSecond = 7 "topic_operations_per_second" 1, 2, 1 << 20,
        "requests a second that create, change or delete topics";
    PartitionChangesPer5Minutes = 8 "partition_changes_per_5_minutes" 1, 250, 1 << 24,
        "partitions created and deleted in five minutes";
    PartitionsMax = 9 "partitions_max" 1, 2_400, 1 << 20,
        "partitions of topics that are not compacted";
    CompactedPartitionsMax = 10 "compacted_partitions_max" 0, 120, 1 << 20,
        "partitions of compacted topics";
    GroupsMax = 11 "groups_max" 0, 500, 10_000,
        "consumer groups";
    MessageBytesMax = 12 "message_bytes_max" KIB, 8 * MIB, 100 * MIB,
        "bytes of one record batch";
    FetchBytesMax = 13 "fetch_bytes_max" KIB, 55 * MIB, 100 * MIB,
        "bytes of one Fetch answer";
    CompactedPartitionBytesMax = 14 "compacted_partition_bytes_max" KIB, 250 * GIB, 1 << 60,
        "bytes of one partition of a compacted topic";
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
/// In calls it is a map from the quotas' numbers, so that processes of two releases understand one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits([u64; COUNT]);

impl Default for QuotaLimits {
    fn default() -> Self {
        Self(std::array::from_fn(|index| QuotaKey::ALL[index].default_value()))
    }
}

impl<C> Encode<C> for QuotaLimits {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.map(QuotaKey::ALL.len() as u64)?;
        for key in QuotaKey::ALL {
            encoder.encode_with(key, context)?.u64(self.get(*key))?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for QuotaLimits {
    /// A quota that is not told has its default; what this release does not know, or cannot have, is passed over.
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let mut limits = Self::default();
        for pair in decoder.map_iter::<u32, u64>()? {
            let (number, value) = pair?;
            let key = QuotaKey::ALL.iter().find(|key| key.number() == number);
            if let Some(key) = key
                && let Ok(value) = key.check(value)
            {
                limits.0[*key as usize] = value;
            }
        }
        Ok(limits)
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
    fn limits_travel_by_number_and_of_two_releases_each_takes_what_it_knows() {
        let limits = QuotaLimits::with(&BTreeMap::from([("groups_max".to_owned(), 3)]));
        let encoded = minicbor::to_vec(limits).expect("memory does not fail");
        assert_eq!(minicbor::decode::<QuotaLimits>(&encoded).expect("our own bytes"), limits);
        // groups_max = 5, one of the future, and a value that is out of range.
        assert_eq!(QuotaKey::GroupsMax.number(), 11);
        let other = minicbor::decode::<QuotaLimits>(&[0xa3, 0x0b, 0x05, 0x18, 0xc8, 0x01, 0x02, 0x00]);
        let expected = QuotaLimits::with(&BTreeMap::from([("groups_max".to_owned(), 5)]));
        assert_eq!(other.expect("well formed"), expected);
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
