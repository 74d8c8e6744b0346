//! A small cell on a temporary directory, written with the log's own writer, and a simple sum of what went in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headgate_log::checksum::crc32c;
use headgate_log::disk::{Disk, LocalDisk};
use headgate_log::manifest::{FoldInput, Manifest, fold, load_manifest};
use headgate_log::object::{ObjectName, ObjectReader, build_flush, manifest_name, state_name};
use headgate_log::state_record::{
    LOG_START, LogStart, REMOVED, Removed, SENT_BYTES, SentBytes, USAGE_MARK, UsageMark,
};
use headgate_log::store::{Store, StoreOptions};
use headgate_log::usage::UsageCounters;
use headgate_log::wal::{BatchControl, BatchMeta, Stamp, StateMeta, WalWriter, WalWriterConfig};
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{
    ByteCount, ClusterId, Incarnation, KeyId, NodeId, Offset, PartitionId, PartitionKey, SlotEpoch, SlotId,
    TimestampMs, TopicId, WalId, WalPosition,
};
use headgate_metadata::keys;
use headgate_metadata::record::{
    Applied, ChainRecord, FlushedRecord, Record, SlotRecord, Span, WalRecord, WalState,
};
use headgate_metadata::store::{MetadataStore, Outcome, Transaction, Write};
use headgate_metering::period::{HOUR_MS, Hour};
use headgate_metering::read::{ReadUsageError, slot_usages};
use headgate_metering::usage::SlotUsage;

/// 2026-11-01T00:00Z.
pub(crate) const START: Hour = Hour::new(498_192);
/// The only slot that most tests use.
pub(crate) const SLOT: SlotId = SlotId::new(3);
/// Small, so that a test's log has several chunks; two groups or so fit.
const CHUNK_BYTES: u64 = 4096;

pub(crate) fn after(ms: u64) -> TimestampMs {
    TimestampMs::new(START.start().get() + ms)
}

pub(crate) fn hours(count: u64) -> TimestampMs {
    after(count * HOUR_MS)
}

pub(crate) fn cluster() -> ClusterId {
    "demo0001".parse().expect("a cluster id")
}

pub(crate) fn topic(bits: u128) -> TopicId {
    TopicId::from_random(bits)
}

pub(crate) fn partition(bits: u128, index: u32) -> PartitionKey {
    PartitionKey { cluster: cluster(), topic: topic(bits), partition: PartitionId::new(index) }
}

pub(crate) fn wal(incarnation: u64) -> WalId {
    WalId { node: NodeId::new(1), incarnation: Incarnation::new(incarnation) }
}

/// A running node, as far as bills can tell.
pub(crate) struct Cell {
    dir: tempfile::TempDir,
    pub(crate) store: EmbeddedStore,
    pub(crate) objects: Store,
    pub(crate) disk: Arc<dyn Disk>,
    writer: WalWriter,
    epoch: SlotEpoch,
    /// What a simple sum says of each partition.
    pub(crate) counted: BTreeMap<PartitionKey, UsageCounters>,
    offsets: BTreeMap<PartitionKey, Offset>,
    names: u64,
}

impl Cell {
    /// A first start: WAL 1, all slots under epoch 1.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("file://{}", dir.path().join("objects").display());
        let objects = Store::open(&url, &StoreOptions::default()).expect("a local store");
        let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
        let config = WalWriterConfig { chunk_bytes: CHUNK_BYTES };
        let writer =
            WalWriter::create(Arc::clone(&disk), &dir.path().join("wal"), wal(1), config).expect("a new WAL");
        let cell = Self {
            store: EmbeddedStore::in_memory(),
            objects,
            disk,
            writer,
            epoch: SlotEpoch::new(1),
            counted: BTreeMap::new(),
            offsets: BTreeMap::new(),
            names: 0,
            dir,
        };
        cell.put_wal(wal(1), WalState::Open).await;
        cell.put_slot(
            SLOT,
            &SlotRecord {
                owner: wal(1),
                epoch: SlotEpoch::new(1),
                from: WalPosition::new(0),
                spans: Vec::new(),
                manifest: None,
                applied: None,
            },
        )
        .await;
        cell
    }

    /// The next start: seals the WAL where it ends and inherits the slot.
    pub(crate) async fn restart(&mut self) {
        let (sealed, end) = (self.writer.wal(), self.end());
        let own = wal(sealed.incarnation.get() + 1);
        self.put_wal(sealed, WalState::Sealed { end }).await;
        self.put_wal(own, WalState::Open).await;
        let mut slot = self.slot().await;
        slot.spans.push(Span { epoch: slot.epoch, wal: slot.owner, from: slot.from, to: end });
        self.epoch = slot.epoch.next();
        (slot.owner, slot.epoch, slot.from) = (own, self.epoch, WalPosition::new(0));
        self.put_slot(SLOT, &slot).await;
        let config = WalWriterConfig { chunk_bytes: CHUNK_BYTES };
        self.writer =
            WalWriter::create(Arc::clone(&self.disk), &self.root(), own, config).expect("a new WAL");
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("wal")
    }

    pub(crate) fn end(&self) -> WalPosition {
        self.writer.position()
    }

    /// The last chunk file of the WAL being written.
    pub(crate) fn last_chunk(&self) -> PathBuf {
        let start = self.writer.chunk_start().expect("a chunk is open").get();
        self.root().join(self.writer.wal().to_string()).join(format!("{start:020}.chunk"))
    }

    /// Reads the usage and proves that nothing was written.
    pub(crate) async fn usages(&self) -> Result<Vec<SlotUsage>, ReadUsageError> {
        let before = (files(self.dir.path()), self.store.revision().await.expect("memory answers"));
        let usages = slot_usages(&self.store, &self.objects, &self.disk, &self.root()).await;
        let left = (files(self.dir.path()), self.store.revision().await.expect("memory answers"));
        assert!(before == left, "reading usage changed something");
        usages
    }

    /// Appends a data batch of so many bytes, a header's 61 included.
    pub(crate) fn append(&mut self, partition: PartitionKey, bytes: u64, at: TimestampMs) {
        self.batch(partition, bytes, at, BatchControl::Data);
        let counters = self.counted.entry(partition).or_default();
        counters.bytes_in = ByteCount::new(counters.bytes_in.get() + bytes);
        counters.stored = counters.stored.grown(bytes, at);
    }

    /// Appends a transaction marker, which is free.
    pub(crate) fn append_marker(&mut self, partition: PartitionKey, at: TimestampMs) {
        self.batch(partition, 78, at, BatchControl::Commit);
    }

    pub(crate) fn sent(&mut self, partition: PartitionKey, gateway: u64, more: u64, at: TimestampMs) {
        let counters = self.counted.entry(partition).or_default();
        counters.bytes_out = ByteCount::new(counters.bytes_out.get() + more);
        let (gateway, bytes_out) = (Incarnation::new(gateway), counters.bytes_out);
        let sent = SentBytes { partition, gateway, reported: ByteCount::new(more), bytes_out };
        self.state(SENT_BYTES, sent.key(), sent.value(), at);
    }

    /// Retention moves the log start to the end and drops so many bytes.
    pub(crate) fn trim(&mut self, partition: PartitionKey, bytes: u64, at: TimestampMs) {
        let counters = self.counted.entry(partition).or_default();
        counters.stored = counters.stored.shrunk(bytes, at);
        let start = LogStart { partition, offset: self.offsets[&partition], stored: counters.stored };
        self.state(LOG_START, start.key(), start.value(), at);
    }

    /// Marks an hour with the partition's counters as they stand.
    pub(crate) fn mark(&mut self, partition: PartitionKey, hour: Hour) {
        let mark = UsageMark { partition, hour: hour.get() as u32, counters: self.counted[&partition] };
        self.state(USAGE_MARK, mark.key(), mark.value(), TimestampMs::new(hour.end().get() - 1));
    }

    pub(crate) fn remove_topic(&mut self, bits: u128, at: TimestampMs) {
        let removed = Removed { cluster: cluster(), topic: Some(topic(bits)), at };
        self.state(REMOVED, removed.key(), removed.value(), at);
        for (_, counters) in self.counted.iter_mut().filter(|(partition, _)| removed.covers(partition)) {
            counters.stored = counters.stored.changed(ByteCount::new(0), at);
        }
    }

    /// State of a kind that is nobody's business here.
    pub(crate) fn foreign_state(&mut self, at: TimestampMs) {
        self.state(1, Bytes::from_static(b"group"), Bytes::from_static(b"offset"), at);
    }

    pub(crate) fn sync(&mut self) {
        self.writer.sync().expect("the disk works");
    }

    /// Flushes the WAL of an incarnation from where it stands to its end.
    pub(crate) async fn flush(&mut self, incarnation: u64) {
        let own = wal(incarnation);
        let end = match self.load::<WalRecord>(&keys::wal(own)).await.expect("the WAL is known").state {
            WalState::Sealed { end } => end,
            WalState::Open | WalState::Sealing => self.end(),
        };
        let flushed = self.load::<FlushedRecord>(&keys::flushed(own)).await;
        let start = flushed.map_or(WalPosition::new(0), |record| record.position);
        let name = self.next_name();
        let flush =
            build_flush(&self.disk, &self.root(), own, start, end, name).expect("the WAL is in order");
        self.objects.put(&flush.name, flush.parts).await.expect("the store works");
        let chain = ChainRecord { end, object: flush.name.to_string() };
        self.put(keys::chain(own, start), chain.encode()).await;
        self.put(keys::flushed(own), FlushedRecord { position: end }.encode()).await;
        headgate_log::wal::remove_chunks_below(&*self.disk, &self.root(), own, end).expect("the disk works");
    }

    /// Commits a manifest of everything that is flushed, with a state object of its own.
    pub(crate) async fn write_manifest(&mut self) {
        let mut slot = self.slot().await;
        let mut manifest = match &slot.manifest {
            Some(name) => {
                let name = ObjectName::parse(name).expect("an object name");
                load_manifest(&self.objects, &name, SLOT).await.expect("the manifest is there")
            }
            None => Manifest::empty(SLOT),
        };
        let to = WalPosition::new(u64::MAX);
        let own = Span { epoch: slot.epoch, wal: slot.owner, from: slot.from, to };
        for span in slot.spans.iter().copied().chain([own]) {
            for entry in self.store.list(&keys::chain_of(span.wal)).await.expect("memory answers") {
                let record = ChainRecord::decode(&entry.value).expect("a chain record");
                let at = Applied { epoch: span.epoch, position: record.end };
                if manifest.applied.is_none_or(|applied| applied < at) {
                    manifest = self.folded(manifest, span, &record.object).await;
                }
            }
        }
        let base =
            headgate_log::manifest::load_state(&self.objects, &manifest).await.expect("the state is there");
        let state = state_name(SLOT, slot.epoch, self.next_name());
        let content = manifest.replace_state(base, state.clone());
        self.objects.put(&state, vec![content]).await.expect("the store works");
        let name = manifest_name(SLOT, slot.epoch, self.next_name());
        self.objects.put(&name, vec![manifest.encode()]).await.expect("the store works");
        slot.applied = manifest.applied;
        slot.manifest = Some(name.to_string());
        slot.spans.retain(|span| slot.applied.is_none_or(|applied| applied.epoch <= span.epoch));
        self.put_slot(SLOT, &slot).await;
    }

    pub(crate) async fn slot(&self) -> SlotRecord {
        self.load(&keys::slot(SLOT)).await.expect("the slot is known")
    }

    pub(crate) async fn put_slot(&self, id: SlotId, slot: &SlotRecord) {
        self.put(keys::slot(id), slot.encode()).await;
    }

    pub(crate) async fn put_wal(&self, wal: WalId, state: WalState) {
        self.put(keys::wal(wal), WalRecord { wal, state, fragments: Vec::new() }.encode()).await;
    }

    pub(crate) async fn put(&self, key: String, value: Bytes) {
        let committed = self.store.commit(Transaction::new().then(Write::Put(key, value))).await;
        assert!(matches!(committed, Ok(Outcome::Committed(_))));
    }

    async fn load<R: Record>(&self, key: &str) -> Option<R> {
        let entry = self.store.get(key).await.expect("memory answers")?;
        Some(R::decode(&entry.value).expect("a record"))
    }

    async fn folded(&self, manifest: Manifest, span: Span, object: &str) -> Manifest {
        let object = ObjectName::parse(object).expect("an object name");
        let reader = ObjectReader::new(self.objects.clone(), object.clone());
        let index = reader.index().await.expect("the object is there");
        let own = index.state_runs.iter().find(|run| (run.slot, run.slot_epoch) == (SLOT, span.epoch));
        let states = match own {
            Some(run) => reader.state_run(run).await.expect("the object is there"),
            None => Vec::new(),
        };
        let input = FoldInput { span, object: &object, index: &index, states: &states };
        fold(SLOT, Some(manifest), &[input]).expect("the log folds")
    }

    fn next_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn stamp(&self, slot_time: TimestampMs) -> Stamp {
        Stamp { slot: SLOT, slot_epoch: self.epoch, slot_time, key_id: KeyId::new(0) }
    }

    fn batch(&mut self, partition: PartitionKey, bytes: u64, at: TimestampMs, control: BatchControl) {
        let base_offset = self.offsets.get(&partition).copied().unwrap_or_default();
        let meta = BatchMeta {
            partition,
            base_offset,
            record_count: 10,
            base_timestamp: -1,
            max_timestamp: -1,
            producer: None,
            transactional: false,
            control,
        };
        self.offsets.insert(partition, meta.next_offset());
        let mut whole = vec![7_u8; bytes as usize];
        let sum = crc32c(&whole[21..]).to_be_bytes();
        whole[17..21].copy_from_slice(&sum);
        let header = whole[..61].try_into().expect("a batch has a header");
        let mut group = self.writer.begin_group(at);
        group.push_batch(&self.stamp(at), &meta, &header, Bytes::copy_from_slice(&whole[61..]));
        self.writer.write(group).expect("the disk works");
    }

    fn state(&mut self, kind: u8, key: Bytes, value: Bytes, at: TimestampMs) {
        let mut group = self.writer.begin_group(at);
        let meta = StateMeta { cluster: cluster(), kind, key, value: Some(value) };
        group.push_state(&self.stamp(at), &meta);
        self.writer.write(group).expect("the disk works");
    }
}

/// Every file below a directory with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        found.insert(dir.clone(), Vec::new());
        for entry in fs::read_dir(&dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let content = fs::read(&path).expect("readable");
                found.insert(path, content);
            }
        }
    }
    found
}
