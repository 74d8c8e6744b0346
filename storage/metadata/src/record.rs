//! What the metadata store holds: one type and one key path per kind of record.
//!
//! Values are JSON objects with a format number `v`, so that an operator can read them with the store's own tools:
//!
//! ```text
//! key                                   value
//! cell                                  CellRecord
//! cell-life                             CellLifeRecord         replaced by a rebuild
//! counter/<name>                        CounterRecord          incarnation, producer-id
//! cluster/<cluster>                     ClusterRecord
//! cluster-name/<account>/<name>         NameRecord             unique cluster names
//! cluster-network/<cluster>             ClusterNetworkRecord   absent where nothing was told
//! cluster-policy/<cluster>              ClusterPolicyRecord    absent where none was put
//! quota/<cluster>                       QuotaRecord            absent where the operator set nothing
//! client-quota/<cluster>                ClientQuotaRecord      absent where its administrator set nothing
//! topic/<cluster>/<topic name>          TopicRecord
//! removed/topic/<cluster>/<topic id>    RemovedRecord          tombstone (PROTOCOL.md §8)
//! removed/cluster/<cluster>             RemovedRecord
//! journal/<cluster>/<time>-<sequence>-<subject>  JournalRecord  what cluster- and partition-hours are computed from
//! port/<port, 5 digits>                 NameRecord             unique listener ports
//! user/<account>/<name>                 UserRecord
//! group/<account>/<name>                GroupRecord
//! role/<account>/<name>                 RoleRecord
//! policy/<account>/<name>               ManagedPolicyRecord
//! access-key/<access key id>            AccessKeyRecord        secret sealed under the master key
//! key-use/<access key id>               KeyUseRecord           a little behind; absent for a key that was not used yet
//! wal/<wal>                             WalRecord
//! flushed/<wal>                         FlushedRecord
//! chain/<wal>/<start, 20 digits>        ChainRecord
//! retired/<wal>                         RetiredRecord
//! slot/<slot, 5 digits>                 SlotRecord
//! node/<node>                           NodeRecord             goes with the node's lease
//! gateway/<name>                        GatewayRecord          goes with the gateway's lease
//! metering/<name>                       MeteringRecord         goes with the process's lease
//! placement/<slot, 5 digits>            PlacementRecord        absent = where rendezvous puts it
//! relief                                ReliefRecord           absent where no owner was relieved yet
//! ```
//!
//! Field names and tags are persisted: they are added, never renamed or reused.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::{
    AccountId, ClusterId, Incarnation, NodeId, PartitionId, ProducerId, SlotEpoch, SlotId, TimestampMs,
    TopicId, WalId, WalPosition,
};
use crate::store::MetadataError;

mod client_quota;
mod grant;

pub use client_quota::{ClientQuotaEntry, ClientQuotaRecord};
pub use grant::{GroupRecord, KeyUseRecord, ManagedPolicyRecord, PolicyVersionRecord, RoleRecord};

/// The format number written into every value.
pub const RECORD_FORMAT: u32 = 1;

/// A value of the metadata store.
pub trait Record: Serialize + DeserializeOwned {
    /// The record's name, for error texts.
    const NAME: &'static str;

    /// The stored form: `{"v":1, ...fields}`.
    fn encode(&self) -> Bytes {
        let versioned = Versioned { v: RECORD_FORMAT, record: self };
        Bytes::from(serde_json::to_vec(&versioned).expect("records hold nothing that JSON cannot express"))
    }

    /// Reads the stored form; refuses another format number, naming both.
    fn decode(value: &[u8]) -> Result<Self, MetadataError> {
        let stored: Versioned<Self> = serde_json::from_slice(value)
            .map_err(|error| MetadataError::Invalid { reason: format!("{}: {error}", Self::NAME) })?;
        if stored.v != RECORD_FORMAT {
            let reason = format!("{}: format {} found, {RECORD_FORMAT} supported", Self::NAME, stored.v);
            return Err(MetadataError::Invalid { reason });
        }
        Ok(stored.record)
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<R> {
    v: u32,
    #[serde(flatten)]
    record: R,
}

macro_rules! records {
    ($($name:ident),+ $(,)?) => {$(
        impl Record for $name {
            const NAME: &'static str = stringify!($name);
        }
    )+};
}
records!(
    CellRecord,
    CellLifeRecord,
    CounterRecord,
    ClusterRecord,
    NameRecord,
    ClusterNetworkRecord,
    ClusterPolicyRecord,
    QuotaRecord,
    ClientQuotaRecord,
    TopicRecord,
    RemovedRecord,
    JournalRecord,
    UserRecord,
    GroupRecord,
    RoleRecord,
    ManagedPolicyRecord,
    AccessKeyRecord,
    KeyUseRecord,
    WalRecord,
    FlushedRecord,
    ChainRecord,
    RetiredRecord,
    SlotRecord,
    NodeRecord,
    GatewayRecord,
    MeteringRecord,
    PlacementRecord,
    ReliefRecord
);

/// The cell's identity; stands in the object store too, so that a store of another cell is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellRecord {
    /// A random name, 8 characters of `[a-z0-9]`.
    pub cell: String,
    /// The number of slots; fixed with the cell.
    pub slots: u16,
    /// Which hash places ids into slots; `xxh3-64` with seed 0.
    pub hash: String,
    /// The account that the first start created (`dev`).
    pub account: AccountId,
    /// The AWS region name this cell answers for.
    pub region: String,
}

/// Which life of the metadata store this is: what was rebuilt after it went back in time is not taken for what it was before
/// (`PROTOCOL.md` §6.6). Nodes remember the token beside the revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellLifeRecord {
    /// Random, 16 hexadecimal digits.
    pub token: String,
    /// Whose WALs the rebuild that began this life has seen: only these nodes may go from an earlier life to this one. Empty
    /// in a cell's first life.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
}

/// A number that only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRecord {
    /// The next value to hand out.
    pub next: u64,
}

/// The life of a cluster, in AWS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterState {
    /// Being made; not usable yet.
    Creating,
    /// In use.
    Active,
    /// Removal was asked for; refuses everything.
    Deleting,
    /// It could not be made usable; all that can be done with it is to delete it.
    Failed,
}

/// A cluster: what a tenant opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its id.
    pub id: ClusterId,
    /// Its name, unique in the account, 1–64 characters.
    pub name: String,
    /// The UUID and suffix of its ARN, e.g. `813876e5-2023-4882-88c4-58ad8599da5a-s2`.
    pub arn_uuid: String,
    /// Its owner.
    pub account: AccountId,
    /// When it was asked for.
    pub created: TimestampMs,
    /// Where in its life it is.
    pub state: ClusterState,
    /// The slots it uses, in rendezvous order of its id (`PROTOCOL.md` §16).
    pub slot_set: Vec<SlotId>,
    /// Whether a Metadata request may create the topics it names.
    pub auto_create_topics: bool,
    /// The listener port of its own, where direct mode gives it one.
    pub port: Option<u16>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// How it came into its state.
    #[serde(default)]
    pub life: ClusterLife,
}

/// How a cluster came into its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterLife {
    /// Names all attempts of the one request that created it, as the requesting tool does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_token: Option<String>,
    /// When its removal was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<TimestampMs>,
    /// Why it is `FAILED`, in words for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl ClusterRecord {
    /// `arn:aws:kafka:<region>:<account>:cluster/<name>/<uuid>`.
    pub fn arn(&self, region: &str) -> String {
        self.arn_of(region, "cluster", None)
    }
    /// The ARN of a `topic`, `group` or `transactional-id` of this cluster.
    pub fn arn_of(&self, region: &str, kind: &str, name: Option<&str>) -> String {
        let mut arn =
            format!("arn:aws:kafka:{region}:{}:{kind}/{}/{}", self.account, self.name, self.arn_uuid);
        if let Some(name) = name {
            arn.push('/');
            arn.push_str(name);
        }
        arn
    }
}

/// Which cluster holds a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The holder.
    pub cluster: ClusterId,
}

/// What the creator of a cluster told of its own network. Nothing here depends on it; it is told back as it came, because
/// the tools that create clusters compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNetworkRecord {
    /// The VPCs.
    pub vpcs: Vec<VpcRecord>,
}

/// One VPC of a [`ClusterNetworkRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcRecord {
    /// The ids of its subnets.
    pub subnet_ids: Vec<String>,
    /// The ids of its security groups.
    #[serde(default)]
    pub security_group_ids: Vec<String>,
}

/// A cluster's resource policy: who, of any account, may or may not do what with the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPolicyRecord {
    /// The JSON text that was put.
    pub policy: String,
    /// The version that the next change must name.
    pub version: String,
}

/// The quotas of a cluster that an operator set; the others have their defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRecord {
    /// Values by the names of [`crate::quota::QuotaKey`].
    #[serde(default)]
    pub set: BTreeMap<String, u64>,
}

/// A topic. One key each; gateways load them by cluster prefix on first use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// The number of partitions.
    pub partitions: u32,
    /// How many slots of the cluster's set its partitions are spread over; fixed at creation (`PROTOCOL.md` §16).
    pub slots: u16,
    /// When it was created.
    pub created: TimestampMs,
    /// The configs that were set explicitly, by Kafka's names.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

/// A tombstone: something was removed on purpose. Written in the transaction that removes the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRecord {
    /// When.
    pub at: TimestampMs,
    /// The slots that may hold data of it.
    pub slots: Vec<SlotId>,
}

/// A change that bills are computed from: cluster-hours and partition-hours (design §9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// When.
    pub at: TimestampMs,
    /// What.
    pub change: JournalChange,
}

/// The changes that matter to a bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JournalChange {
    /// The cluster exists from now on.
    ClusterCreated {
        /// Its name, for reports.
        name: String,
    },
    /// The cluster is no longer billed.
    ClusterDeleted,
    /// The topic has this many partitions from now on (creation and growth).
    TopicPartitions {
        /// The topic.
        topic: TopicId,
        /// Its name, for reports.
        name: String,
        /// The number of partitions from now on.
        partitions: u32,
    },
    /// The topic is no longer billed.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
}

/// An IAM user with its policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The user's name, unique in the account.
    pub name: String,
    /// `AIDA…`.
    pub user_id: String,
    /// The owner.
    pub account: AccountId,
    /// When it was created.
    pub created: TimestampMs,
    /// Inline policies by name, as the JSON text that was put.
    #[serde(default)]
    pub policies: BTreeMap<String, String>,
    /// The names of the managed policies attached to it.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// The names of the groups it is in; each group names it too.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// The ids of its access keys; each has a record of its own.
    #[serde(default)]
    pub access_keys: Vec<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl UserRecord {
    /// `arn:aws:iam::<account>:user/<name>`.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user/{}", self.account, self.name)
    }
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessKeyStatus {
    /// It may.
    Active,
    /// It may not, until it is activated again.
    Inactive,
}

/// A long-term access key. The secret is sealed under the cell's master key, by whoever holds that key: here it is only text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    /// `AKIA…`, 20 characters.
    pub access_key_id: String,
    /// The account of its user.
    pub account: AccountId,
    /// The user it belongs to.
    pub user: String,
    /// The sealed secret, base64.
    pub sealed_secret: String,
    /// Whether it may be used.
    pub status: AccessKeyStatus,
    /// When it was created.
    pub created: TimestampMs,
}

/// The life of a WAL (`PROTOCOL.md` §1); `retired` is a record of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum WalState {
    /// Its owner may append.
    Open,
    /// Its owner is being fenced; the end is not decided.
    Sealing,
    /// Nothing will ever be appended; the log ends here.
    Sealed {
        /// The first position that is not part of the log.
        end: WalPosition,
    },
}

/// From `start` on, the WAL's bytes are held by `ensemble`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Where it begins.
    pub start: WalPosition,
    /// Who holds a copy, the owner included.
    pub ensemble: Vec<(NodeId, Incarnation)>,
}

/// A WAL's place in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRecord {
    /// The log.
    pub wal: WalId,
    /// Where in its life it is.
    #[serde(flatten)]
    pub state: WalState,
    /// Who holds which part, in order of position.
    pub fragments: Vec<Fragment>,
}

impl WalRecord {
    /// Whether this start of a node is a member of the present ensemble.
    pub fn has_member(&self, member: (NodeId, Incarnation)) -> bool {
        self.fragments.last().is_some_and(|last| last.ensemble.contains(&member))
    }
}

/// How far a WAL is contained in flush objects. Absent = nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedRecord {
    /// Everything below this position is in the objects of the chain.
    pub position: WalPosition,
}

/// One flush object that counts: WAL bytes `[start, end)`; `start` is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// The first position after it.
    pub end: WalPosition,
    /// The object's name.
    pub object: String,
}

/// The WAL is gone: fully flushed, fully applied, named by nobody. Kept for seven days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredRecord {
    /// When.
    pub at: TimestampMs,
}

/// The stretch of a WAL in which a slot lived under one epoch (`PROTOCOL.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The epoch.
    pub epoch: SlotEpoch,
    /// The log.
    pub wal: WalId,
    /// The first position; may be 0, replay selects by epoch.
    pub from: WalPosition,
    /// The first position after it.
    pub to: WalPosition,
}

/// Up to where a slot's log is contained in its manifest; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Applied {
    /// The epoch of the span.
    pub epoch: SlotEpoch,
    /// The position in that span's WAL, always the end of a flush object.
    pub position: WalPosition,
}

/// A slot's owner, history and manifest. Every change is one compare-and-swap of this record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The WAL of the owner; the owner is its node.
    pub owner: WalId,
    /// The owner's epoch.
    pub epoch: SlotEpoch,
    /// Where the owner's own span begins in its WAL.
    pub from: WalPosition,
    /// Earlier spans that are not yet fully applied, in epoch order.
    pub spans: Vec<Span>,
    /// The manifest's object name; `None` = no manifest yet, which means empty only when `applied` is none.
    pub manifest: Option<String>,
    /// What the manifest contains.
    pub applied: Option<Applied>,
}

/// A live storage node, as it tells of itself. Its key goes with the node's lease; that a node is gone decides nothing by
/// itself (`PROTOCOL.md` §10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub node: NodeId,
    /// Which start of its process: a mirror is named by both.
    pub incarnation: Incarnation,
    /// `host:port` where gateways and other nodes reach it.
    pub address: String,
    /// Its zone; mirrors are chosen in other ones.
    pub zone: String,
    /// It is about to leave: it gets nothing more, and gives away what it has.
    pub draining: bool,
}

/// A live gateway, as it tells of itself. Its key goes with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// Its name, unique in the cell.
    pub name: String,
    /// Which start of its process.
    pub incarnation: Incarnation,
    /// Its zone, which clients see as the rack of the brokers it stands for.
    pub zone: String,
    /// The host that clients dial.
    pub host: String,
    /// The port of its listener for clients with IAM credentials; clusters with a port of their own have it beside that.
    pub port: u16,
}

/// A live metering process, as it tells of itself. Its key goes with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeteringRecord {
    /// Its name, unique in the cell.
    pub name: String,
    /// `host:port` where gateways reach it.
    pub address: String,
}

/// Where a slot shall live, by an operator's or a balancer's word. Its owner moves it there and it stays; without a record it
/// lives where rendezvous hashing puts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRecord {
    /// The node that shall own it.
    pub node: NodeId,
}

/// The last relief of an owner that its mirrors heard, and that stood still (`storage/PROTOCOL.md` §10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReliefRecord {
    /// The WAL that was taken from it.
    pub wal: WalId,
    /// The mirror that did.
    pub by: NodeId,
    /// When, by that mirror's wall clock: the next one comes five minutes later at the earliest.
    pub at: TimestampMs,
}

/// A block of producer ids that a node drew from the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first id.
    pub first: ProducerId,
    /// How many.
    pub count: u64,
}

/// The partitions `0..count` of a topic.
pub fn partitions(count: u32) -> impl Iterator<Item = PartitionId> {
    (0..count).map(PartitionId::new)
}
