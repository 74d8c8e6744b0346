//! The state records of a group: what stands in the WAL and in the slot's state object.
//!
//! ```text
//! kind 1, GroupOffset     key   | u16 group length | group | topic id 16 | partition u32 |
//!                         value | version u8 = 1 | offset u64 | epoch u32 (0 = none) | u16 length | metadata |
//! kind 2, GroupMetadata   key   | group |
//!                         value | version u8 = 1 | generation i32 | text protocol type | text protocol | text leader |
//!                               | u32 members | member … |
//!                         member| text id | u8 has instance | text instance | text client id | text client host |
//!                               | session timeout u32 ms | rebalance timeout u32 ms | u32 length | metadata |
//!                               | u32 length | assignment |
//! text = u16 length, UTF-8 bytes. All little-endian. The surrounding record carries the checksum.
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headgate_metadata::id::{LeaderEpoch, Offset, PartitionId, TopicId};

use super::offsets::Committed;

const FORMAT: u8 = 1;

/// A stored record does not decode: corruption, or a newer release wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("group record does not decode: {0}")]
pub struct MalformedRecord(&'static str);

impl MalformedRecord {
    pub(super) const GROUP_ID: Self = Self("group id is not UTF-8");
}

/// A completed generation, as it is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredGroup {
    pub(super) generation: i32,
    pub(super) protocol_type: Arc<str>,
    pub(super) protocol: Arc<str>,
    pub(super) leader: Arc<str>,
    pub(super) members: Vec<StoredMember>,
}

/// A member of a completed generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredMember {
    pub(super) id: Arc<str>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) metadata: Bytes,
    pub(super) assignment: Bytes,
}

pub(super) fn offset_key(group: &str, topic: TopicId, partition: PartitionId) -> Bytes {
    let mut key = BytesMut::with_capacity(2 + group.len() + 20);
    put_text(&mut key, group);
    key.put_slice(topic.as_bytes());
    key.put_u32_le(partition.get());
    key.freeze()
}

pub(super) fn parse_offset_key(mut key: Bytes) -> Result<(Arc<str>, TopicId, PartitionId), MalformedRecord> {
    let group = take_text(&mut key)?;
    let topic = take::<16>(&mut key)?;
    let topic = TopicId::from_bytes(topic).ok_or(MalformedRecord("topic id is nil"))?;
    Ok((group, topic, PartitionId::new(u32::from_le_bytes(take(&mut key)?))))
}

pub(super) fn encode_offset(committed: &Committed) -> Bytes {
    let mut value = BytesMut::with_capacity(15 + committed.metadata.len());
    value.put_u8(FORMAT);
    value.put_u64_le(committed.offset.get());
    value.put_u32_le(committed.epoch.map_or(0, LeaderEpoch::get));
    put_text(&mut value, &committed.metadata);
    value.freeze()
}

pub(super) fn decode_offset(mut value: Bytes) -> Result<Committed, MalformedRecord> {
    check_format(&mut value)?;
    let offset = Offset::new(u64::from_le_bytes(take(&mut value)?));
    let epoch = u32::from_le_bytes(take(&mut value)?);
    let epoch = (epoch > 0).then(|| LeaderEpoch::new(epoch));
    Ok(Committed { offset, epoch, metadata: take_text(&mut value)? })
}

pub(super) fn encode_group(group: &StoredGroup) -> Bytes {
    let mut value = BytesMut::with_capacity(64 + 256 * group.members.len());
    value.put_u8(FORMAT);
    value.put_i32_le(group.generation);
    put_text(&mut value, &group.protocol_type);
    put_text(&mut value, &group.protocol);
    put_text(&mut value, &group.leader);
    value.put_u32_le(group.members.len() as u32);
    for member in &group.members {
        put_text(&mut value, &member.id);
        value.put_u8(u8::from(member.instance.is_some()));
        put_text(&mut value, member.instance.as_deref().unwrap_or_default());
        put_text(&mut value, &member.client_id);
        put_text(&mut value, &member.client_host);
        value.put_u32_le(member.session_timeout.as_millis() as u32);
        value.put_u32_le(member.rebalance_timeout.as_millis() as u32);
        put_blob(&mut value, &member.metadata);
        put_blob(&mut value, &member.assignment);
    }
    value.freeze()
}

pub(super) fn decode_group(mut value: Bytes) -> Result<StoredGroup, MalformedRecord> {
    check_format(&mut value)?;
    let generation = i32::from_le_bytes(take(&mut value)?);
    let protocol_type = take_text(&mut value)?;
    let protocol = take_text(&mut value)?;
    let leader = take_text(&mut value)?;
    let count = u32::from_le_bytes(take(&mut value)?);
    // No capacity from a stored number: a damaged count ends at the end of the bytes.
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(decode_member(&mut value)?);
    }
    Ok(StoredGroup { generation, protocol_type, protocol, leader, members })
}

fn decode_member(value: &mut Bytes) -> Result<StoredMember, MalformedRecord> {
    let id = take_text(value)?;
    let [has_instance] = take(value)?;
    let instance = take_text(value)?;
    Ok(StoredMember {
        id,
        instance: (has_instance != 0).then_some(instance),
        client_id: take_text(value)?,
        client_host: take_text(value)?,
        session_timeout: Duration::from_millis(u64::from(u32::from_le_bytes(take(value)?))),
        rebalance_timeout: Duration::from_millis(u64::from(u32::from_le_bytes(take(value)?))),
        metadata: take_blob(value)?,
        assignment: take_blob(value)?,
    })
}

fn check_format(value: &mut Bytes) -> Result<(), MalformedRecord> {
    let [format] = take(value)?;
    if format == FORMAT { Ok(()) } else { Err(MalformedRecord("unknown format number")) }
}

/// Whether a text is longer than Kafka's INT16 lengths allow. Compact forms (KIP-482) can carry more, and a record must hold
/// it whole: one that does not decode keeps the slot from opening.
pub(super) fn too_long(text: &str) -> bool {
    text.len() > i16::MAX as usize
}

/// No text is [`too_long`]; a member id, a client id and a few more bytes, still fits.
fn put_text(to: &mut BytesMut, text: &str) {
    to.put_u16_le(text.len() as u16);
    to.put_slice(text.as_bytes());
}

fn put_blob(to: &mut BytesMut, blob: &[u8]) {
    to.put_u32_le(blob.len() as u32);
    to.put_slice(blob);
}

fn take<const N: usize>(from: &mut Bytes) -> Result<[u8; N], MalformedRecord> {
    let taken = *from.first_chunk::<N>().ok_or(MalformedRecord("too short"))?;
    from.advance(N);
    Ok(taken)
}

fn take_blob(from: &mut Bytes) -> Result<Bytes, MalformedRecord> {
    let length = u32::from_le_bytes(take(from)?) as usize;
    if length > from.len() {
        return Err(MalformedRecord("too short"));
    }
    // Copied: a slice would keep the whole chunk of the log in memory.
    Ok(Bytes::copy_from_slice(&from.split_to(length)))
}

fn take_text(from: &mut Bytes) -> Result<Arc<str>, MalformedRecord> {
    let length = usize::from(u16::from_le_bytes(take(from)?));
    if length > from.len() {
        return Err(MalformedRecord("too short"));
    }
    let text = from.split_to(length);
    std::str::from_utf8(&text).map(Arc::from).map_err(|_| MalformedRecord("text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> StoredMember {
        StoredMember {
            id: "m-1".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_mins(5),
            metadata: Bytes::from_static(&[0, 1]),
            assignment: Bytes::from_static(&[2]),
        }
    }

    #[test]
    fn an_offset_record_has_these_bytes() {
        let topic = TopicId::from_bytes([7; 16]).expect("sevens are not nil");
        let key = offset_key("g", topic, PartitionId::new(3));
        assert_eq!(&key[..], [&[1, 0, b'g'][..], &[7; 16], &[3, 0, 0, 0]].concat());
        let committed =
            Committed { offset: Offset::new(9), epoch: Some(LeaderEpoch::new(2)), metadata: "x".into() };
        let value = encode_offset(&committed);
        assert_eq!(&value[..], [1, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, b'x']);
        assert_eq!(decode_offset(value), Ok(committed));
        assert_eq!(parse_offset_key(key), Ok(("g".into(), topic, PartitionId::new(3))));
    }

    #[test]
    fn a_group_record_has_these_bytes_and_reads_back() {
        let group = StoredGroup {
            generation: 5,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "m-1".into(),
            members: vec![member()],
        };
        let value = encode_group(&group);
        let head =
            [&[1, 5, 0, 0, 0][..], &[8, 0], b"consumer", &[5, 0], b"range", &[3, 0], b"m-1", &[1, 0, 0, 0]]
                .concat();
        assert_eq!(&value[..head.len()], head);
        assert_eq!(decode_group(value), Ok(group));
    }

    #[test]
    fn a_cut_group_record_is_malformed_and_never_panics() {
        let group = StoredGroup {
            generation: 1,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "m-1".into(),
            members: vec![member(), member()],
        };
        let value = encode_group(&group);
        for length in 0..value.len() {
            assert!(decode_group(value.slice(..length)).is_err(), "cut at {length}");
        }
    }
}
