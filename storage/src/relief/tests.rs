use std::sync::atomic::{AtomicBool, Ordering};

use headgate_log::disk::ForgetfulDisk;
use headgate_metadata::id::{Incarnation, NodeId, TimestampMs, WalPosition};
use headgate_metadata::record::Fragment;
use headgate_metadata::simulated::{Fate, Operation, Passage, SimulatedStore};

use super::*;
use crate::clock::ManualClock;
use crate::config::WalSync;
use crate::mirrors::MirrorParts;
use crate::peer::PeerReply;

/// A mirror of the logs of several owners.
struct Scene {
    relief: Relief,
    clock: Arc<ManualClock>,
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
        for owner in owners {
            let wal = wal(*owner);
            mirrors.join(wal, WalPosition::new(0)).await;
            assert!(matches!(mirrors.finish(wal).await, PeerReply::Held { .. }));
            let fragments = vec![Fragment { start: WalPosition::new(0), ensemble: vec![mirrors.me()] }];
            put(&store, &WalRecord { wal, state: WalState::Open, fragments }).await;
        }
        let relief = Relief { mirrors, store, clock: clock.clone(), well: BTreeMap::new() };
        Self { relief, clock, away }
    }

    /// Time passes in steps in which each of these owners says for how many ms it has stood still, and the mirror looks; what it
    /// relieves.
    async fn pass(&mut self, seconds: u64, said: &[(u32, u64)]) -> Vec<WalId> {
        let mut relieved = Vec::new();
        for _ in 0..seconds * 5 {
            self.clock.advance(Duration::from_millis(200));
            for (owner, still_ms) in said {
                self.relief.mirrors.confirm(wal(*owner), Some(Duration::from_millis(*still_ms)));
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

async fn put(store: &SharedStore, record: &WalRecord) {
    let put = Transaction::new().then(Write::Put(keys::wal(record.wal), record.encode()));
    store.commit(put).await.expect("memory does not fail");
}

fn wal(owner: u32) -> WalId {
    WalId { node: NodeId::new(owner), incarnation: Incarnation::new(7) }
}

#[tokio::test]
async fn section_10_an_owner_that_is_heard_and_stands_still_is_relieved() {
    let mut scene = Scene::of(&[1, 2]).await;
    assert_eq!(scene.pass(60, &[(1, 2_999), (2, 0)]).await, []);
    assert_eq!(scene.pass(2, &[(1, 3_000), (2, 0)]).await, [wal(1)]);
    assert_eq!(scene.state(1).await, WalState::Sealing);
    assert_eq!(scene.state(2).await, WalState::Open);
    let relief = scene.relief.store.get(keys::RELIEF).await.expect("memory does not fail").expect("written");
    assert_eq!(std::str::from_utf8(&relief.value), Ok(r#"{"v":1,"wal":"1-7","by":9,"at":1061200}"#));
}

/// Whatever is wrong with most of them is not wrong with one.
#[tokio::test]
async fn section_10_when_most_owners_stand_still_none_is_relieved() {
    let mut scene = Scene::of(&[1, 2, 3]).await;
    assert_eq!(scene.pass(60, &[(1, 9_000), (2, 9_000), (3, 0)]).await, []);
    assert_eq!(scene.pass(2, &[(1, 9_000), (2, 0), (3, 0)]).await, [wal(1)]);
}

#[tokio::test]
async fn section_10_reliefs_of_a_cell_are_five_minutes_apart() {
    let mut scene = Scene::of(&[1, 2, 3]).await;
    assert_eq!(scene.pass(2, &[(1, 9_000), (2, 0), (3, 0)]).await, [wal(1)]);
    scene.relief.mirrors.fence(wal(1), false).await;
    assert_eq!(scene.pass(290, &[(2, 9_000), (3, 0)]).await, []);
    assert_eq!(scene.pass(15, &[(2, 9_000), (3, 0)]).await, [wal(2)]);
}

/// Whoever wrote the last one had a clock that was hours ahead.
#[tokio::test]
async fn section_10_a_relief_from_the_future_forbids_none() {
    let mut scene = Scene::of(&[1, 2]).await;
    let last =
        ReliefRecord { wal: wal(3), by: NodeId::new(4), at: TimestampMs::new(1_000_000 + 12 * 3_600_000) };
    let put = Transaction::new().then(Write::Put(keys::RELIEF.to_owned(), last.encode()));
    scene.relief.store.commit(put).await.expect("memory does not fail");
    assert_eq!(scene.pass(2, &[(1, 9_000), (2, 0)]).await, [wal(1)]);
}

/// Copies of owners that say nothing any more make no healthy majority.
#[tokio::test]
async fn section_10_copies_that_nobody_follows_do_not_count() {
    let mut scene = Scene::of(&[1, 2, 3, 4]).await;
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.pass(60, &[(1, 9_000), (2, 9_000), (3, 0)]).await, []);
}

/// While the store was away the owner could not leave a dead mirror behind; it may do so first.
#[tokio::test]
async fn section_10_after_an_absence_of_the_metadata_store_an_owner_may_help_itself_first() {
    let mut scene = Scene::of(&[1, 2]).await;
    scene.away.store(true, Ordering::Relaxed);
    assert_eq!(scene.pass(20, &[(1, 9_000), (2, 0)]).await, []);
    scene.away.store(false, Ordering::Relaxed);
    scene.clock.advance(Duration::from_millis(100));
    assert_eq!(scene.relief.relieve().await, None, "the store has only just come back");
    assert_eq!(scene.pass(3, &[(1, 0), (2, 0)]).await, []);
    assert_eq!(scene.state(1).await, WalState::Open);
}

/// A copy that its owner does not wait for any more says nothing about the owner.
#[tokio::test]
async fn section_10_only_a_member_that_is_told_again_and_again_relieves() {
    let mut scene = Scene::of(&[1, 2]).await;
    scene.relief.mirrors.confirm(wal(1), Some(Duration::from_secs(9)));
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.pass(60, &[(2, 0)]).await, [], "nothing was heard of it any more");
    put(&scene.relief.store, &WalRecord { wal: wal(1), state: WalState::Open, fragments: Vec::new() }).await;
    assert_eq!(scene.pass(60, &[(1, 9_000), (2, 0)]).await, [], "it is no member any more");
}
