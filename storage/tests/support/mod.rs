//! A cell in memory whose disk, object store and clock can be made to fail, and the calls tests make of a node.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod faulty_metadata;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headgate_log::disk::ForgetfulDisk;
use headgate_log::store::FaultyObjects;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{
    AccountId, ClusterId, Offset, PartitionId, PartitionKey, Revision, SlotId, TimestampMs, TopicId,
};
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, Record, TopicRecord};
use headgate_metadata::store::{Outcome, SharedStore, Transaction, Write};
use headgate_storage::clock::ManualClock;
use headgate_storage::config::NodeConfig;
use headgate_storage::group::GroupLimits;
use headgate_storage::{Fatal, Metrics, Node, NodeParts, Random, StartError};
use headgate_storage_client::{
    Append, AppendError, Appended, BATCH_HEADER_BYTES, Caller, Isolation, PartitionAddress, PartitionRead,
    ReadError, ReadRequest, RecordBatch, RequestId, Storage,
};

/// 2026-01-01T00:00:00Z, the start of an hour.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

/// Everything that survives a node's process.
pub(crate) struct Cell {
    pub(crate) store: SharedStore,
    pub(crate) objects: FaultyObjects,
    pub(crate) disk: ForgetfulDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: NodeConfig,
    pub(crate) stopped: Arc<AtomicBool>,
    pub(crate) free_bytes: Arc<AtomicU64>,
    seed: AtomicU64,
}

impl Cell {
    pub(crate) async fn new() -> Self {
        Self::with_slots(8).await
    }

    pub(crate) async fn with_slots(slots: u16) -> Self {
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let record = CellRecord {
            cell: "testcell".into(),
            slots,
            hash: "xxh3-64".into(),
            account: AccountId::checked(1).expect("one digit"),
            region: "us-east-1".into(),
        };
        put(&store, keys::CELL.to_owned(), record.encode()).await;
        let config = NodeConfig {
            wal_dir: PathBuf::from("/wal"),
            chunk_bytes: 64 * 1024,
            tail_bytes_max: 1 << 20,
            disk_free_slow_bytes: 1000,
            disk_free_refuse_bytes: 100,
            ..NodeConfig::default()
        };
        Self {
            store,
            objects: FaultyObjects::new(),
            disk: ForgetfulDisk::new(),
            clock: ManualClock::at(TimestampMs::new(START_MS)),
            config,
            stopped: Arc::new(AtomicBool::new(false)),
            free_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            seed: AtomicU64::new(1),
        }
    }

    pub(crate) async fn start(&self) -> Arc<Node> {
        self.try_start().await.expect("the node starts")
    }

    pub(crate) async fn try_start(&self) -> Result<Arc<Node>, StartError> {
        let stopped = Arc::clone(&self.stopped);
        let free = Arc::clone(&self.free_bytes);
        let parts = NodeParts {
            store: Arc::clone(&self.store),
            objects: self.objects.store(),
            disk: Arc::new(self.disk.clone()),
            free_space: Arc::new(move |_| Some(free.load(Ordering::SeqCst))),
            clock: Arc::clone(&self.clock) as _,
            random: Random::seeded(self.seed.fetch_add(1, Ordering::SeqCst)),
            fatal: Fatal::new(move |_| stopped.store(true, Ordering::SeqCst)),
            metrics: Arc::new(Metrics::default()),
            group_limits: GroupLimits::default(),
            fleet: None,
        };
        Node::start(self.config.clone(), parts).await
    }

    pub(crate) async fn put_topic(&self, partition: PartitionAddress, configs: &[(&str, &str)]) -> Revision {
        let topic = TopicRecord {
            id: partition.key.topic,
            name: format!("t-{}", partition.key.topic),
            partitions: 1,
            slots: 1,
            created: TimestampMs::new(START_MS),
            configs: configs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        put(&self.store, keys::topic(partition.key.cluster, &topic.name), topic.encode()).await
    }
}

pub(crate) async fn put(store: &SharedStore, key: String, value: Bytes) -> Revision {
    let transaction = Transaction::new().then(Write::Put(key, value));
    match store.commit(transaction).await.expect("memory does not fail") {
        Outcome::Committed(revision) => revision,
        Outcome::Refused(_) => unreachable!("nothing is compared"),
    }
}

pub(crate) fn cluster(index: u64) -> ClusterId {
    ClusterId::from_random(index)
}

/// Partition `index` of the one topic of a cluster, in a slot of its own.
pub(crate) fn partition(cluster_index: u64, index: u32) -> PartitionAddress {
    let topic = TopicId::from_random(u128::from(cluster_index) + 1);
    let key = PartitionKey { cluster: cluster(cluster_index), topic, partition: PartitionId::new(index) };
    PartitionAddress { key, slot: SlotId::new((index % 8) as u16) }
}

pub(crate) fn caller(cluster: ClusterId) -> Caller {
    Caller {
        cluster,
        principal: "arn:aws:iam::000000000001:user/test".into(),
        client_id: "test".into(),
        client_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        patience: Duration::from_secs(30),
        request: RequestId(1),
        revision_seen: Revision::new(0),
        connection: 1,
    }
}

/// A batch of `values`, one record each, with timestamps `first_timestamp`, `+1`, …
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) values: Vec<Vec<u8>>,
    pub(crate) first_timestamp: i64,
    pub(crate) producer: Option<(u64, u16, u32)>,
}

impl Batch {
    pub(crate) fn of(values: &[&str]) -> Self {
        Self {
            values: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
            first_timestamp: START_MS as i64,
            producer: None,
        }
    }
    pub(crate) fn at(self, first_timestamp: i64) -> Self {
        Self { first_timestamp, ..self }
    }
    pub(crate) fn by(self, id: u64, epoch: u16, base_sequence: u32) -> Self {
        Self { producer: Some((id, epoch, base_sequence)), ..self }
    }
    pub(crate) fn bytes(&self) -> Bytes {
        let mut records = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            let mut record = vec![0];
            varint(&mut record, index as i64);
            varint(&mut record, index as i64);
            varint(&mut record, -1);
            varint(&mut record, value.len() as i64);
            record.extend_from_slice(value);
            varint(&mut record, 0);
            varint(&mut records, record.len() as i64);
            records.extend(record);
        }
        let count = self.values.len() as i32;
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        batch.extend(records);
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&self.first_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&(self.first_timestamp + i64::from(count) - 1).to_be_bytes());
        let (id, epoch, sequence) = match self.producer {
            Some((id, epoch, sequence)) => (id as i64, epoch as i16, sequence as i32),
            None => (-1, -1, -1),
        };
        batch[43..51].copy_from_slice(&id.to_be_bytes());
        batch[51..53].copy_from_slice(&epoch.to_be_bytes());
        batch[53..57].copy_from_slice(&sequence.to_be_bytes());
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        let sum = headgate_log::checksum::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&sum.to_be_bytes());
        batch.into()
    }
    pub(crate) fn parse(&self) -> RecordBatch {
        RecordBatch::parse(&self.bytes()).expect("the batch is right")
    }
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

pub(crate) async fn try_append(
    node: &Node,
    partition: PartitionAddress,
    batch: &Batch,
) -> Result<Appended, AppendError> {
    let caller = caller(partition.key.cluster);
    let batch = batch.parse();
    let reservation =
        node.reserve(&caller, partition.slot, batch.size_bytes()).await.map_err(|_| AppendError::Refused)?;
    let answer = node.submit_append(&caller, Append { partition, batch, reservation }).await;
    answer.unwrap_or(Err(AppendError::Unconfirmed))
}

pub(crate) async fn append(node: &Node, partition: PartitionAddress, batch: &Batch) -> u64 {
    try_append(node, partition, batch).await.expect("the append is acknowledged").base_offset.get()
}

/// Appends one record of this value.
pub(crate) async fn append_value(node: &Node, partition: PartitionAddress, value: &str) -> u64 {
    append(node, partition, &Batch::of(&[value])).await
}

pub(crate) async fn try_read(
    node: &Node,
    partition: PartitionAddress,
    offset: u64,
) -> Result<Bytes, ReadError> {
    let read =
        PartitionRead { partition, offset: Offset::new(offset), bytes_max: 1 << 20, current_epoch: None };
    let request =
        ReadRequest { partitions: vec![read], bytes_max: 1 << 20, isolation: Isolation::ReadUncommitted };
    let outcome = node.read(&caller(partition.key.cluster), &request).await.remove(0)?;
    let mut joined = BytesMut::new();
    for slice in &outcome.records {
        joined.extend_from_slice(slice);
    }
    assert_eq!(joined.len() as u64, outcome.records_bytes);
    Ok(joined.freeze())
}

/// All records of a partition from `offset` on as (offset, value), over as many reads as it takes.
pub(crate) async fn read_all(node: &Node, partition: PartitionAddress, offset: u64) -> Vec<(u64, String)> {
    try_read_all(node, partition, offset).await.expect("the reads succeed")
}

pub(crate) async fn try_read_all(
    node: &Node,
    partition: PartitionAddress,
    offset: u64,
) -> Result<Vec<(u64, String)>, ReadError> {
    let mut found = Vec::new();
    let mut next = offset;
    loop {
        let records = decode(&try_read(node, partition, next).await?);
        let Some((last, _)) = records.last() else { return Ok(found) };
        let after = last + 1;
        found.extend(records.into_iter().filter(|(offset, _)| *offset >= next));
        next = after;
    }
}

/// The records of uncompressed batches, as (offset, value).
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let base = u64::from_be_bytes(bytes[0..8].try_into().expect("eight bytes"));
        let size = u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")) as usize + 12;
        RecordBatch::parse(&Bytes::copy_from_slice(&bytes[..size])).expect("a stored batch has its checksum");
        let mut records = &bytes[BATCH_HEADER_BYTES..size];
        let mut offset = base;
        while !records.is_empty() {
            let length = take_varint(&mut records) as usize;
            let mut record = &records[1..length];
            take_varint(&mut record);
            take_varint(&mut record);
            take_varint(&mut record);
            let value = take_varint(&mut record) as usize;
            found.push((offset, String::from_utf8_lossy(&record[..value]).into_owned()));
            offset += 1;
            records = &records[length..];
        }
        bytes = &bytes[size..];
    }
    found
}

fn take_varint(bytes: &mut &[u8]) -> i64 {
    let mut value = 0_u64;
    let mut shift = 0;
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (value >> 1) as i64 ^ -((value & 1) as i64);
        }
        shift += 7;
    }
}
