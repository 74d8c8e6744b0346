//! One value of every type that travels.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headgate_metadata::id::{
    ClusterId, Incarnation, LeaderEpoch, Offset, PartitionId, PartitionKey, ProducerId, Revision, SlotId,
    TimestampMs, TopicId,
};
use headgate_metadata::quota::QuotaLimits;

use crate::quota::*;
use crate::*;

pub(crate) fn cluster() -> ClusterId {
    "abcd1234".parse().expect("a cluster id")
}

pub(crate) fn caller() -> Caller {
    Caller {
        cluster: cluster(),
        principal: "arn".into(),
        client_id: "app".into(),
        client_host: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
        patience: Duration::from_secs(30),
        request: RequestId(9),
        revision_seen: Revision::new(77),
        connection: 5,
    }
}

pub(crate) fn partition() -> PartitionAddress {
    let topic = TopicId::from_bytes([7; 16]).expect("sevens are not nil");
    let key = PartitionKey { cluster: cluster(), topic, partition: PartitionId::new(2) };
    PartitionAddress { key, slot: SlotId::new(300) }
}

/// A batch of one record whose bytes are not looked into.
pub(crate) fn batch(records: &[u8]) -> RecordBatch {
    let mut bytes = BytesMut::zeroed(BATCH_HEADER_BYTES);
    bytes[8..12].copy_from_slice(&((BATCH_HEADER_BYTES - 12 + records.len()) as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
    bytes.extend_from_slice(records);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]) as u32;
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(&bytes.freeze()).expect("a valid batch")
}

pub(crate) fn read_request() -> ReadRequest {
    let read = PartitionRead {
        partition: partition(),
        offset: Offset::new(40),
        bytes_max: 1 << 20,
        current_epoch: Some(LeaderEpoch::new(3)),
    };
    ReadRequest { partitions: vec![read], bytes_max: 50 << 20, isolation: Isolation::ReadCommitted }
}

pub(crate) fn read_success(records: Vec<Bytes>) -> ReadSuccess {
    ReadSuccess {
        records_bytes: records.iter().map(|piece| piece.len() as u64).sum(),
        records,
        high_watermark: Offset::new(50),
        last_stable_offset: Offset::new(49),
        log_start: Offset::new(1),
        aborted: vec![AbortedTransaction { producer: ProducerId::new(8), first_offset: Offset::new(41) }],
    }
}

pub(crate) fn appended() -> Appended {
    Appended {
        base_offset: Offset::new(1000),
        log_start: Offset::new(1),
        log_append_time: Some(TimestampMs::new(5)),
    }
}

pub(crate) fn group() -> GroupAddress {
    GroupAddress { cluster: cluster(), group: "g".into(), slot: SlotId::new(4) }
}

pub(crate) fn identity() -> MemberIdentity {
    MemberIdentity { member: "m".into(), instance: Some("i".into()) }
}

pub(crate) fn join() -> Join {
    Join {
        identity: MemberIdentity { member: "".into(), instance: None },
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"meta"))],
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_mins(1),
        member_id_required: true,
        supports_skip_assignment: false,
    }
}

pub(crate) fn joined() -> Joined {
    Joined {
        generation: 3,
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        leader: "m".into(),
        member: "m".into(),
        skip_assignment: false,
        members: vec![JoinedMember { identity: identity(), metadata: Bytes::from_static(b"meta") }],
    }
}

pub(crate) fn sync() -> Sync {
    Sync {
        identity: identity(),
        generation: 3,
        protocol_type: Some("consumer".into()),
        protocol: None,
        assignments: vec![("m".into(), Bytes::from_static(b"all"))],
    }
}

pub(crate) fn synced() -> Synced {
    Synced {
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        assignment: Bytes::from_static(b"all"),
    }
}

pub(crate) fn offset_to_commit() -> OffsetToCommit {
    OffsetToCommit {
        topic: partition().key.topic,
        partition: PartitionId::new(2),
        offset: Offset::new(99),
        epoch: Some(LeaderEpoch::new(3)),
        metadata: "note".into(),
    }
}

pub(crate) fn commit() -> CommitOffsets {
    CommitOffsets { identity: identity(), generation: -1, offsets: vec![offset_to_commit()] }
}

pub(crate) fn fetch() -> FetchOffsets {
    FetchOffsets {
        identity: Some((identity(), 3)),
        partitions: Some(vec![(partition().key.topic, PartitionId::new(2))]),
    }
}

pub(crate) fn description() -> GroupDescription {
    let member = MemberDescription {
        identity: identity(),
        client_id: "app".into(),
        client_host: "/10.0.0.7".into(),
        metadata: Bytes::from_static(b"meta"),
        assignment: Bytes::from_static(b"all"),
    };
    GroupDescription {
        state: GroupState::Stable,
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        members: vec![member],
    }
}

pub(crate) fn terms() -> QuotaTerms {
    QuotaTerms { limits: QuotaLimits::default(), revision: Revision::new(78) }
}

pub(crate) fn quota_report() -> QuotaReport {
    let heard = Standing { balance: -200, lazy: 10, age: Duration::from_millis(50) };
    let flow = FlowReport {
        used: 1000,
        counted: 900,
        allowed: 1100,
        rate: 0.5,
        waiting: 3,
        aged: 8,
        heard: Some(heard),
        largest: 70,
    };
    let flows = [flow, FlowReport::default(), FlowReport::default()];
    QuotaReport { gateway: Incarnation::new(12), sequence: 4, terms: terms(), connections: 2, flows }
}

pub(crate) fn quota_grant() -> QuotaGrant {
    let flow = FlowGrant {
        allowed: 1200,
        rate: 1.5,
        counted: 1000,
        contended: true,
        cluster_rate: 300,
        balance: -5,
        lazy: 6,
    };
    let flows = [flow, FlowGrant::default(), FlowGrant::default()];
    QuotaGrant { sequence: 4, flows, connections: 3, gateways: 2 }
}
