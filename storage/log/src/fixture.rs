//! Builders for tests: ids, batches that carry their right checksum, and WALs full of them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::{
    ClusterId, Incarnation, KeyId, NodeId, Offset, PartitionId, PartitionKey, ProducerEpoch, ProducerId,
    SlotEpoch, SlotId, TimestampMs, TopicId, WalId, WalPosition,
};

use crate::batch_frame::BATCH_HEADER_BYTES;
use crate::checksum::crc32c_of;
use crate::disk::{Disk, ForgetfulDisk};
use crate::wal::{
    BatchControl, BatchMeta, BatchProducer, GroupBuilder, RecordPlace, Stamp, StateMeta, WalWriter,
    WalWriterConfig,
};

pub(crate) const ROOT: &str = "/data/wal";

pub(crate) fn wal_id() -> WalId {
    WalId { node: NodeId::new(1), incarnation: Incarnation::new(7) }
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::from_bytes(*b"tenant01").expect("the id is plain")
}

pub(crate) fn partition(number: u32) -> PartitionKey {
    let topic = TopicId::from_bytes([0x11; 16]).expect("the id is not nil");
    PartitionKey { cluster: cluster(), topic, partition: PartitionId::new(number) }
}

pub(crate) fn stamp(slot: u16, epoch: u32, time: u64) -> Stamp {
    Stamp {
        slot: SlotId::new(slot),
        slot_epoch: SlotEpoch::new(epoch),
        slot_time: TimestampMs::new(time),
        key_id: KeyId::new(0),
    }
}

pub(crate) fn at(position: u64) -> WalPosition {
    WalPosition::new(position)
}

/// A batch to be: set what matters.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) meta: BatchMeta,
    pub(crate) records: Vec<u8>,
}

impl Batch {
    /// One record at an offset; its bytes depend on the offset.
    pub(crate) fn at(partition_number: u32, offset: u64) -> Self {
        let meta = BatchMeta {
            partition: partition(partition_number),
            base_offset: Offset::new(offset),
            record_count: 1,
            base_timestamp: 1_000 + offset as i64,
            max_timestamp: 1_000 + offset as i64,
            producer: None,
            transactional: false,
            control: BatchControl::Data,
        };
        let records = (0..20 + offset % 30).map(|index| (index + offset) as u8).collect();
        Self { meta, records }
    }
    pub(crate) fn records(mut self, bytes: usize) -> Self {
        self.records = vec![0x5a; bytes];
        self
    }
    pub(crate) fn count(mut self, count: u32) -> Self {
        self.meta.record_count = count;
        self
    }
    pub(crate) fn producer(mut self, id: u64, epoch: u16, base_sequence: i32) -> Self {
        let (id, epoch) = (ProducerId::new(id), ProducerEpoch::new(epoch));
        self.meta.producer = Some(BatchProducer { id, epoch, base_sequence });
        self
    }
    pub(crate) fn transactional(mut self) -> Self {
        self.meta.transactional = true;
        self
    }
    pub(crate) fn marker(mut self, control: BatchControl) -> Self {
        self.meta.control = control;
        self.transactional()
    }

    /// The placed header, with the right checksum over header and records.
    pub(crate) fn header(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = [0; BATCH_HEADER_BYTES];
        header[..8].copy_from_slice(&self.meta.base_offset.get().to_be_bytes());
        header[8..12].copy_from_slice(&((self.records.len() + 49) as u32).to_be_bytes());
        header[16] = 2;
        header[23..27].copy_from_slice(&(self.meta.record_count - 1).to_be_bytes());
        let sum = crc32c_of([&header[21..], &self.records[..]]);
        header[17..21].copy_from_slice(&sum.to_be_bytes());
        header
    }
    /// All bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.header()[..], &self.records].concat()
    }
    pub(crate) fn push_to(&self, group: &mut GroupBuilder, stamp: &Stamp) -> RecordPlace {
        group.push_batch(stamp, &self.meta, &self.header(), Bytes::from(self.records.clone()))
    }
}

pub(crate) fn state(kind: u8, key: &[u8], value: Option<&[u8]>) -> StateMeta {
    StateMeta {
        cluster: cluster(),
        kind,
        key: Bytes::copy_from_slice(key),
        value: value.map(Bytes::copy_from_slice),
    }
}

/// A WAL on a faulty disk.
pub(crate) struct TestWal {
    pub(crate) disk: ForgetfulDisk,
    pub(crate) writer: WalWriter,
}

impl TestWal {
    pub(crate) fn new(chunk_bytes: u64) -> Self {
        let disk = ForgetfulDisk::new();
        disk.create_dir(Path::new(ROOT)).expect("no fault is set");
        let writer = WalWriter::create(
            Arc::new(disk.clone()),
            Path::new(ROOT),
            wal_id(),
            WalWriterConfig { chunk_bytes },
        );
        Self { disk, writer: writer.expect("no fault is set") }
    }
    pub(crate) fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }
    pub(crate) fn begin(&self) -> GroupBuilder {
        self.writer.begin_group(TimestampMs::new(5_000))
    }
    /// Writes one group of batches of slot 3 under epoch 1; returns its end.
    pub(crate) fn write(&mut self, batches: &[Batch]) -> WalPosition {
        let mut group = self.begin();
        for batch in batches {
            batch.push_to(&mut group, &stamp(3, 1, 9_000));
        }
        self.writer.write(group).expect("no fault is set").end
    }
    pub(crate) fn sync(&mut self) -> WalPosition {
        self.writer.sync().expect("no fault is set")
    }
}
