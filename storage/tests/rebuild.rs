//! A metadata store restored from an old backup: the node stops and does not start again, a rebuild puts the store together from
//! objects and WALs, and nothing that was acknowledged is lost (`storage/PROTOCOL.md` §6.6).

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headgate_log::disk::{Disk, ForgetfulDisk};
use headgate_log::wal::remove_wal;
use headgate_metadata::id::{Incarnation, LeaderEpoch, NodeId, Offset, SlotId, TimestampMs, WalId};
use headgate_metadata::keys;
use headgate_metadata::record::{Record, RemovedRecord};
use headgate_metadata::simulated::{Backup, Fate, Operation, Passage, SimulatedStore};
use headgate_metadata::store::{MetadataStore, Transaction, Write};
use headgate_storage::rebuild::{Holdings, HoldingsError, Loss, OnLoss, Rebuild, RebuildError};
use headgate_storage::{Node, StartError};
use headgate_storage_client::{
    AppendError, CommitOffsets, FetchOffsets, GroupAddress, MemberIdentity, OffsetToCommit, PartitionAddress,
    Storage,
};
use support::{
    Batch, Cell, START_MS, append, append_value, caller, cluster, partition, read_all, try_append,
};

/// A cell whose metadata store can be put back.
struct World {
    cell: Cell,
    store: SimulatedStore,
    lives: AtomicU64,
}

impl World {
    async fn new() -> Self {
        let mut cell = Cell::new().await;
        let store = SimulatedStore::without_faults();
        let entry = cell.store.get(keys::CELL).await.expect("memory does not fail").expect("there is a cell");
        let put = Transaction::new().then(Write::Put(entry.key, entry.value));
        store.commit(put).await.expect("nothing fails");
        cell.store = Arc::new(store.clone());
        Self { cell, store, lives: AtomicU64::new(1) }
    }

    fn holdings(&self) -> Result<Holdings, HoldingsError> {
        let disk: Arc<dyn Disk> = Arc::new(self.cell.disk.clone());
        Holdings::read(&disk, &self.cell.config.wal_dir, None)
    }

    async fn decide(&self) -> Rebuild {
        self.decide_from(&[self.holdings().expect("the directory is readable")]).await
    }

    async fn decide_from(&self, given: &[Holdings]) -> Rebuild {
        let now = TimestampMs::new(START_MS);
        let (objects, random) = (self.cell.objects.store(), self.lives.fetch_add(1, Ordering::SeqCst));
        Rebuild::decide(&self.store, &objects, given, random, now).await.expect("everything answers")
    }

    /// Rebuilds without a loss and starts.
    async fn rebuild(&self) -> Arc<Node> {
        let rebuild = self.decide().await;
        assert_eq!(rebuild.losses(), [], "{rebuild}");
        rebuild.write(&*self.cell.store, OnLoss::Refuse).await.expect("nothing is lost");
        self.cell.start().await
    }

    async fn delete_objects(&self, is_wanted: impl Fn(&str) -> bool) {
        let objects = self.cell.objects.store();
        for kind in ["flush", "manifest"] {
            for object in objects.list(kind).await.expect("memory does not fail") {
                if is_wanted(object.name.as_str()) {
                    objects.delete(&object.name).await.expect("memory does not fail");
                }
            }
        }
    }
}

fn group() -> GroupAddress {
    GroupAddress { cluster: cluster(1), group: "g".into(), slot: SlotId::new(3) }
}

async fn commit(node: &Node, offset: u64) {
    let key = partition(1, 0).key;
    let offsets = vec![OffsetToCommit {
        topic: key.topic,
        partition: key.partition,
        offset: Offset::new(offset),
        epoch: None,
        metadata: "".into(),
    }];
    let identity = MemberIdentity { member: "".into(), instance: None };
    let commit = CommitOffsets { identity, generation: -1, offsets };
    node.commit_offsets(&caller(cluster(1)), &group(), commit).await.expect("committed");
}

async fn committed(node: &Node) -> Option<u64> {
    let fetch = FetchOffsets { identity: None, partitions: None };
    let found = node.fetch_offsets(&caller(cluster(1)), &group(), fetch).await.expect("owned");
    found.first().map(|committed| committed.offset.get())
}

async fn epoch(node: &Node, slot: u16) -> LeaderEpoch {
    node.leader_epoch(SlotId::new(slot)).await.expect("owned")
}

async fn producer_id(node: &Node) -> u64 {
    node.allocate_producer_id(&caller(cluster(1))).await.expect("the store answers").get()
}

fn bytes_in(node: &Node, at: PartitionAddress) -> u64 {
    let usage = node.usage_snapshot(at.key.cluster);
    usage
        .partitions
        .iter()
        .find(|usage| usage.partition == at)
        .map_or(0, |usage| usage.counters.bytes_in.get())
}

/// One round of everything: idempotent records in two partitions, an offset of a group.
async fn write_round(node: &Node, round: u32) {
    for index in [0, 1] {
        for more in 0..3 {
            let sequence = round * 3 + more;
            let batch = Batch::of(&[&format!("{index}-{sequence}")]).by(7 + u64::from(index), 0, sequence);
            assert_eq!(append(node, partition(1, index), &batch).await, u64::from(sequence));
        }
    }
    commit(node, u64::from(round) + 1).await;
}

async fn check_rounds(node: &Node, rounds: u32) {
    for index in [0, 1] {
        let expected: Vec<(u64, String)> =
            (0..rounds * 3).map(|sequence| (u64::from(sequence), format!("{index}-{sequence}"))).collect();
        assert_eq!(read_all(node, partition(1, index), 0).await, expected);
    }
    assert_eq!(committed(node).await, Some(u64::from(rounds)));
}

async fn flush(node: &Node) {
    node.flush_now().await.expect("the flush succeeds");
}

async fn write_manifests(node: &Node) {
    node.write_manifests_now().await.expect("the manifests are written");
}

/// Rounds over several starts, some flushed, some in manifests, some in the WAL alone; what stood in the store after the first.
async fn long_life(world: &World) -> (Backup, Arc<Node>) {
    let node = world.cell.start().await;
    write_round(&node, 0).await;
    let backup = world.store.backup();
    flush(&node).await;
    write_round(&node, 1).await;
    flush(&node).await;
    write_manifests(&node).await;
    write_round(&node, 2).await;
    node.halt().await;
    let node = world.cell.start().await;
    write_round(&node, 3).await;
    flush(&node).await;
    write_manifests(&node).await;
    node.shutdown().await;
    let node = world.cell.start().await;
    write_round(&node, 4).await;
    flush(&node).await;
    write_round(&node, 5).await;
    (backup, node)
}

#[tokio::test]
async fn section_6_6_an_old_backup_is_refused_and_a_rebuild_brings_back_everything_acknowledged() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    let (usage, before) = (bytes_in(&node, partition(1, 0)), epoch(&node, 0).await);
    let drawn = producer_id(&node).await;
    node.halt().await;
    world.store.restore(backup);
    let refused = world.cell.try_start().await.err().expect("the store went back").to_string();
    assert!(refused.contains("headgate metadata rebuild"), "{refused}");
    let node = world.rebuild().await;
    check_rounds(&node, 6).await;
    assert_eq!(bytes_in(&node, partition(1, 0)), usage);
    assert!(epoch(&node, 0).await > before);
    assert!(producer_id(&node).await > drawn);
    // Producers go on, a retry is known and a gap is refused.
    let batch = |sequence| Batch::of(&[&format!("0-{sequence}")]).by(7, 0, sequence);
    assert_eq!(append(&node, partition(1, 0), &batch(17)).await, 17);
    assert_eq!(try_append(&node, partition(1, 0), &batch(30)).await, Err(AppendError::OutOfOrderSequence));
    write_round(&node, 6).await;
    check_rounds(&node, 7).await;
    // And life goes on as ever.
    flush(&node).await;
    write_manifests(&node).await;
    node.shutdown().await;
    let node = world.cell.start().await;
    check_rounds(&node, 7).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_6_a_store_without_slots_and_wals_is_rebuilt_too() {
    let world = World::new().await;
    let empty = world.store.backup();
    let (_, node) = long_life(&world).await;
    node.halt().await;
    world.store.restore(empty);
    let node = world.rebuild().await;
    check_rounds(&node, 6).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_6_a_store_may_go_back_again_after_it_was_rebuilt() {
    let world = World::new().await;
    let (mut backup, node) = long_life(&world).await;
    node.halt().await;
    let mut rounds = 6;
    for _ in 0..3 {
        world.store.restore(backup);
        let node = world.rebuild().await;
        backup = world.store.backup();
        write_round(&node, rounds).await;
        flush(&node).await;
        rounds += 1;
        write_round(&node, rounds).await;
        rounds += 1;
        write_manifests(&node).await;
        check_rounds(&node, rounds).await;
        node.halt().await;
    }
    assert!(matches!(world.cell.start().await.wal().incarnation.get(), 3_145_729..));
}

#[tokio::test]
async fn section_6_6_a_running_node_stops_when_its_store_goes_back_and_refuses_to_start_again() {
    let world = World::new().await;
    let node = world.cell.start().await;
    let backup = world.store.backup();
    write_round(&node, 0).await;
    flush(&node).await;
    assert!(!world.cell.stopped.load(Ordering::SeqCst));
    world.store.restore(backup);
    node.flush_now().await.ok();
    node.write_manifests_now().await.expect_err("the store is not asked any more");
    assert!(world.cell.stopped.load(Ordering::SeqCst));
    node.halt().await;
    // Whatever the revision has come to since, the node remembers what it saw.
    let refused = world.cell.try_start().await.err().expect("the store went back");
    assert!(matches!(refused, StartError::MetadataWentBack { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn section_6_6_a_quiet_node_notices_within_seconds() {
    let world = World::new().await;
    let backup = world.store.backup();
    let node = world.cell.start().await;
    world.store.restore(backup);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.cell.stopped.load(Ordering::SeqCst));
    node.halt().await;
}

#[tokio::test]
async fn a_rebuild_that_is_done_again_changes_nothing() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    node.halt().await;
    world.store.restore(backup);
    let rebuild = world.decide().await;
    assert!(rebuild.write(&world.store, OnLoss::Refuse).await.expect("nothing is lost") > 0);
    let again = world.decide().await;
    assert_eq!(again.write(&world.store, OnLoss::Refuse).await.expect("nothing is lost"), 0);
    // WALs that are gone are known to be by now; all else is as it was.
    let drawn = |rebuild: &Rebuild| {
        let text = rebuild.to_string();
        text.lines().filter(|line| !line.contains("are gone")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(drawn(&rebuild), drawn(&again));
}

#[tokio::test]
async fn a_rebuild_that_was_cut_off_anywhere_is_finished_by_the_next() {
    for commits in 0.. {
        let world = World::new().await;
        let (backup, node) = long_life(&world).await;
        node.halt().await;
        world.store.restore(backup);
        let left = std::sync::atomic::AtomicUsize::new(commits);
        let failing = world.store.client(move |operation: Operation<'_>| {
            let cut = matches!(operation, Operation::Commit(_))
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
            Passage { fate: if cut { Fate::NotSent } else { Fate::Done }, ..Passage::FREE }
        });
        let is_whole = world.decide().await.write(&failing, OnLoss::Refuse).await.is_ok();
        if !is_whole {
            assert!(world.cell.try_start().await.is_err(), "half a rebuild is no store to start on");
        }
        let node = world.rebuild().await;
        check_rounds(&node, 6).await;
        node.halt().await;
        if is_whole {
            break;
        }
    }
}

#[tokio::test]
async fn a_store_that_is_written_to_meanwhile_is_not_overwritten() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    node.halt().await;
    world.store.restore(backup);
    let rebuild = world.decide().await;
    let put = Transaction::new().then(Write::Put(keys::slot(SlotId::new(0)), "{}".into()));
    world.store.commit(put).await.expect("nothing fails");
    let refused = rebuild.write(&world.store, OnLoss::Refuse).await;
    assert!(matches!(refused, Err(RebuildError::NotAlone)), "{refused:?}");
}

#[tokio::test]
async fn a_life_that_is_gone_is_missed_by_the_next_and_refused_until_the_loss_is_accepted() {
    let world = World::new().await;
    let empty = world.store.backup();
    let mut node = world.cell.start().await;
    for round in 0..4 {
        write_round(&node, round).await;
        flush(&node).await;
        node.shutdown().await;
        node = world.cell.start().await;
    }
    write_round(&node, 4).await;
    node.halt().await;
    let third = WalId { node: NodeId::new(1), incarnation: Incarnation::new(3) };
    world.delete_objects(|name| name.contains("/1-3/")).await;
    remove_wal(&world.cell.disk, &world.cell.config.wal_dir, third).expect("memory does not fail");
    world.store.restore(empty);
    let rebuild = world.decide().await;
    let lost = |loss: &Loss| matches!(loss, Loss::Life { slot, wal, .. } if slot.get() == 0 && *wal == third);
    assert!(rebuild.losses().iter().any(lost), "{rebuild}");
    assert!(
        rebuild.to_string().contains("LOSS: slot 0: records of epoch 3 in WAL 1-3 are not there up to"),
        "{rebuild}"
    );
    let refused = rebuild.write(&world.store, OnLoss::Refuse).await;
    assert!(matches!(refused, Err(RebuildError::Losses(_))), "{refused:?}");
    assert!(world.cell.try_start().await.is_err());
    rebuild.write(&world.store, OnLoss::Accept).await.expect("the loss is accepted");
    let node = world.cell.start().await;
    check_rounds(&node, 2).await;
    write_round(&node, 2).await;
    node.shutdown().await;
}

#[tokio::test]
async fn a_hole_inside_a_wal_is_named_by_its_offsets_and_the_slot_ends_before_it() {
    let world = World::new().await;
    let empty = world.store.backup();
    let node = world.cell.start().await;
    for round in 0..3 {
        write_round(&node, round).await;
        flush(&node).await;
    }
    write_round(&node, 3).await;
    node.halt().await;
    let objects = world.cell.objects.store();
    let listed = objects.list("flush").await.expect("memory does not fail");
    let mut names: Vec<_> = listed.into_iter().map(|object| object.name).collect();
    names.sort_unstable();
    objects.delete(&names[1]).await.expect("memory does not fail");
    world.store.restore(empty);
    let rebuild = world.decide().await;
    let expected = |loss: &Loss| match loss {
        Loss::Offsets { partition: key, from, to, .. } => {
            *key == partition(1, 0).key && (from.get(), to.get()) == (3, 6)
        }
        _ => false,
    };
    assert!(rebuild.losses().iter().any(expected), "{rebuild}");
    rebuild.write(&world.store, OnLoss::Accept).await.expect("the loss is accepted");
    let node = world.cell.start().await;
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 3);
    assert_eq!(append_value(&node, partition(1, 0), "next").await, 3);
    node.shutdown().await;
}

#[tokio::test]
async fn a_missing_manifest_is_a_loss() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    node.halt().await;
    world.delete_objects(|name| name.starts_with("manifest")).await;
    world.store.restore(backup);
    let rebuild = world.decide().await;
    let lost =
        |loss: &Loss| matches!(loss, Loss::Manifest { .. } | Loss::Beginning { .. } | Loss::Life { .. });
    assert!(rebuild.losses().iter().any(lost), "{rebuild}");
}

#[tokio::test]
async fn wals_that_are_not_given_or_damaged_are_a_loss() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    let wal = node.wal();
    node.shutdown().await;
    world.store.restore(backup);
    assert_eq!(world.decide_from(&[]).await.losses(), [Loss::NoWals]);
    let twice = [world.holdings().expect("readable"), world.holdings().expect("readable")];
    let now = TimestampMs::new(START_MS);
    let refused = Rebuild::decide(&world.store, &world.cell.objects.store(), &twice, 7, now).await;
    assert!(matches!(refused, Err(RebuildError::NodeTwice(_))), "{refused:?}");
    let dir = world.cell.config.wal_dir.join(wal.to_string());
    let chunk = dir.join(&world.cell.disk.list(&dir).expect("memory does not fail")[0]);
    world.cell.disk.flip_bit(&chunk, 100, 3);
    let rebuild = world.decide().await;
    assert!(rebuild.losses().iter().any(|loss| matches!(loss, Loss::Copies { .. })), "{rebuild}");
    world.cell.disk.remove(&chunk).expect("memory does not fail");
    let rebuild = world.decide().await;
    assert!(rebuild.losses().iter().any(|loss| matches!(loss, Loss::Files { .. })), "{rebuild}");
}

#[tokio::test]
async fn a_node_whose_wals_were_not_given_is_refused_by_the_rebuilt_store() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    node.halt().await;
    world.store.restore(backup);
    let rebuild = world.decide_from(&[]).await;
    rebuild.write(&world.store, OnLoss::Accept).await.expect("the loss is accepted");
    for value in 0..200_u8 {
        let put = Transaction::new().then(Write::Put("port/09100".to_owned(), vec![value].into()));
        world.store.commit(put).await.expect("nothing fails");
    }
    let refused = world.cell.try_start().await.err().expect("its WALs were not seen");
    assert!(matches!(refused, StartError::AnotherLife { .. }), "{refused}");
}

#[tokio::test]
async fn topics_that_the_backup_lacks_are_named_and_removed_ones_are_not_missed() {
    let world = World::new().await;
    let node = world.cell.start().await;
    let backup = world.store.backup();
    for cluster_index in [1, 2, 3] {
        world.cell.put_topic(partition(cluster_index, 0), &[]).await;
        append_value(&node, partition(cluster_index, 0), "x").await;
    }
    let (gone, topic) = (partition(3, 0).key.cluster, partition(3, 0).key.topic);
    let removed = RemovedRecord { at: TimestampMs::new(START_MS), slots: vec![partition(3, 0).slot] };
    let put = Transaction::new().then(Write::Put(keys::removed_topic(gone, topic), removed.encode()));
    world.store.commit(put).await.expect("nothing fails");
    tokio::time::sleep(Duration::from_millis(50)).await;
    node.keep_house_now().await;
    node.halt().await;
    world.store.restore(backup);
    world.cell.put_topic(partition(2, 0), &[]).await;
    world.cell.put_topic(partition(3, 0), &[]).await;
    let rebuild = world.decide().await;
    let missing: Vec<&String> =
        rebuild.notes().iter().filter(|note| note.contains("created after")).collect();
    assert_eq!(missing.len(), 1, "{rebuild}");
    assert!(missing[0].contains(&partition(1, 0).key.topic.to_string()), "{rebuild}");
    assert!(rebuild.notes().iter().any(|note| note.contains("removed after the backup")), "{rebuild}");
}

#[tokio::test]
async fn a_description_that_was_carried_serves_as_the_directory_does() {
    let world = World::new().await;
    let (backup, node) = long_life(&world).await;
    node.halt().await;
    world.store.restore(backup);
    let carried = world.holdings().expect("readable").to_json();
    let holdings = Holdings::from_json(&carried).expect("our own text");
    assert_eq!(holdings, world.holdings().expect("readable"));
    assert!(Holdings::from_json("{}").is_err());
    assert!(Holdings::from_json(&carried.replacen("\"format\":1", "\"format\":2", 1)).is_err());
    let rebuild = world.decide_from(&[holdings]).await;
    rebuild.write(&world.store, OnLoss::Refuse).await.expect("nothing is lost");
    let node = world.cell.start().await;
    check_rounds(&node, 6).await;
    node.shutdown().await;
    let empty: Arc<dyn Disk> = Arc::new(ForgetfulDisk::new());
    let read = |disk: &Arc<dyn Disk>, node| Holdings::read(disk, &PathBuf::from("/wal"), node);
    assert!(matches!(read(&empty, None), Err(HoldingsError::NoNode { .. })));
    assert_eq!(read(&empty, Some(NodeId::new(4))).expect("it was said").node(), NodeId::new(4));
    let disk: Arc<dyn Disk> = Arc::new(world.cell.disk.clone());
    assert!(matches!(read(&disk, Some(NodeId::new(4))), Err(HoldingsError::OtherNode { .. })));
}
