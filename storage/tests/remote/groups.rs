//! Group calls: which are asked again, and when.

use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::SlotId;
use headgate_storage_client::{
    CommitOffsets, FetchOffsets, GroupAddress, GroupError, GroupState, Join, Leave, MemberIdentity, Storage,
    Sync,
};

use crate::cell::{Cell, caller, cluster, patient};

fn group(slot: u16) -> GroupAddress {
    GroupAddress { cluster: cluster(), group: "g".into(), slot: SlotId::new(slot) }
}

fn identity(member: &str) -> MemberIdentity {
    MemberIdentity { member: member.into(), instance: None }
}

fn join(member: &str) -> Join {
    Join {
        identity: identity(member),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"meta"))],
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(10),
        member_id_required: false,
        supports_skip_assignment: false,
    }
}

#[tokio::test]
async fn every_group_call_reaches_the_coordinator_and_brings_its_answer_back() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let (gateway, caller, group) = (cell.gateway().await, patient(7), group(1));
    let joined = gateway.join_group(&caller, &group, join("")).await.expect("joined");
    assert_eq!(&*joined.member, "new");
    let sync = Sync {
        identity: identity("new"),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: vec![("new".into(), Bytes::from_static(b"all"))],
    };
    assert_eq!(gateway.sync_group(&caller, &group, sync).await.expect("synced").assignment, "all");
    assert_eq!(gateway.heartbeat(&caller, &group, identity("new"), 1).await, Ok(()));
    let illegal = gateway.heartbeat(&caller, &group, identity("new"), 2).await;
    assert_eq!(illegal, Err(GroupError::IllegalGeneration));
    let commit = CommitOffsets { identity: identity("new"), generation: 1, offsets: Vec::new() };
    assert_eq!(gateway.commit_offsets(&caller, &group, commit).await, Ok(()));
    let fetch = FetchOffsets { identity: None, partitions: None };
    assert_eq!(gateway.fetch_offsets(&caller, &group, fetch).await, Ok(Vec::new()));
    assert_eq!(gateway.describe_group(&caller, &group).await.expect("described").state, GroupState::Dead);
    let members = vec![Leave { identity: identity("new") }];
    let left = gateway.leave_group(&caller, &group, members).await;
    assert_eq!(left, Ok(vec![Err(GroupError::UnknownMember)]));
    assert_eq!(gateway.delete_group(&caller, &group).await, Ok(()));
    for call in
        ["join_group", "sync_group", "commit_offsets", "describe_group", "leave_group", "delete_group"]
    {
        assert_eq!((nodes[0].owner.asked(call), nodes[1].owner.asked(call)), (0, 1), "{call}");
    }
}

/// Each time it is accepted it makes a new member.
#[tokio::test]
async fn a_join_without_a_member_id_is_not_sent_again_when_its_answer_is_lost() {
    for (member, again) in [("", false), ("known", true)] {
        let (cell, mut nodes) = Cell::new(2, 2).await;
        let gateway = cell.gateway().await;
        nodes[0].owner.hang_groups();
        let (caller, group) = (patient(7), group(0));
        let joining = gateway.join_group(&caller, &group, join(member));
        let dead = nodes.remove(0);
        let dying = async {
            dead.owner.until_asked("join_group", 1).await;
            drop(dead.server);
            nodes[0].owner.own(0);
            cell.give(0, 2, 2).await;
        };
        let (joined, ()) = tokio::join!(joining, dying);
        assert_eq!(joined.is_ok(), again, "{member:?}: {joined:?}");
        assert_eq!(nodes[0].owner.asked("join_group"), usize::from(again));
        if !again {
            assert_eq!(joined, Err(GroupError::Unconfirmed));
        }
    }
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_not_sent_again() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.hang_groups();
    let (caller, group) = (patient(7), group(0));
    let dead = nodes.remove(0);
    let (deleted, ()) = tokio::join!(gateway.delete_group(&caller, &group), async {
        dead.owner.until_asked("delete_group", 1).await;
        drop(dead.server);
        nodes[0].owner.own(0);
        cell.give(0, 2, 2).await;
    });
    assert_eq!(deleted, Err(GroupError::Unconfirmed));
    assert_eq!(nodes[0].owner.asked("delete_group"), 0);
}

#[tokio::test]
async fn a_group_call_waits_for_its_coordinator_within_the_callers_patience() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.disown(0);
    let impatient = caller(7, Duration::from_millis(100));
    let refused = gateway.heartbeat(&impatient, &group(0), identity("m"), 1).await;
    assert_eq!(refused, Err(GroupError::NotOwner));
    let (caller, group) = (patient(7), group(0));
    let (beat, ()) = tokio::join!(gateway.heartbeat(&caller, &group, identity("m"), 1), async {
        nodes[1].owner.own(0);
        cell.give(0, 2, 2).await;
    });
    assert_eq!(beat, Ok(()));
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_at_the_coordinator() {
    let (cell, nodes) = Cell::new(1, 1).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.hang_groups();
    let impatient = caller(7, Duration::from_millis(300));
    let given_up = gateway.heartbeat(&impatient, &group(0), identity("m"), 1).await;
    assert_eq!(given_up, Err(GroupError::Unconfirmed));
    assert_eq!(nodes[0].owner.asked("heartbeat"), 1);
    nodes[0].owner.until_waiting(0).await;
}

#[tokio::test]
async fn a_list_of_groups_is_whole_or_retriable() {
    let (cell, mut nodes) = Cell::new(2, 4).await;
    let gateway = cell.gateway().await;
    let slots: Vec<SlotId> = (0..4).map(SlotId::new).collect();
    let mut listed: Vec<String> = gateway
        .list_groups(&patient(7), &slots)
        .await
        .expect("all owners answer")
        .into_iter()
        .map(|listing| listing.group.to_string())
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, ["0", "1", "2", "3"]);
    // One slot moves: its owner's whole part is asked again.
    nodes[0].owner.disown(2);
    let caller_patient = patient(7);
    let (listed, ()) = tokio::join!(gateway.list_groups(&caller_patient, &slots), async {
        nodes[1].owner.own(2);
        cell.give(2, 2, 2).await;
    });
    assert_eq!(listed.expect("all owners answer").len(), 4);
    drop(nodes.remove(0).server);
    let shorter = gateway.list_groups(&caller(7, Duration::from_millis(200)), &slots).await;
    assert_eq!(shorter, Err(GroupError::NotOwner));
}
