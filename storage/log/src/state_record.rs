//! The kinds of state records that this crate understands, and the layout of their keys and values.
//!
//! All other kinds are upserts that pass through by key, never looked into (`storage/PROTOCOL.md` §6.2). Keys begin
//! with the partition in big-endian, so that they sort as people expect; values are little-endian.
//!
//! ```text
//! kind         key                                                        value
//! UsageMark    topic [16], partition u32 BE, hour u32 BE                  counters (usage.rs), 48 bytes
//! LogStart     topic [16], partition u32 BE                               offset u64, stored bytes (usage.rs), 40 bytes
//! Removed      topic [16] (a topic), or nothing (the whole cluster)       time u64
//! SentBytes    topic [16], partition u32 BE, gateway incarnation u64 BE   last figure u64, bytes out of the partition u64
//! Inherited    nothing                                                    u8 has applied, u32 applied epoch, u64 applied position,
//!                                                                         u32 count, span …
//! span         u32 epoch, WAL id (u32 node, u64 incarnation), u64 to, u64 last, u8 ends there
//! ```

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{
    ByteCount, ClusterId, Incarnation, Offset, PartitionId, PartitionKey, SlotEpoch, TimestampMs, TopicId,
    WalId, WalPosition,
};
use headgate_metadata::record::Applied;
use serde::{Deserialize, Serialize};

use crate::codec::{Decoder, Encode as _, FormatError};
use crate::usage::{StoredBytes, UsageCounters};

/// The bytes of one span of [`Inherited`].
const SPAN_BYTES: usize = 33;

/// A partition's cumulative counters as of an hour mark.
pub const USAGE_MARK: u8 = 3;
/// A partition's log start offset, where retention or a user moved it.
pub const LOG_START: u8 = 4;
/// A topic or a cluster that was removed.
pub const REMOVED: u8 = 5;
/// Bytes sent, as last reported by one gateway incarnation for one partition.
pub const SENT_BYTES: u8 = 6;

/// What a slot's life under its epoch follows: the first record of that life.
pub const INHERITED: u8 = 7;

/// The mark of one partition at the end of one hour. Cumulative; it *sets* the partition's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageMark {
    /// The partition.
    pub partition: PartitionKey,
    /// The hour that ended, counted from the Unix epoch.
    pub hour: u32,
    /// The counters at its end.
    pub counters: UsageCounters,
}

/// A moved log start. It *sets* the stored bytes as well, since moving it is what shrinks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStart {
    /// The partition.
    pub partition: PartitionKey,
    /// The first offset still readable.
    pub offset: Offset,
    /// The stored bytes once everything below is gone.
    pub stored: StoredBytes,
}

/// A removal: of a topic, or of the whole cluster if `topic` is `None`. Nothing is ever appended to it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The tenant.
    pub cluster: ClusterId,
    /// The topic.
    pub topic: Option<TopicId>,
    /// When; the stored bytes end here.
    pub at: TimestampMs,
}

/// What a gateway has sent. It *sets* the partition's bytes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBytes {
    /// The partition.
    pub partition: PartitionKey,
    /// The gateway's incarnation, which its figures are cumulative within.
    pub gateway: Incarnation,
    /// The last cumulative figure that incarnation reported.
    pub reported: ByteCount,
    /// The partition's bytes out of all gateways, this report included.
    pub bytes_out: ByteCount,
}

/// The first record of a slot's life under an epoch: what came before, as far as no manifest contained it. So the logs tell of
/// themselves which of their parts belong together, and a part that is missing is missed (`storage/PROTOCOL.md` §6.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// What the manifest contained.
    pub applied: Option<Applied>,
    /// The lives above that, in epoch order; those without a record are left out.
    pub spans: Vec<InheritedSpan>,
}

/// An earlier life of a slot, with at least one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InheritedSpan {
    /// Its epoch.
    pub epoch: SlotEpoch,
    /// Where it was lived.
    pub wal: WalId,
    /// Where it ended there: what lies at or above does not count.
    pub to: WalPosition,
    /// The header of its last record.
    pub last: WalPosition,
    /// Whether the WAL itself ended there.
    pub ends: bool,
}

fn partition_key_bytes(partition: &PartitionKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(28);
    key.put_slice(partition.topic.as_bytes());
    key.put_u32(partition.partition.get());
    key
}

fn read_partition(fields: &mut Decoder<'_>, cluster: ClusterId) -> Result<PartitionKey, FormatError> {
    let topic = fields.topic()?;
    let partition = PartitionId::new(u32::from_be_bytes(fields.array("partition")?));
    Ok(PartitionKey { cluster, topic, partition })
}

impl UsageMark {
    /// The key.
    pub fn key(&self) -> Bytes {
        let mut key = partition_key_bytes(&self.partition);
        key.put_u32(self.hour);
        key.into()
    }
    /// The value.
    pub fn value(&self) -> Bytes {
        let mut value = Vec::with_capacity(48);
        self.counters.encode(&mut value);
        value.into()
    }
    /// Reads key and value.
    pub fn decode(cluster: ClusterId, key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Decoder::new(key);
        let partition = read_partition(&mut fields, cluster)?;
        let hour = u32::from_be_bytes(fields.array("hour")?);
        fields.end("the key of a usage mark")?;
        let mut fields = Decoder::new(value);
        let counters = UsageCounters::decode(&mut fields)?;
        fields.end("a usage mark")?;
        Ok(Self { partition, hour, counters })
    }
}

impl LogStart {
    /// The key.
    pub fn key(&self) -> Bytes {
        partition_key_bytes(&self.partition).into()
    }
    /// The value.
    pub fn value(&self) -> Bytes {
        let mut value = Vec::with_capacity(40);
        value.put_u64_le(self.offset.get());
        self.stored.encode(&mut value);
        value.into()
    }
    /// Reads key and value.
    pub fn decode(cluster: ClusterId, key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Decoder::new(key);
        let partition = read_partition(&mut fields, cluster)?;
        fields.end("the key of a log start")?;
        let mut fields = Decoder::new(value);
        let offset = fields.offset("log start offset")?;
        let stored = StoredBytes::decode(&mut fields)?;
        fields.end("a log start")?;
        Ok(Self { partition, offset, stored })
    }
}

impl Removed {
    /// The key.
    pub fn key(&self) -> Bytes {
        self.topic.map(|topic| Bytes::copy_from_slice(topic.as_bytes())).unwrap_or_default()
    }
    /// The value.
    pub fn value(&self) -> Bytes {
        Bytes::copy_from_slice(&self.at.get().to_le_bytes())
    }
    /// Reads key and value.
    pub fn decode(cluster: ClusterId, key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Decoder::new(key);
        let topic = if key.is_empty() { None } else { Some(fields.topic()?) };
        fields.end("the key of a removal")?;
        let mut fields = Decoder::new(value);
        let at = fields.time("removal time")?;
        fields.end("a removal")?;
        Ok(Self { cluster, topic, at })
    }
    /// Whether it takes the partition with it.
    pub fn covers(&self, partition: &PartitionKey) -> bool {
        partition.cluster == self.cluster && self.topic.is_none_or(|topic| partition.topic == topic)
    }
}

impl SentBytes {
    /// The key.
    pub fn key(&self) -> Bytes {
        let mut key = partition_key_bytes(&self.partition);
        key.put_u64(self.gateway.get());
        key.into()
    }
    /// The value.
    pub fn value(&self) -> Bytes {
        let mut value = Vec::with_capacity(16);
        value.put_u64_le(self.reported.get());
        value.put_u64_le(self.bytes_out.get());
        value.into()
    }
    /// Reads key and value.
    pub fn decode(cluster: ClusterId, key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Decoder::new(key);
        let partition = read_partition(&mut fields, cluster)?;
        let gateway = Incarnation::new(u64::from_be_bytes(fields.array("gateway")?));
        fields.end("the key of sent bytes")?;
        let mut fields = Decoder::new(value);
        let reported = ByteCount::new(fields.u64("reported")?);
        let bytes_out = ByteCount::new(fields.u64("bytes out")?);
        fields.end("sent bytes")?;
        Ok(Self { partition, gateway, reported, bytes_out })
    }
}

impl Inherited {
    /// The cluster it is filed under: it is nobody's, and the same for every slot.
    pub fn cluster() -> ClusterId {
        ClusterId::from_random(0)
    }
    /// The value. The key is empty: a slot has one.
    pub fn value(&self) -> Bytes {
        let mut value = Vec::with_capacity(17 + self.spans.len() * SPAN_BYTES);
        value.put_u8(u8::from(self.applied.is_some()));
        value.put_u32_le(self.applied.map_or(0, |applied| applied.epoch.get()));
        value.put_u64_le(self.applied.map_or(0, |applied| applied.position.get()));
        value.put_u32_le(self.spans.len() as u32);
        for span in &self.spans {
            value.put_u32_le(span.epoch.get());
            value.put_wal(span.wal);
            value.put_u64_le(span.to.get());
            value.put_u64_le(span.last.get());
            value.put_u8(u8::from(span.ends));
        }
        value.into()
    }
    /// Reads the value.
    pub fn decode(value: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Decoder::new(value);
        let has_applied = fields.flag("has applied")?;
        let applied = Applied { epoch: fields.slot_epoch()?, position: fields.position("applied position")? };
        let count = fields.count(SPAN_BYTES, "span count")?;
        let span = |_| {
            Ok(InheritedSpan {
                epoch: fields.slot_epoch()?,
                wal: fields.wal()?,
                to: fields.position("span end")?,
                last: fields.position("last record")?,
                ends: fields.flag("ends there")?,
            })
        };
        let spans = (0..count).map(span).collect::<Result<_, FormatError>>()?;
        fields.end("what a slot inherited")?;
        Ok(Self { applied: has_applied.then_some(applied), spans })
    }
}

/// The partition whose counters or log start a state record sets: its runs are cut there, so that the fold can tell
/// what came before from what came after. `None` for all other records, and for keys that are not as drawn above.
pub(crate) fn partition_cut_by(kind: u8, cluster: ClusterId, key: &[u8]) -> Option<PartitionKey> {
    match kind {
        USAGE_MARK | LOG_START => read_partition(&mut Decoder::new(key), cluster).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::NodeId;

    use super::*;
    use crate::fixture::{cluster, partition};

    fn counters() -> UsageCounters {
        let stored = StoredBytes { byte_ms: 1 << 70, current: ByteCount::new(5), since: TimestampMs::new(6) };
        UsageCounters { bytes_in: ByteCount::new(1), bytes_out: ByteCount::new(2), stored }
    }

    #[test]
    fn every_kind_reads_back_its_key_and_value() {
        let mark = UsageMark { partition: partition(3), hour: 480_000, counters: counters() };
        assert_eq!(UsageMark::decode(cluster(), &mark.key(), &mark.value()), Ok(mark));
        let moved = LogStart { partition: partition(3), offset: Offset::new(9), stored: counters().stored };
        assert_eq!(LogStart::decode(cluster(), &moved.key(), &moved.value()), Ok(moved));
        let (reported, bytes_out) = (ByteCount::new(7), ByteCount::new(8));
        let sent = SentBytes { partition: partition(3), gateway: Incarnation::new(4), reported, bytes_out };
        assert_eq!(SentBytes::decode(cluster(), &sent.key(), &sent.value()), Ok(sent));
        let wal = WalId { node: NodeId::new(3), incarnation: Incarnation::new(17) };
        let (to, last) = (WalPosition::new(900), WalPosition::new(800));
        let span = InheritedSpan { epoch: SlotEpoch::new(2), wal, to, last, ends: true };
        let applied = Some(Applied { epoch: SlotEpoch::new(1), position: WalPosition::new(70) });
        for inherited in [
            Inherited { applied: None, spans: Vec::new() },
            Inherited { applied, spans: vec![span, InheritedSpan { ends: false, ..span }] },
        ] {
            assert_eq!(Inherited::decode(&inherited.value()), Ok(inherited));
        }
        for topic in [None, Some(partition(3).topic)] {
            let removed = Removed { cluster: cluster(), topic, at: TimestampMs::new(1) };
            assert_eq!(Removed::decode(cluster(), &removed.key(), &removed.value()), Ok(removed));
        }
    }

    #[test]
    fn keys_and_values_have_their_golden_lengths() {
        let mark = UsageMark { partition: partition(0x0102), hour: 0x0304, counters: counters() };
        assert_eq!(mark.key()[16..], [0, 0, 1, 2, 0, 0, 3, 4]);
        assert_eq!(mark.value().len(), 48);
        let moved =
            LogStart { partition: partition(0x0102), offset: Offset::new(9), stored: counters().stored };
        assert_eq!((moved.key().len(), moved.value().len()), (20, 40));
        assert_eq!(moved.value()[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        let wal = WalId { node: NodeId::new(3), incarnation: Incarnation::new(4) };
        let (to, last) = (WalPosition::new(6), WalPosition::new(5));
        let spans = vec![InheritedSpan { epoch: SlotEpoch::new(2), wal, to, last, ends: true }];
        let value = Inherited { applied: None, spans }.value();
        assert_eq!(value[..17], [[0; 13].as_slice(), &[1, 0, 0, 0]].concat());
        let span = [[2, 0, 0, 0, 3, 0, 0, 0].as_slice(), &[4, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(value[17..33], span);
        assert_eq!((value.len(), value[33], value[41], value[49]), (17 + SPAN_BYTES, 6, 5, 1));
    }

    #[test]
    fn a_removal_covers_its_topic_or_the_whole_cluster_of_one_tenant() {
        let at = TimestampMs::new(1);
        let whole = Removed { cluster: cluster(), topic: None, at };
        let topic = Removed { cluster: cluster(), topic: Some(partition(0).topic), at };
        let other_topic = TopicId::from_random(5);
        let other = PartitionKey { topic: other_topic, ..partition(0) };
        assert!(whole.covers(&other) && topic.covers(&partition(9)) && !topic.covers(&other));
        let foreign = PartitionKey { cluster: ClusterId::from_random(3), ..partition(0) };
        assert!(!whole.covers(&foreign));
    }

    #[test]
    fn keys_and_values_of_another_length_are_refused() {
        let mark = UsageMark { partition: partition(3), hour: 1, counters: counters() };
        assert!(UsageMark::decode(cluster(), &mark.key()[..23], &mark.value()).is_err());
        assert!(UsageMark::decode(cluster(), &mark.key(), &mark.value()[..47]).is_err());
        assert!(LogStart::decode(cluster(), &mark.key(), &mark.value()).is_err());
        assert!(Removed::decode(cluster(), &[0; 16], &[0; 8]).is_err());
    }
}
