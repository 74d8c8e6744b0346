use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use headgate_log::disk::{Disk, DiskError, DiskFile, ForgetfulDisk};
use headgate_log::wal::WalWriterConfig;
use headgate_metadata::id::{Incarnation, NodeId, PartitionId, PartitionKey, SlotEpoch, TopicId};
use headgate_storage_client::{
    AppendError, Appended, BATCH_HEADER_BYTES, Completion, PartitionAddress, RecordBatch, Reservation,
};

use super::*;
use crate::clock::ManualClock;
use crate::slot::Slot;
use crate::state_log::{Progress, StateKind};
use crate::topics::Topics;

/// A disk whose syncs wait until the test lets them, so that the test decides what gathers meanwhile.
#[derive(Debug, Clone)]
struct GatedDisk {
    inner: ForgetfulDisk,
    syncs: Arc<Mutex<mpsc::Receiver<()>>>,
    began: mpsc::Sender<()>,
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn DiskFile>,
    disk: GatedDisk,
}

impl Disk for GatedDisk {
    fn create_dir(&self, dir: &std::path::Path) -> Result<(), DiskError> {
        self.inner.create_dir(dir)
    }
    fn create(&self, path: &std::path::Path, bytes: u64) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(Arc::new(GatedFile { inner: self.inner.create(path, bytes)?, disk: self.clone() }))
    }
    fn open(&self, path: &std::path::Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.inner.open(path)
    }
    fn list(&self, dir: &std::path::Path) -> Result<Vec<String>, DiskError> {
        self.inner.list(dir)
    }
    fn remove(&self, path: &std::path::Path) -> Result<(), DiskError> {
        self.inner.remove(path)
    }
    fn remove_dir(&self, dir: &std::path::Path) -> Result<(), DiskError> {
        self.inner.remove_dir(dir)
    }
    fn read_file(&self, path: &std::path::Path) -> Result<Vec<u8>, DiskError> {
        self.inner.read_file(path)
    }
    fn write_atomic(&self, path: &std::path::Path, content: &[u8]) -> Result<(), DiskError> {
        self.inner.write_atomic(path, content)
    }
}

impl DiskFile for GatedFile {
    fn write_vectored_at(&self, slices: &[std::io::IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        self.inner.write_vectored_at(slices, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        self.inner.read_at(buffer, offset)
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        let _ = self.disk.began.send(());
        // An error means that the test is over and holds nothing up any more.
        let _ = self.disk.syncs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        self.inner.sync_data()
    }
    fn length(&self) -> Result<u64, DiskError> {
        self.inner.length()
    }
}

struct Rig {
    sequencer: Arc<Sequencer>,
    running: Option<Running>,
    slots: Arc<Slots>,
    /// Lets one sync through.
    sync: Option<mpsc::Sender<()>>,
    sync_began: mpsc::Receiver<()>,
}

impl Rig {
    fn new() -> Self {
        let (sync, syncs) = mpsc::channel();
        let (began, sync_began) = mpsc::channel();
        let disk = GatedDisk { inner: ForgetfulDisk::new(), syncs: Arc::new(Mutex::new(syncs)), began };
        let wal = WalId { node: NodeId::new(1), incarnation: Incarnation::new(1) };
        let config = WalWriterConfig { chunk_bytes: 64 << 20 };
        let dir = PathBuf::from("/wal");
        let writer = WalWriter::create(Arc::new(disk), &dir, wal, config).expect("memory takes it");
        let slots = Arc::new(Slots::new(1, Arc::new(Topics::new())));
        slots.publish(Arc::new(Slot::new(SlotId::new(0), SlotEpoch::new(1))));
        let (sequencer, running) = Sequencer::start(Parts {
            writer,
            slots: Arc::clone(&slots),
            clock: ManualClock::at(TimestampMs::new(1_000_000)),
            metrics: Arc::new(Metrics::default()),
            fatal: Fatal::new(|_| {}),
            sync: WalSync::Fsync,
            tail_bytes_max: 1 << 30,
            disk_room: DiskRoom { free_space: Arc::new(|_| None), dir, chunk_bytes: 64 << 20 },
            copies_min: 1,
        })
        .expect("there are threads");
        Self { sequencer, running: Some(running), slots, sync: Some(sync), sync_began }
    }

    fn append(&self, cluster: u64, bytes: usize) -> Completion<Result<Appended, AppendError>> {
        let key = PartitionKey {
            cluster: ClusterId::from_random(cluster),
            topic: TopicId::from_random(1),
            partition: PartitionId::new(0),
        };
        let partition = self.slots.partition(PartitionAddress { key, slot: SlotId::new(0) });
        let term = self.slots.term(SlotId::new(0)).expect("the slot is published");
        let (answer, completion) = Completion::channel();
        let reservation = Reservation::new(None);
        let operation = Operation::Append {
            partition,
            term,
            batch: batch(bytes),
            log_append_time: None,
            reservation,
            answer,
        };
        self.sequencer.submit(key.cluster, operation);
        completion
    }

    fn state(&self, key: &'static str) -> Durable {
        let record = StateRecord {
            cluster: ClusterId::from_random(1),
            kind: StateKind::GroupOffset,
            key: Bytes::from_static(key.as_bytes()),
            value: None,
        };
        self.sequencer.submit_state(SlotId::new(0), vec![record])
    }

    /// Waits until the sequencer stands in a sync.
    fn wait_for_sync(&self) {
        self.sync_began.recv_timeout(Duration::from_secs(30)).expect("the sequencer syncs");
    }

    fn let_sync(&self) {
        self.sync.as_ref().expect("the rig runs").send(()).expect("the disk is there");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.sync = None;
        if let Some(running) = self.running.take() {
            stop(running, &self.sequencer);
        }
    }
}

fn batch(bytes: usize) -> RecordBatch {
    let mut raw = vec![0; BATCH_HEADER_BYTES + bytes];
    let length = (raw.len() - 12) as u32;
    raw[8..12].copy_from_slice(&length.to_be_bytes());
    raw[16] = 2;
    raw[43..57].copy_from_slice(&[0xff; 14]);
    raw[60] = 1;
    let sum = headgate_log::checksum::crc32c(&raw[21..]);
    raw[17..21].copy_from_slice(&sum.to_be_bytes());
    RecordBatch::parse(&raw.into()).expect("the batch is right")
}

fn stop(running: Running, sequencer: &Sequencer) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(running.stop(sequencer));
}

fn is_answered<T>(completion: &mut Completion<T>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(completion).poll(&mut context).is_ready()
}

#[test]
fn section_2_4_nothing_is_answered_or_visible_before_its_group_is_synced() {
    let rig = Rig::new();
    let mut answer = rig.append(1, 100);
    rig.wait_for_sync();
    assert!(!is_answered(&mut answer));
    let partition = rig.slots.partitions().remove(0);
    assert_eq!(partition.log().high_watermark().get(), 0);
    assert_eq!(partition.log().end().get(), 1, "appended state is ahead of committed state");
    assert_eq!(rig.sequencer.committed().get(), 0);
    rig.let_sync();
    let second = rig.append(1, 100);
    rig.wait_for_sync();
    assert!(is_answered(&mut answer), "the first group is answered before the next one is written");
    assert_eq!(partition.log().high_watermark().get(), 1);
    drop(second);
}

/// What mirrors are told (§10, gray relief).
#[test]
fn section_10_it_stands_still_while_it_has_work_and_does_none_of_it() {
    let rig = Rig::new();
    let still = |seconds| rig.sequencer.stands_still(Duration::from_secs(seconds)).as_secs();
    assert_eq!([still(10), still(20)], [0, 0], "it has nothing to do");
    let first = rig.append(1, 100);
    rig.wait_for_sync();
    assert_eq!([still(30), still(34)], [10, 14], "its disk hangs");
    let second = rig.append(1, 100);
    rig.let_sync();
    rig.wait_for_sync();
    assert_eq!([still(40), still(43)], [0, 3], "it has got on, and hangs again");
    drop((first, second));
}

#[test]
fn section_2_2_while_a_group_syncs_the_next_gathers_and_a_burst_leaves_room_for_others() {
    let rig = Rig::new();
    let first = rig.append(1, 100);
    rig.wait_for_sync();
    // 40 MiB of one cluster come while the disk is busy, then one small batch of another.
    let burst: Vec<_> = (0..40).map(|_| rig.append(1, 1 << 20)).collect();
    let mut quiet = rig.append(2, 100);
    rig.let_sync();
    rig.wait_for_sync();
    rig.let_sync();
    rig.wait_for_sync();
    assert!(is_answered(&mut quiet), "the quiet cluster is in the first group after the burst came");
    let mut burst = burst;
    let answered = burst.iter_mut().filter_map(|append| is_answered(append).then_some(())).count();
    assert!(answered < 10, "the burst is spread over many groups: {answered}");
    drop(first);
}

#[test]
fn operations_of_one_cluster_are_committed_in_the_order_they_were_submitted() {
    let rig = Rig::new();
    let first = rig.append(1, 100);
    rig.wait_for_sync();
    let state = rig.state("a");
    let mut appends: Vec<_> = (0..5).map(|_| rig.append(1, 100)).collect();
    rig.let_sync();
    rig.wait_for_sync();
    rig.let_sync();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        assert!(state.wait().await);
        for (index, append) in appends.iter_mut().enumerate() {
            let appended = append.await.expect("answered").expect("appended");
            assert_eq!(appended.base_offset.get(), 1 + index as u64);
        }
    });
    drop(first);
}

#[test]
fn dropping_the_completion_does_not_cancel_the_append() {
    let rig = Rig::new();
    drop(rig.append(1, 100));
    rig.wait_for_sync();
    rig.let_sync();
    let next = rig.append(1, 100);
    rig.wait_for_sync();
    let partition = rig.slots.partitions().remove(0);
    assert_eq!(partition.log().high_watermark().get(), 1);
    drop(next);
}

#[test]
fn a_clean_stop_finishes_what_is_queued_and_refuses_what_comes_later() {
    let mut rig = Rig::new();
    let mut first = rig.append(1, 100);
    rig.wait_for_sync();
    let mut queued = rig.append(1, 100);
    rig.sync = None;
    let running = rig.running.take().expect("it runs");
    stop(running, &rig.sequencer);
    assert!(is_answered(&mut first) && is_answered(&mut queued));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let late = runtime.block_on(rig.append(1, 100));
    assert_eq!(late, Some(Err(AppendError::Refused)));
    assert_eq!(
        Progress::Lost,
        runtime.block_on(async {
            if rig.state("x").wait().await { Progress::Committed } else { Progress::Lost }
        })
    );
}
