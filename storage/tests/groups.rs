//! Groups through the node: what a coordinator logged is there after restarts, from the WAL and from manifests.

mod support;

use std::sync::Arc;

use headgate_metadata::id::{LeaderEpoch, Offset, SlotId};
use headgate_storage::Node;
use headgate_storage_client::{
    CommitOffsets, FetchOffsets, GroupAddress, GroupError, MemberIdentity, OffsetToCommit, Storage,
};
use support::{Cell, caller, cluster, partition};

fn group() -> GroupAddress {
    GroupAddress { cluster: cluster(1), group: "g".into(), slot: SlotId::new(3) }
}

async fn commit(node: &Node, offset: u64) {
    let key = partition(1, 0).key;
    let offsets = vec![OffsetToCommit {
        topic: key.topic,
        partition: key.partition,
        offset: Offset::new(offset),
        epoch: Some(LeaderEpoch::new(1)),
        metadata: "m".into(),
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

#[tokio::test]
async fn committed_offsets_survive_crashes_flushes_and_manifests() {
    let cell = Cell::new().await;
    let mut node = cell.start().await;
    for offset in 1..=4 {
        commit(&node, offset).await;
        if offset >= 2 {
            node.flush_now().await.expect("the flush succeeds");
        }
        if offset >= 3 {
            node.write_manifests_now().await.expect("the manifests are written");
        }
        node.halt().await;
        cell.disk.crash(offset);
        node = cell.start().await;
        assert_eq!(committed(&node).await, Some(offset));
    }
    node.delete_group(&caller(cluster(1)), &group()).await.expect("the group is empty");
    node.halt().await;
    node = cell.start().await;
    assert_eq!(committed(&node).await, None);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    node.halt().await;
    node = cell.start().await;
    assert_eq!(committed(&node).await, None);
    node.shutdown().await;
}

#[tokio::test]
async fn an_offset_commit_whose_record_may_be_lost_is_not_acknowledged() {
    let cell = Cell::new().await;
    let node: Arc<Node> = cell.start().await;
    commit(&node, 1).await;
    cell.disk.fail_syncs(true);
    let key = partition(1, 0).key;
    let offset = OffsetToCommit {
        topic: key.topic,
        partition: key.partition,
        offset: Offset::new(9),
        epoch: None,
        metadata: "".into(),
    };
    let identity = MemberIdentity { member: "".into(), instance: None };
    let commit = CommitOffsets { identity, generation: -1, offsets: vec![offset] };
    let answer = node.commit_offsets(&caller(cluster(1)), &group(), commit).await;
    assert_eq!(answer, Err(GroupError::Unconfirmed));
    node.halt().await;
}
