use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use headgate_log::disk::ForgetfulDisk;
use headgate_log::wal::{CopiedGroup, Stamp, StateMeta, WalWriter, WalWriterConfig, read_groups};
use headgate_metadata::id::{
    ClusterId, Incarnation, KeyId, NodeId, SlotEpoch, SlotId, TimestampMs, WalPosition,
};
use headgate_metadata::record::Fragment;
use headgate_metadata::simulated::{Fate, Operation, Passage, SimulatedStore};

use super::*;
use crate::clock::ManualClock;
use crate::config::WalSync;
use crate::mirrors::MirrorParts;
use crate::peer::PeerReply;

/// A mirror of the logs of several owners, which hold one group each.
struct Scene {
    relief: Relief,
    clock: Arc<ManualClock>,
    group_end: WalPosition,
    /// Whether the metadata store is.
    away: Arc<AtomicBool>,
}

impl Scene {
    async fn of(owners: &[u32]) -> Self {
        let clock = ManualClock::at(TimestampMs::new(1_000_000));
        let mirrors = Mirrors::new(MirrorParts {
            me: (NodeId::new(9), Incarnation::new(1)),
            disk: Arc::new(ForgetfulDisk::new()),
            wal_dir: "/wal".into(),
            wal_sync: WalSync::Fsync,
            clock: clock.clone(),
            free_space: Arc::new(|_| Some(1 << 30)),
        });
        let away = Arc::new(AtomicBool::new(false));
        let is_away = Arc::clone(&away);
        let store: SharedStore = Arc::new(SimulatedStore::new(move |_: Operation<'_>| {
            if is_away.load(Ordering::Relaxed) { Passage::ending(Fate::NotSent) } else { Passage::FREE }
        }));
        let mut group_end = WalPosition::new(0);
        for owner in owners {
            let wal = wal(*owner);
            let group = group_of(wal);
            group_end = group.end;
            mirrors.join(wal, WalPosition::new(0)).await;
            mirrors.append(wal, group).await;
            assert!(
                matches!(mirrors.finish(wal).await, PeerReply::Held { position, .. } if position == group_end)
            );
            let fragments = vec![Fragment { start: WalPosition::new(0), ensemble: vec![mirrors.me()] }];
            let record = WalRecord { wal, state: WalState::Open, fragments };
            let put = Transaction::new().then(Write::Put(keys::wal(wal), record.encode()));
            store.commit(put).await.expect("memory does not fail");
        }
        let relief = Relief { mirrors, store, clock: clock.clone(), well: BTreeMap::new() };
        Self { relief, clock, group_end, away }
    }

    /// Time passes in steps in which every owner says how far it has committed, and the mirror looks; what it relieves.
    async fn pass(&mut self, seconds: u64, committed: &[(u32, u64)]) -> Vec<WalId> {
        let mut relieved = Vec::new();
        for _ in 0..seconds * 5 {
            self.clock.advance(Duration::from_millis(200));
            for (owner, position) in committed {
                self.relief.mirrors.confirm(wal(*owner), Some(WalPosition::new(*position)));
            }
            relieved.extend(self.relief.relieve().await);
        }
        relieved
    }

    async fn state(&self, owner: u32) -> WalState {
        let entry = self.relief.store.get(&keys::wal(wal(owner))).await.expect("memory does not fail");
        WalRecord::decode(&entry.expect("the WAL is there").value).expect("a record").state
    }
}

fn wal(owner: u32) -> WalId {
    WalId { node: NodeId::new(owner), incarnation: Incarnation::new(7) }
}

fn group_of(wal: WalId) -> CopiedGroup {
    let (disk, root) = (Arc::new(ForgetfulDisk::new()), Path::new("/owner"));
    let config = WalWriterConfig { chunk_bytes: 4096 };
    let mut writer = WalWriter::create(disk.clone(), root, wal, config).expect("the disk works");
    let mut group = writer.begin_group(TimestampMs::new(1));
    let stamp = Stamp {
        slot: SlotId::new(1),
        slot_epoch: SlotEpoch::new(1),
        slot_time: TimestampMs::new(1),
        key_id: KeyId::new(0),
    };
    let state = StateMeta {
        cluster: ClusterId::from_random(1),
        kind: 9,
        key: Bytes::from_static(b"key"),
        value: Some(Bytes::from_static(b"value")),
    };
    group.push_state(&stamp, &state);
    let end = writer.write(group).expect("the disk works").end;
    writer.sync().expect("the disk works");
    let groups = read_groups(&*disk, root, wal, WalPosition::new(0), end, 1 << 20).expect("it was written");
    groups.into_iter().next().expect("one was written")
}

#[tokio::test]
async fn section_10_an_owner_that_is_heard_and_commits_nothing_is_relieved() {
    let mut scene = Scene::of(&[1, 2]).await;
    let end = scene.group_end.get();
    assert_eq!(scene.pass(3, &[(1, 0), (2, end)]).await, []);
    assert_eq!(scene.pass(2, &[(1, 0), (2, end)]).await, [wal(1)]);
    assert_eq!(scene.state(1).await, WalState::Sealing);
    assert_eq!(scene.state(2).await, WalState::Open);
}

#[tokio::test]
async fn section_10_an_owner_that_commits_slowly_is_not_relieved() {
    let mut scene = Scene::of(&[1, 2]).await;
    let end = scene.group_end.get();
    for position in 0..end.min(5) {
        assert_eq!(scene.pass(2, &[(1, position), (2, end)]).await, []);
    }
    assert_eq!(scene.pass(60, &[(1, end), (2, end)]).await, [], "nothing waits to be committed");
}

/// Whatever is wrong with most of them is not wrong with one.
#[tokio::test]
async fn section_10_when_most_owners_stand_still_none_is_relieved() {
    let mut scene = Scene::of(&[1, 2, 3]).await;
    let end = scene.group_end.get();
    assert_eq!(scene.pass(60, &[(1, 0), (2, 0), (3, end)]).await, []);
    assert_eq!(scene.pass(2, &[(1, 0), (2, end), (3, end)]).await, [wal(1)]);
}

#[tokio::test]
async fn section_10_reliefs_of_a_cell_are_five_minutes_apart() {
    let mut scene = Scene::of(&[1, 2, 3]).await;
    let end = scene.group_end.get();
    assert_eq!(scene.pass(5, &[(1, 0), (2, end), (3, end)]).await, [wal(1)]);
    scene.relief.mirrors.fence(wal(1), false).await;
    assert_eq!(scene.pass(290, &[(2, 0), (3, end)]).await, []);
    assert_eq!(scene.pass(15, &[(2, 0), (3, end)]).await, [wal(2)]);
}

/// While the store was away the owner could not leave a dead mirror behind; it may do so first.
#[tokio::test]
async fn section_10_after_an_absence_of_the_metadata_store_an_owner_may_help_itself_first() {
    let mut scene = Scene::of(&[1, 2]).await;
    let end = scene.group_end.get();
    scene.away.store(true, Ordering::Relaxed);
    assert_eq!(scene.pass(20, &[(1, 0), (2, end)]).await, []);
    scene.away.store(false, Ordering::Relaxed);
    scene.clock.advance(Duration::from_millis(100));
    assert_eq!(scene.relief.relieve().await, None, "the store has only just come back");
    assert_eq!(scene.pass(1, &[(1, end), (2, end)]).await, []);
    assert_eq!(scene.pass(2, &[(1, end), (2, end)]).await, []);
    assert_eq!(scene.state(1).await, WalState::Open);
}

/// A copy that its owner does not wait for any more says nothing about the owner.
#[tokio::test]
async fn section_10_only_a_member_that_is_told_again_and_again_relieves() {
    let mut scene = Scene::of(&[1, 2]).await;
    let end = scene.group_end.get();
    assert_eq!(scene.pass(2, &[(1, 0), (2, end)]).await, []);
    assert_eq!(scene.pass(60, &[(2, end)]).await, [], "nothing was heard of it any more");
    assert_eq!(scene.pass(3, &[(1, 0), (2, end)]).await, [], "and its time begins anew");
    let record = WalRecord { wal: wal(1), state: WalState::Open, fragments: Vec::new() };
    let put = Transaction::new().then(Write::Put(keys::wal(wal(1)), record.encode()));
    scene.relief.store.commit(put).await.expect("memory does not fail");
    assert_eq!(scene.pass(60, &[(1, 0), (2, end)]).await, [], "it is no member any more");
}
