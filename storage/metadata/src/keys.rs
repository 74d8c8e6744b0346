//! Where each record stands in the metadata store. The drawing is in [`crate::record`].

use crate::id::{AccountId, ClusterId, NodeId, SlotId, TimestampMs, TopicId, WalId, WalPosition};

/// The cell's identity.
pub const CELL: &str = "cell";
/// Which life of the store this is.
pub const CELL_LIFE: &str = "cell-life";
/// The counter incarnations are drawn from.
pub const COUNTER_INCARNATION: &str = "counter/incarnation";
/// The counter producer ids are drawn from, in blocks.
pub const COUNTER_PRODUCER_ID: &str = "counter/producer-id";
/// All clusters.
pub const CLUSTERS: &str = "cluster/";
/// All WALs that are not retired.
pub const WALS: &str = "wal/";
/// How far each WAL is flushed.
pub const FLUSHED: &str = "flushed/";
/// The chains of all WALs.
pub const CHAINS: &str = "chain/";
/// The marks of all WALs that are gone.
pub const RETIRED: &str = "retired/";
/// All slots.
pub const SLOTS: &str = "slot/";
/// All live storage nodes.
pub const NODES: &str = "node/";
/// All live gateways.
pub const GATEWAYS: &str = "gateway/";
/// All live metering processes.
pub const METERING: &str = "metering/";
/// The last relief of an owner.
pub const RELIEF: &str = "relief";
/// Where slots were told to live.
pub const PLACEMENTS: &str = "placement/";
/// All users of all accounts.
pub const USERS: &str = "user/";
/// All groups of all accounts.
pub const GROUPS: &str = "group/";
/// All roles of all accounts.
pub const ROLES: &str = "role/";
/// All managed policies of all accounts.
pub const MANAGED_POLICIES: &str = "policy/";
/// All access keys.
pub const ACCESS_KEYS: &str = "access-key/";

/// A cluster.
pub fn cluster(cluster: ClusterId) -> String {
    format!("{CLUSTERS}{cluster}")
}
/// The holder of a cluster name.
pub fn cluster_name(account: AccountId, name: &str) -> String {
    format!("cluster-name/{account}/{name}")
}
/// What a cluster was told of its tenant's network.
pub fn cluster_network(cluster: ClusterId) -> String {
    format!("cluster-network/{cluster}")
}
/// The resource policies of all clusters.
pub const CLUSTER_POLICIES: &str = "cluster-policy/";
/// The resource policy of a cluster.
pub fn cluster_policy(cluster: ClusterId) -> String {
    format!("{CLUSTER_POLICIES}{cluster}")
}
/// The quotas of all clusters.
pub const QUOTAS: &str = "quota/";
/// The quotas of a cluster.
pub fn quota(cluster: ClusterId) -> String {
    format!("{QUOTAS}{cluster}")
}
/// The quotas of all clusters' clients.
pub const CLIENT_QUOTAS: &str = "client-quota/";
/// The quotas of a cluster's clients.
pub fn client_quota(cluster: ClusterId) -> String {
    format!("{CLIENT_QUOTAS}{cluster}")
}
/// All topics of all clusters.
pub const TOPICS: &str = "topic/";
/// All topics of a cluster.
pub fn topics(cluster: ClusterId) -> String {
    format!("{TOPICS}{cluster}/")
}
/// A topic. Kafka's topic names have no `/`.
pub fn topic(cluster: ClusterId, name: &str) -> String {
    format!("{TOPICS}{cluster}/{name}")
}
/// The tombstone of a topic.
pub fn removed_topic(cluster: ClusterId, topic: TopicId) -> String {
    format!("removed/topic/{cluster}/{topic}")
}
/// The tombstone of a cluster.
pub fn removed_cluster(cluster: ClusterId) -> String {
    format!("removed/cluster/{cluster}")
}
/// All tombstones.
pub const REMOVED: &str = "removed/";
/// A cluster's journal.
pub fn journal(cluster: ClusterId) -> String {
    format!("journal/{cluster}/")
}
/// All journals of all clusters, the removed ones included.
pub const JOURNALS: &str = "journal/";
/// One journal entry: time (20 digits), sequence among entries of that time, and what changed, so that writers of
/// different subjects never meet. The true order is the order of the entries' revisions; clocks of writers differ.
pub fn journal_entry(cluster: ClusterId, at: TimestampMs, sequence: u32, subject: &str) -> String {
    format!("journal/{cluster}/{:020}-{sequence:04}-{subject}", at.get())
}
/// The holder of a listener port.
pub fn port(port: u16) -> String {
    format!("{PORTS}{port:05}")
}
/// All listener ports that clusters hold.
pub const PORTS: &str = "port/";
/// All users of an account.
pub fn users(account: AccountId) -> String {
    format!("{USERS}{account}/")
}
/// A user.
pub fn user(account: AccountId, name: &str) -> String {
    format!("{USERS}{account}/{name}")
}
/// All groups of an account.
pub fn groups(account: AccountId) -> String {
    format!("{GROUPS}{account}/")
}
/// All roles of an account.
pub fn roles(account: AccountId) -> String {
    format!("{ROLES}{account}/")
}
/// A group.
pub fn group(account: AccountId, name: &str) -> String {
    format!("{GROUPS}{account}/{name}")
}
/// A role.
pub fn role(account: AccountId, name: &str) -> String {
    format!("{ROLES}{account}/{name}")
}
/// All managed policies of an account.
pub fn managed_policies(account: AccountId) -> String {
    format!("{MANAGED_POLICIES}{account}/")
}
/// A managed policy.
pub fn managed_policy(account: AccountId, name: &str) -> String {
    format!("{MANAGED_POLICIES}{account}/{name}")
}
/// When an access key was last used.
pub fn key_use(access_key_id: &str) -> String {
    format!("key-use/{access_key_id}")
}
/// An access key.
pub fn access_key(access_key_id: &str) -> String {
    format!("{ACCESS_KEYS}{access_key_id}")
}
/// A WAL.
pub fn wal(wal: WalId) -> String {
    format!("{WALS}{wal}")
}
/// How far a WAL is flushed.
pub fn flushed(wal: WalId) -> String {
    format!("{FLUSHED}{wal}")
}
/// All chain entries of a WAL.
pub fn chain_of(wal: WalId) -> String {
    format!("{CHAINS}{wal}/")
}
/// One chain entry; twenty digits, so that key order is position order.
pub fn chain(wal: WalId, start: WalPosition) -> String {
    format!("{CHAINS}{wal}/{:020}", start.get())
}
/// The mark that a WAL is gone.
pub fn retired(wal: WalId) -> String {
    format!("{RETIRED}{wal}")
}
/// A live storage node.
pub fn node(node: NodeId) -> String {
    format!("{NODES}{node}")
}
/// A live gateway.
pub fn gateway(name: &str) -> String {
    format!("{GATEWAYS}{name}")
}
/// A live metering process.
pub fn metering(name: &str) -> String {
    format!("{METERING}{name}")
}
/// Where a slot was told to live.
pub fn placement(slot: SlotId) -> String {
    format!("{PLACEMENTS}{:05}", slot.get())
}
/// A slot.
pub fn slot(slot: SlotId) -> String {
    format!("{SLOTS}{:05}", slot.get())
}
