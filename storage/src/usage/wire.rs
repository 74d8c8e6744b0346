//! Usage as it travels from a node to whoever meters, and from there to gateways: numbers alone, cumulative.

use bytes::Bytes;
use headgate_log::usage::{StoredBytes, UsageCounters};
use headgate_metadata::id::{ByteCount, ClusterId, PartitionKey, SlotId, TimestampMs};
use headgate_storage_client::PartitionAddress;
use headgate_storage_client::remote::message::Malformed;
use headgate_storage_client::wire::{Message, kind};
use minicbor::{Decode, Encode};

use super::{ClusterUsage, PartitionUsage};

/// "What did this cluster use?" The answer is of the same kind; a metering process answers with the whole cell's.
pub const USAGE: u16 = kind::USAGE_MIN;

#[derive(Encode, Decode)]
struct Question {
    #[n(0)]
    cluster: ClusterId,
}

#[derive(Encode, Decode)]
struct Answer {
    #[n(0)]
    at: TimestampMs,
    #[n(1)]
    partitions: Vec<Partition>,
}

#[derive(Encode, Decode)]
struct Partition {
    #[n(0)]
    key: PartitionKey,
    #[n(1)]
    slot: SlotId,
    #[n(2)]
    slot_time: TimestampMs,
    #[n(3)]
    counters: Counters,
    #[n(4)]
    marks: Vec<Mark>,
}

#[derive(Encode, Decode)]
struct Mark {
    #[n(0)]
    hour: u64,
    #[n(1)]
    counters: Counters,
}

#[derive(Encode, Decode)]
struct Counters {
    #[n(0)]
    bytes_in: ByteCount,
    #[n(1)]
    bytes_out: ByteCount,
    /// The integral's upper and lower half: CBOR's integers have 64 bits.
    #[n(2)]
    byte_ms_high: u64,
    #[n(3)]
    byte_ms_low: u64,
    #[n(4)]
    current: ByteCount,
    #[n(5)]
    since: TimestampMs,
}

impl From<UsageCounters> for Counters {
    fn from(counters: UsageCounters) -> Self {
        let UsageCounters { bytes_in, bytes_out, stored } = counters;
        Self {
            bytes_in,
            bytes_out,
            byte_ms_high: (stored.byte_ms >> 64) as u64,
            byte_ms_low: stored.byte_ms as u64,
            current: stored.current,
            since: stored.since,
        }
    }
}

impl From<Counters> for UsageCounters {
    fn from(counters: Counters) -> Self {
        let byte_ms = u128::from(counters.byte_ms_high) << 64 | u128::from(counters.byte_ms_low);
        let stored = StoredBytes { byte_ms, current: counters.current, since: counters.since };
        Self { bytes_in: counters.bytes_in, bytes_out: counters.bytes_out, stored }
    }
}

/// The question about a cluster.
pub fn usage_question(cluster: ClusterId) -> Message {
    encode(&Question { cluster })
}

/// Reads the question.
pub fn asked_cluster(message: &Message) -> Result<ClusterId, Malformed> {
    Ok(decode::<Question>(message)?.cluster)
}

/// The answer.
pub fn usage_answer(usage: ClusterUsage) -> Message {
    let mark = |(hour, counters): (u64, UsageCounters)| Mark { hour, counters: counters.into() };
    let partition = |usage: PartitionUsage| Partition {
        key: usage.partition.key,
        slot: usage.partition.slot,
        slot_time: usage.slot_time,
        counters: usage.counters.into(),
        marks: usage.marks.into_iter().map(mark).collect(),
    };
    encode(&Answer { at: usage.at, partitions: usage.partitions.into_iter().map(partition).collect() })
}

/// Reads the answer.
pub fn answered_usage(message: &Message) -> Result<ClusterUsage, Malformed> {
    let answer: Answer = decode(message)?;
    let partition = |partition: Partition| PartitionUsage {
        partition: PartitionAddress { key: partition.key, slot: partition.slot },
        counters: partition.counters.into(),
        slot_time: partition.slot_time,
        marks: partition.marks.into_iter().map(|mark| (mark.hour, mark.counters.into())).collect(),
    };
    Ok(ClusterUsage { at: answer.at, partitions: answer.partitions.into_iter().map(partition).collect() })
}

fn encode(head: &impl Encode<()>) -> Message {
    let head = minicbor::to_vec(head).expect("memory does not fail, and every value has a form");
    Message { kind: USAGE, head: Bytes::from(head), payload: Vec::new() }
}

fn decode<H: for<'b> Decode<'b, ()>>(message: &Message) -> Result<H, Malformed> {
    if message.kind != USAGE {
        return Err(Malformed::Kind { expected: USAGE, found: message.kind });
    }
    Ok(minicbor::decode(&message.head)?)
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{PartitionId, TopicId};

    use super::*;

    #[test]
    fn usage_reads_back_and_its_bytes_are_pinned() {
        let cluster: ClusterId = "abcd1234".parse().expect("a cluster id");
        assert_eq!(asked_cluster(&usage_question(cluster)).expect("ours"), cluster);
        let topic = TopicId::from_bytes([7; 16]).expect("sevens are not nil");
        let key = PartitionKey { cluster, topic, partition: PartitionId::new(2) };
        let stored =
            StoredBytes { byte_ms: (3 << 64) + 4, current: ByteCount::new(5), since: TimestampMs::new(6) };
        let counters = UsageCounters { bytes_in: ByteCount::new(1), bytes_out: ByteCount::new(2), stored };
        let partition = PartitionAddress { key, slot: SlotId::new(9) };
        let slot_time = TimestampMs::new(8);
        let partitions = vec![PartitionUsage { partition, counters, slot_time, marks: vec![(7, counters)] }];
        let usage = ClusterUsage { at: TimestampMs::new(10), partitions };
        let message = usage_answer(usage.clone());
        let numbers = [0x86, 1, 2, 3, 4, 5, 6];
        let key = [&[0x83][..], b"\x48abcd1234", &[0x50], &[7; 16], &[2]].concat();
        let golden =
            [&[0x82, 10, 0x81, 0x85][..], &key, &[9, 8], &numbers, &[0x81, 0x82, 7], &numbers].concat();
        assert_eq!(message.head, golden);
        assert_eq!(answered_usage(&message).expect("ours"), usage);
    }
}
