//! The contract of groups, on a virtual clock and with a log whose commits the test decides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{ClusterId, Offset, PartitionId, Revision, SlotId, TopicId};
use headgate_storage_client::{
    Caller, CommitOffsets, FetchOffsets, GroupAddress, GroupError, GroupState, Join, Joined, Leave,
    MemberIdentity, OffsetToCommit, RequestId, Sync, Synced,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Coordinator, GroupLimits};
use crate::state_log::{Durable, Progress, StateLog, StateRecord};

/// Keeps what was submitted; commits at once, or when told to.
#[derive(Default)]
struct Log {
    submitted: Mutex<Vec<StateRecord>>,
    held: Mutex<Option<Vec<watch::Sender<Progress>>>>,
}

impl Log {
    fn hold(&self) {
        *self.held.lock().expect("unpoisoned") = Some(Vec::new());
    }
    fn settle(&self, progress: Progress) {
        for sender in self.held.lock().expect("unpoisoned").take().into_iter().flatten() {
            sender.send_replace(progress);
        }
    }
    fn records(&self) -> Vec<StateRecord> {
        self.submitted.lock().expect("unpoisoned").clone()
    }
}

impl StateLog for Log {
    fn submit_state(&self, _slot: SlotId, records: Vec<StateRecord>) -> Durable {
        self.submitted.lock().expect("unpoisoned").extend(records);
        match &mut *self.held.lock().expect("unpoisoned") {
            None => Durable::already(),
            Some(held) => {
                let (sender, durable) = Durable::pending();
                held.push(sender);
                durable
            }
        }
    }
}

struct World {
    coordinator: Arc<Coordinator>,
    log: Arc<Log>,
    address: GroupAddress,
}

impl World {
    fn new() -> Self {
        let log = Arc::new(Log::default());
        let coordinator = Arc::new(Coordinator::new(Arc::clone(&log) as _, GroupLimits::default()));
        let running = Arc::clone(&coordinator);
        drop(tokio::spawn(async move { running.run().await }));
        let address = GroupAddress { cluster: cluster(), group: "g".into(), slot: SlotId::new(1) };
        Self { coordinator, log, address }
    }

    fn join(&self, identity: MemberIdentity) -> JoinHandle<Result<Joined, GroupError>> {
        self.join_with(Join { identity, ..a_join() })
    }

    fn join_with(&self, join: Join) -> JoinHandle<Result<Joined, GroupError>> {
        let (coordinator, address) = (Arc::clone(&self.coordinator), self.address.clone());
        tokio::spawn(async move { coordinator.join(&caller(), &address, join).await })
    }

    fn sync(
        &self,
        joined: &Joined,
        assignments: Vec<(Arc<str>, Bytes)>,
    ) -> JoinHandle<Result<Synced, GroupError>> {
        let sync = Sync {
            identity: member(&joined.member),
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments,
        };
        let (coordinator, address) = (Arc::clone(&self.coordinator), self.address.clone());
        tokio::spawn(async move { coordinator.sync(&address, sync).await })
    }

    async fn heartbeat(&self, joined: &Joined) -> Result<(), GroupError> {
        self.coordinator.heartbeat(&self.address, &member(&joined.member), joined.generation).await
    }

    /// A stable group of one.
    async fn stable_one(&self) -> Joined {
        let joined = done(self.join(nobody())).await.expect("the first join succeeds");
        let all = vec![(Arc::clone(&joined.member), Bytes::from_static(b"all"))];
        done(self.sync(&joined, all)).await.expect("the leader syncs");
        joined
    }

    async fn commit(&self, identity: MemberIdentity, generation: i32, offset: u64) -> Result<(), GroupError> {
        let commit = CommitOffsets { identity, generation, offsets: vec![offset_to_commit(offset)] };
        self.coordinator.commit(&self.address, commit).await
    }

    async fn committed(&self) -> Vec<u64> {
        let all = FetchOffsets { identity: None, partitions: None };
        let fetched = self.coordinator.fetch(&self.address, all).await.expect("offsets can be fetched");
        fetched.iter().map(|committed| committed.offset.get()).collect()
    }
}

async fn done<T>(task: JoinHandle<T>) -> T {
    task.await.expect("the call does not panic")
}

fn cluster() -> ClusterId {
    ClusterId::from_random(1)
}
fn nobody() -> MemberIdentity {
    member("")
}
fn member(id: &str) -> MemberIdentity {
    MemberIdentity { member: id.into(), instance: None }
}
fn a_static(instance: &str) -> MemberIdentity {
    MemberIdentity { member: "".into(), instance: Some(instance.into()) }
}
fn a_join() -> Join {
    Join {
        identity: nobody(),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"m"))],
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_mins(1),
        member_id_required: false,
        supports_skip_assignment: true,
    }
}
fn caller() -> Caller {
    Caller {
        cluster: cluster(),
        principal: "arn:aws:iam::000000000001:user/u".into(),
        client_id: "client".into(),
        client_host: [127, 0, 0, 1].into(),
        patience: Duration::from_mins(1),
        request: RequestId(1),
        revision_seen: Revision::new(1),
        connection: 1,
    }
}
fn offset_to_commit(offset: u64) -> OffsetToCommit {
    OffsetToCommit {
        topic: TopicId::from_random(5),
        partition: PartitionId::new(0),
        offset: Offset::new(offset),
        epoch: None,
        metadata: "".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn members_that_start_together_are_one_generation() {
    let world = World::new();
    let (one, two) = (world.join(nobody()), world.join(nobody()));
    let (one, two) = (done(one).await.expect("joined"), done(two).await.expect("joined"));
    assert_eq!((one.generation, two.generation), (1, 1));
    assert_eq!(one.leader, two.leader);
    let leader = if one.leader == one.member { &one } else { &two };
    let follower = if one.leader == one.member { &two } else { &one };
    assert_eq!(leader.members.len(), 2, "the leader sees all members");
    assert!(follower.members.is_empty(), "a follower sees none");
}

#[tokio::test(start_paused = true)]
async fn every_member_gets_what_the_leader_assigned() {
    let world = World::new();
    let (one, two) = (world.join(nobody()), world.join(nobody()));
    let (one, two) = (done(one).await.expect("joined"), done(two).await.expect("joined"));
    let (leader, follower) = if one.leader == one.member { (one, two) } else { (two, one) };
    let waiting = world.sync(&follower, Vec::new());
    let assignments = vec![
        (Arc::clone(&leader.member), Bytes::from_static(b"L")),
        (Arc::clone(&follower.member), Bytes::from_static(b"F")),
    ];
    assert_eq!(done(world.sync(&leader, assignments)).await.expect("synced").assignment, "L");
    assert_eq!(done(waiting).await.expect("synced").assignment, "F");
    let description = world.coordinator.describe(&world.address).await.expect("described");
    assert_eq!(description.state, GroupState::Stable);
    assert_eq!(description.members.len(), 2);
    assert_eq!(&*description.members[0].client_host, "/127.0.0.1");
}

#[tokio::test(start_paused = true)]
async fn a_third_member_makes_the_others_rejoin() {
    let world = World::new();
    let first = world.stable_one().await;
    let late = world.join(nobody());
    tokio::task::yield_now().await;
    assert_eq!(world.heartbeat(&first).await, Err(GroupError::RebalanceInProgress));
    let again = done(world.join(member(&first.member))).await.expect("rejoined");
    assert_eq!(again.generation, 2);
    assert_eq!(done(late).await.expect("joined").generation, 2);
    assert_eq!(world.heartbeat(&first).await, Err(GroupError::IllegalGeneration));
}

#[tokio::test(start_paused = true)]
async fn a_first_join_is_told_its_member_id_when_the_client_can_take_it() {
    let world = World::new();
    let refused = done(world.join_with(Join { member_id_required: true, ..a_join() })).await;
    let Err(GroupError::MemberIdRequired { member: id }) = refused else { panic!("{refused:?}") };
    assert!(id.starts_with("client-"));
    let joined =
        done(world.join_with(Join { identity: member(&id), member_id_required: true, ..a_join() })).await;
    assert_eq!(joined.expect("the id is accepted").member, id);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_removed_after_its_session() {
    let world = World::new();
    let joined = world.stable_one().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.heartbeat(&joined).await.expect("in time");
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.heartbeat(&joined).await.expect("the session began anew");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(world.heartbeat(&joined).await, Err(GroupError::UnknownMember));
    let description = world.coordinator.describe(&world.address).await.expect("described");
    assert_eq!(description.state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_rejoin_does_not_hold_up_the_rest() {
    let world = World::new();
    let away = world.stable_one().await;
    let joined = done(world.join(nobody())).await.expect("joined without the one that is away");
    assert_eq!(joined.leader, joined.member);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(world.heartbeat(&away).await, Err(GroupError::UnknownMember));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_sync_is_removed_after_the_rebalance_timeout() {
    let world = World::new();
    let (one, two) = (world.join(nobody()), world.join(nobody()));
    let (one, two) = (done(one).await.expect("joined"), done(two).await.expect("joined"));
    let (leader, lazy) = if one.leader == one.member { (one, two) } else { (two, one) };
    done(world.sync(&leader, Vec::new())).await.expect("synced");
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if world.heartbeat(&leader).await.is_err() {
            break;
        }
    }
    assert_eq!(world.heartbeat(&lazy).await, Err(GroupError::UnknownMember));
}

#[tokio::test(start_paused = true)]
async fn leaving_starts_a_rebalance_at_once() {
    let world = World::new();
    let (one, two) = (world.join(nobody()), world.join(nobody()));
    let (one, two) = (done(one).await.expect("joined"), done(two).await.expect("joined"));
    let (leader, other) = if one.leader == one.member { (one, two) } else { (two, one) };
    done(world.sync(&leader, Vec::new())).await.expect("synced");
    let leaves = vec![Leave { identity: member(&other.member) }, Leave { identity: member("nobody") }];
    let outcomes = world.coordinator.leave(&world.address, leaves).await.expect("answered");
    assert_eq!(outcomes, [Ok(()), Err(GroupError::UnknownMember)]);
    assert_eq!(world.heartbeat(&leader).await, Err(GroupError::RebalanceInProgress));
}

#[tokio::test(start_paused = true)]
async fn a_static_member_that_comes_back_keeps_its_assignment_without_a_rebalance() {
    let world = World::new();
    let first = done(world.join(a_static("i"))).await.expect("joined");
    let identity = MemberIdentity { member: Arc::clone(&first.member), instance: Some("i".into()) };
    let all = vec![(Arc::clone(&first.member), Bytes::from_static(b"all"))];
    let sync = Sync {
        identity: identity.clone(),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: all,
    };
    world.coordinator.sync(&world.address, sync.clone()).await.expect("synced");
    let back = done(world.join(a_static("i"))).await.expect("rejoined");
    assert_eq!(back.generation, first.generation);
    assert_ne!(back.member, first.member);
    assert!(back.skip_assignment);
    let identity_now = MemberIdentity { member: Arc::clone(&back.member), instance: Some("i".into()) };
    let again = Sync { identity: identity_now, assignments: Vec::new(), ..sync };
    assert_eq!(world.coordinator.sync(&world.address, again).await.expect("synced").assignment, "all");
    let fenced = world.coordinator.heartbeat(&world.address, &identity, 1).await;
    assert_eq!(fenced, Err(GroupError::FencedInstance));
}

#[tokio::test(start_paused = true)]
async fn a_member_without_a_common_protocol_is_refused() {
    let world = World::new();
    world.stable_one().await;
    let other = Join { protocols: vec![("sticky".into(), Bytes::new())], ..a_join() };
    assert_eq!(done(world.join_with(other)).await, Err(GroupError::InconsistentProtocol));
    let connect = Join { protocol_type: "connect".into(), ..a_join() };
    assert_eq!(done(world.join_with(connect)).await, Err(GroupError::InconsistentProtocol));
}

#[tokio::test(start_paused = true)]
async fn a_session_timeout_outside_the_bounds_is_refused() {
    let world = World::new();
    let short = Join { session_timeout: Duration::from_secs(1), ..a_join() };
    assert_eq!(done(world.join_with(short)).await, Err(GroupError::InvalidSessionTimeout));
}

#[tokio::test(start_paused = true)]
async fn offsets_are_answered_only_when_committed() {
    let world = World::new();
    let joined = world.stable_one().await;
    world.log.hold();
    let (coordinator, address) = (Arc::clone(&world.coordinator), world.address.clone());
    let commit = CommitOffsets {
        identity: member(&joined.member),
        generation: joined.generation,
        offsets: vec![offset_to_commit(7)],
    };
    let mut pending = tokio::spawn(async move { coordinator.commit(&address, commit).await });
    let early = tokio::time::timeout(Duration::from_secs(1), &mut pending).await;
    assert!(early.is_err(), "the answer waits for the log");
    let reads = tokio::time::timeout(Duration::from_secs(1), world.committed()).await;
    assert!(reads.is_err(), "a read of what is not committed waits too");
    world.log.settle(Progress::Committed);
    assert_eq!(done(pending).await, Ok(()));
    assert_eq!(world.committed().await, [7]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_record_may_be_lost_is_not_given() {
    let world = World::new();
    let joined = world.stable_one().await;
    world.log.hold();
    let (coordinator, address) = (Arc::clone(&world.coordinator), world.address.clone());
    let commit = CommitOffsets {
        identity: member(&joined.member),
        generation: joined.generation,
        offsets: vec![offset_to_commit(7)],
    };
    let pending = tokio::spawn(async move { coordinator.commit(&address, commit).await });
    tokio::task::yield_now().await;
    world.log.settle(Progress::Lost);
    assert_eq!(done(pending).await, Err(GroupError::Unconfirmed));
}

#[tokio::test(start_paused = true)]
async fn commits_of_another_generation_or_of_strangers_are_refused() {
    let world = World::new();
    let joined = world.stable_one().await;
    let wrong = world.commit(member(&joined.member), joined.generation + 1, 1).await;
    assert_eq!(wrong, Err(GroupError::IllegalGeneration));
    assert_eq!(world.commit(member("x"), joined.generation, 1).await, Err(GroupError::UnknownMember));
    assert_eq!(world.commit(nobody(), -1, 1).await, Err(GroupError::UnknownMember));
    assert!(world.committed().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_simple_consumer_commits_to_a_group_without_members() {
    let world = World::new();
    world.commit(nobody(), -1, 5).await.expect("committed");
    assert_eq!(world.committed().await, [5]);
    assert_eq!(world.commit(nobody(), 3, 5).await, Err(GroupError::UnknownMember));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_owner_knows_members_and_offsets() {
    let world = World::new();
    let joined = world.stable_one().await;
    world.commit(member(&joined.member), joined.generation, 42).await.expect("committed");
    let after = World::new();
    for record in world.log.records() {
        after.coordinator.replay(SlotId::new(1), &record).expect("own records replay");
    }
    assert_eq!(after.committed().await, [42]);
    after.heartbeat(&joined).await.expect("the member of the last generation is known");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(after.heartbeat(&joined).await, Err(GroupError::UnknownMember), "and has a session");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_deleted_only_when_empty_and_then_for_good() {
    let world = World::new();
    let joined = world.stable_one().await;
    world.commit(member(&joined.member), joined.generation, 1).await.expect("committed");
    assert_eq!(world.coordinator.delete(&world.address).await, Err(GroupError::NotEmpty));
    let leave = vec![Leave { identity: member(&joined.member) }];
    world.coordinator.leave(&world.address, leave).await.expect("left");
    world.coordinator.delete(&world.address).await.expect("deleted");
    assert_eq!(world.coordinator.delete(&world.address).await, Err(GroupError::NotFound));
    let after = World::new();
    for record in world.log.records() {
        after.coordinator.replay(SlotId::new(1), &record).expect("own records replay");
    }
    assert!(after.committed().await.is_empty());
    assert!(after.coordinator.list(cluster(), &[SlotId::new(1)]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_for_their_cluster_and_slots_only() {
    let world = World::new();
    world.stable_one().await;
    assert_eq!(world.coordinator.list(cluster(), &[SlotId::new(1)]).len(), 1);
    assert!(world.coordinator.list(cluster(), &[SlotId::new(2)]).is_empty());
    assert!(world.coordinator.list(ClusterId::from_random(2), &[SlotId::new(1)]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_members_are_sent_elsewhere_when_the_slot_moves() {
    let world = World::new();
    let waiting = world.join(nobody());
    tokio::task::yield_now().await;
    world.coordinator.clear_slot(SlotId::new(1));
    assert_eq!(done(waiting).await, Err(GroupError::NotOwner));
}

#[tokio::test(start_paused = true)]
async fn a_removed_cluster_takes_its_groups_and_no_others() {
    let world = World::new();
    world.stable_one().await;
    world.coordinator.remove_cluster(ClusterId::from_random(2));
    assert_eq!(world.coordinator.list(cluster(), &[SlotId::new(1)]).len(), 1);
    world.coordinator.remove_cluster(cluster());
    assert!(world.coordinator.list(cluster(), &[SlotId::new(1)]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_beyond_the_clusters_limit_is_refused() {
    let log = Arc::new(Log::default());
    let limits = GroupLimits { groups_max: 1, ..GroupLimits::default() };
    let coordinator = Coordinator::new(log, limits);
    let address =
        |group: &str| GroupAddress { cluster: cluster(), group: group.into(), slot: SlotId::new(1) };
    let commit = || CommitOffsets { identity: nobody(), generation: -1, offsets: vec![offset_to_commit(1)] };
    coordinator.commit(&address("a"), commit()).await.expect("the first group fits");
    assert_eq!(coordinator.commit(&address("b"), commit()).await, Err(GroupError::LimitReached));
    coordinator.delete(&address("a")).await.expect("deleted");
    coordinator.commit(&address("b"), commit()).await.expect("room again");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_given_a_place_in_a_full_group_may_take_it() {
    let limits = GroupLimits { members_max: 1, ..GroupLimits::default() };
    let coordinator = Coordinator::new(Arc::new(Log::default()), limits);
    let address = GroupAddress { cluster: cluster(), group: "g".into(), slot: SlotId::new(1) };
    let asked = Join { member_id_required: true, ..a_join() };
    let Err(GroupError::MemberIdRequired { member: id }) = coordinator.join(&caller(), &address, asked).await
    else {
        panic!("an id is given out first");
    };
    let second = coordinator.join(&caller(), &address, a_join()).await;
    assert_eq!(second.err(), Some(GroupError::LimitReached));
    let running = tokio::spawn(async move {
        let caller = caller();
        let join = coordinator.join(&caller, &address, Join { identity: member(&id), ..a_join() });
        tokio::select! { joined = join => joined, () = coordinator.run() => unreachable!("runs for ever") }
    });
    assert_eq!(done(running).await.map(|joined| joined.generation), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_record_can_hold_is_refused() {
    let world = World::new();
    let long: Arc<str> = "x".repeat(70_000).into();
    let address = GroupAddress { group: Arc::clone(&long), ..world.address.clone() };
    let commit = CommitOffsets { identity: nobody(), generation: -1, offsets: vec![offset_to_commit(1)] };
    assert_eq!(world.coordinator.commit(&address, commit).await, Err(GroupError::InvalidId));
    let joined = world.coordinator.join(&caller(), &address, a_join()).await;
    assert_eq!(joined.err(), Some(GroupError::InvalidId));
    let joined = done(world.join(a_static(&long))).await;
    assert_eq!(joined.err(), Some(GroupError::InvalidId));
    let protocols = vec![(Arc::clone(&long), Bytes::new())];
    let joined = done(world.join_with(Join { protocols, ..a_join() })).await;
    assert_eq!(joined.err(), Some(GroupError::InconsistentProtocol));
    assert!(world.log.records().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_was_not_logged_is_logged_again_before_anybody_sees_it() {
    let world = World::new();
    world.commit(nobody(), -1, 5).await.expect("committed");
    world.log.hold();
    let (coordinator, address) = (Arc::clone(&world.coordinator), world.address.clone());
    let refused = tokio::spawn(async move {
        let commit = CommitOffsets { identity: nobody(), generation: -1, offsets: vec![offset_to_commit(7)] };
        coordinator.commit(&address, commit).await
    });
    tokio::task::yield_now().await;
    world.log.settle(Progress::Lost);
    assert_eq!(done(refused).await, Err(GroupError::Unconfirmed));
    let before = world.log.records().len();
    let other = OffsetToCommit { partition: PartitionId::new(1), ..offset_to_commit(1) };
    let commit = CommitOffsets { identity: nobody(), generation: -1, offsets: vec![other] };
    world.coordinator.commit(&world.address, commit).await.expect("there is room again");
    assert_eq!(world.committed().await, [7, 1]);
    let logged = world.log.records().split_off(before);
    let restored = Coordinator::new(Arc::new(Log::default()), GroupLimits::default());
    for record in &logged {
        restored.replay(SlotId::new(1), record).expect("it decodes");
    }
    let all = FetchOffsets { identity: None, partitions: None };
    let fetched = restored.fetch(&world.address, all).await.expect("fetched");
    assert_eq!(fetched.iter().map(|committed| committed.offset.get()).collect::<Vec<_>>(), [7, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_later_change_that_lasts_does_not_vouch_for_an_earlier_one_that_may_not() {
    let (first, earlier) = Durable::pending();
    let (second, later) = Durable::pending();
    let both = later.and(&earlier);
    second.send_replace(Progress::Committed);
    assert!(!both.is_lost(), "the earlier one may still be committed");
    first.send_replace(Progress::Lost);
    assert!(both.is_lost());
    assert!(!both.wait().await);
}
