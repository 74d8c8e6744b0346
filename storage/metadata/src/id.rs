//! Every identity and quantity of a cell, each a type of its own.
//!
//! Invariants: a value that exists is valid, so nobody checks again; raw integers exist only inside codecs. Text forms serve
//! people and records (JSON), the compact ones of minicbor the calls between processes.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    /// The text that was offered.
    pub text: String,
    /// What would have been right, in words.
    pub expected: &'static str,
}

/// Declares a newtype over an unsigned integer with a decimal text form.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[derive(Encode, Decode)]
        #[serde(transparent)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] $raw);

        impl $name {
            /// Wraps the raw number.
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }
            /// The raw number, for codecs and arithmetic on lengths.
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.parse().map(Self).map_err(|_| InvalidId {
                    text: text.to_owned(),
                    expected: concat!("a decimal ", stringify!($name)),
                })
            }
        }
    };
}

number! {
    /// A partition's index in its topic, from 0.
    PartitionId(u32)
}
number! {
    /// A fixed bucket of partitions, groups and transactional ids; the unit of ownership (`PROTOCOL.md` §16).
    SlotId(u16)
}
number! {
    /// Grows at each change of a slot's owner; it *is* Kafka's leader epoch of the slot's partitions. From 1.
    SlotEpoch(u32)
}
number! {
    /// A record's position in its partition's log. Assigned from 0 without gaps, never reused.
    Offset(u64)
}
number! {
    /// A number a process draws at every start from a counter in the metadata store; never reused.
    Incarnation(u64)
}
number! {
    /// A storage node's configured number.
    NodeId(u32)
}
number! {
    /// A byte position in one WAL, from 0.
    WalPosition(u64)
}
number! {
    /// Names the data key a block is encrypted with; 0 = not encrypted (`PROTOCOL.md` §15).
    KeyId(u32)
}
number! {
    /// An idempotent or transactional producer's id (KIP-98), unique within the cell.
    ProducerId(u64)
}
number! {
    /// A producer's fence (KIP-98). On the wire an INT16 that is never negative once assigned.
    ProducerEpoch(u16)
}
number! {
    /// What clients call a broker: one of the names of a cluster, not a process. From 1.
    BrokerId(u32)
}
number! {
    /// The metadata store's version; grows with every committed transaction.
    Revision(u64)
}
number! {
    /// A cumulative count of bytes.
    ByteCount(u64)
}
number! {
    /// Milliseconds since the Unix epoch.
    TimestampMs(u64)
}

/// Kafka's name for the slot epoch, as clients see it.
pub type LeaderEpoch = SlotEpoch;

impl Offset {
    /// Decodes the wire's INT64; `None` for negative values: the protocol writes -1 for "no offset".
    pub fn from_wire(raw: i64) -> Option<Self> {
        u64::try_from(raw).ok().map(Self)
    }
    /// The wire's INT64.
    pub fn to_wire(self) -> i64 {
        self.0 as i64
    }
    /// The offset `count` records later.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl SlotEpoch {
    /// The epoch of the next owner.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
    /// The wire's INT32.
    pub fn to_wire(self) -> i32 {
        self.0 as i32
    }
}

impl WalPosition {
    /// The position `bytes` later.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// The owner of clusters and principals: a 12-digit id, as in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

impl AccountId {
    /// Checks that the number has at most twelve digits.
    pub fn checked(raw: u64) -> Option<Self> {
        (raw <= 999_999_999_999).then_some(Self(raw))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl FromStr for AccountId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        let raw = valid.then(|| text.parse().ok()).flatten();
        raw.map(Self)
            .ok_or_else(|| InvalidId { text: text.to_owned(), expected: "an account id of 12 digits" })
    }
}

/// A virtual Kafka cluster, which is what a tenant sees: 8 characters of `[a-z0-9]`, as in its host names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId([u8; 8]);

impl ClusterId {
    /// The eight ASCII bytes, as formats store them.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
    /// Reads the stored form; `None` unless all bytes are `[a-z0-9]`.
    pub fn from_bytes(raw: [u8; 8]) -> Option<Self> {
        raw.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).then_some(Self(raw))
    }
    /// The text form.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the constructor admits ASCII only")
    }
    /// Makes an id from 64 random bits.
    pub fn from_random(mut bits: u64) -> Self {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        Self(std::array::from_fn(|_| {
            let letter = ALPHABET[(bits % 36) as usize];
            bits /= 36;
            letter
        }))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let raw: Option<[u8; 8]> = text.as_bytes().try_into().ok();
        raw.and_then(Self::from_bytes).ok_or_else(|| InvalidId {
            text: text.to_owned(),
            expected: "a cluster id of 8 characters from a-z and 0-9",
        })
    }
}

/// A topic's UUID, never reused; all zeros is the wire's "no id" and cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(Uuid);

impl TopicId {
    /// Wraps a UUID; `None` for the nil UUID, which the protocol uses for "no id".
    pub fn from_uuid(uuid: Uuid) -> Option<Self> {
        (!uuid.is_nil()).then_some(Self(uuid))
    }
    /// Draws a new random id (UUID version 4) from 128 random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
    }
    /// The UUID, for the wire.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
    /// The sixteen bytes, as formats store them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
    /// Reads the stored form; `None` for all zeros.
    pub fn from_bytes(raw: [u8; 16]) -> Option<Self> {
        Self::from_uuid(Uuid::from_bytes(raw))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let uuid = Uuid::parse_str(text).ok().and_then(Self::from_uuid);
        uuid.ok_or_else(|| InvalidId { text: text.to_owned(), expected: "a topic UUID other than all zeros" })
    }
}

/// The log of one incarnation of a node. Text form `node-incarnation`, as in keys and file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct WalId {
    /// The node whose log it is.
    #[n(0)]
    pub node: NodeId,
    /// Which start of that node.
    #[n(1)]
    pub incarnation: Incarnation,
}

impl fmt::Display for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node, self.incarnation)
    }
}

impl FromStr for WalId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parsed = text
            .split_once('-')
            .and_then(|(node, incarnation)| Some((node.parse().ok()?, incarnation.parse().ok()?)));
        let (node, incarnation) = parsed.ok_or_else(|| InvalidId {
            text: text.to_owned(),
            expected: "a WAL id of the form node-incarnation",
        })?;
        Ok(Self { node, incarnation })
    }
}

/// A partition inside a cell. The cluster is part of the identity: nothing is ever looked up without it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub struct PartitionKey {
    /// The tenant.
    #[n(0)]
    pub cluster: ClusterId,
    /// The topic.
    #[n(1)]
    pub topic: TopicId,
    /// The partition's index.
    #[n(2)]
    pub partition: PartitionId,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.cluster, self.topic, self.partition)
    }
}

/// Serialises a type through its text form.
macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
as_text!(AccountId, ClusterId, TopicId, WalId);

/// Encodes a type as the bytes formats store, checked when they are read.
macro_rules! as_stored_bytes {
    ($($name:ident),+) => {$(
        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.bytes(self.as_bytes())?.ok()
            }
        }
        impl<'b, C> Decode<'b, C> for $name {
            fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let raw = decoder.bytes()?.try_into().ok().and_then(Self::from_bytes);
                raw.ok_or_else(|| minicbor::decode::Error::message(concat!("not a ", stringify!($name))))
            }
        }
    )+};
}
as_stored_bytes!(ClusterId, TopicId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_its_own_text() {
        let wal = WalId { node: NodeId::new(3), incarnation: Incarnation::new(17) };
        assert_eq!(wal.to_string().parse(), Ok(wal));
        let cluster = ClusterId::from_random(0x1234_5678_9abc_def0);
        assert_eq!(cluster.to_string().parse(), Ok(cluster));
        let topic = TopicId::from_random(42);
        assert_eq!(topic.to_string().parse(), Ok(topic));
        let account = AccountId::checked(42).expect("42 has at most twelve digits");
        assert_eq!(account.to_string(), "000000000042");
        assert_eq!("000000000042".parse(), Ok(account));
    }

    #[test]
    fn a_text_that_is_no_identity_is_refused_with_what_was_expected() {
        assert!("UPPERCAS".parse::<ClusterId>().is_err());
        assert!("short".parse::<ClusterId>().is_err());
        assert!("00000000-0000-0000-0000-000000000000".parse::<TopicId>().is_err());
        assert!("42".parse::<AccountId>().is_err());
        let refused = "3".parse::<WalId>().expect_err("a WAL id has two parts");
        assert_eq!(refused.to_string(), "`3` is not a WAL id of the form node-incarnation");
    }

    fn compact<T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + fmt::Debug>(value: &T, golden: &[u8]) {
        let encoded = minicbor::to_vec(value).expect("memory does not fail");
        assert_eq!(encoded, golden);
        assert_eq!(minicbor::decode::<T>(&encoded).expect("our own bytes"), *value);
    }

    #[test]
    fn compact_forms_are_pinned_by_golden_bytes() {
        compact(&Offset::new(500), &[0x19, 0x01, 0xf4]);
        compact(&WalId { node: NodeId::new(3), incarnation: Incarnation::new(17) }, &[0x82, 3, 17]);
        let cluster: ClusterId = "abcd1234".parse().expect("a cluster id");
        compact(&cluster, b"\x48abcd1234");
        let topic = TopicId::from_bytes([7; 16]).expect("sevens are not nil");
        compact(&topic, &[&[0x50][..], &[7; 16]].concat());
        let key = PartitionKey { cluster, topic, partition: PartitionId::new(2) };
        compact(&key, &[&[0x83][..], b"\x48abcd1234", &[0x50], &[7; 16], &[2]].concat());
    }

    #[test]
    fn compact_bytes_that_are_no_identity_are_refused() {
        assert!(minicbor::decode::<ClusterId>(b"\x48UPPERCAS").is_err());
        assert!(minicbor::decode::<ClusterId>(b"\x45short").is_err());
        assert!(minicbor::decode::<TopicId>(&[&[0x50][..], &[0; 16]].concat()).is_err());
    }

    #[test]
    fn a_negative_wire_offset_is_no_offset() {
        assert_eq!(Offset::from_wire(-1), None);
        assert_eq!(Offset::from_wire(7), Some(Offset::new(7)));
    }
}
