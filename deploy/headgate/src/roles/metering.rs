//! `headgate metering`: what clusters use, gathered from the owners of all slots.
//!
//! An answer is whole or there is none: usage without the slots of a node that cannot be reached would be a wrong bill.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use headgate_metadata::id::{ClusterId, NodeId, PartitionKey, SlotId};
use headgate_metadata::keys;
use headgate_metadata::live::LiveRecords;
use headgate_metadata::record::{MeteringRecord, Record as _};
use headgate_metadata::slot_owners::SlotOwners;
use headgate_metadata::store::Lease;
use headgate_storage::usage::{USAGE, answered_usage, asked_cluster, usage_answer, usage_question};
use headgate_storage::{ClusterUsage, PartitionUsage};
use headgate_storage_client::wire::{
    Message, PeerIdentity, PeerRole, Server, Service, TlsDialer, TlsListener, WireLimits, kind,
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use super::calls::Calls;
use super::settings::{CellFlags, CellSettings};
use super::{LEASE_TTL, LEAVE_MAX};
use crate::billing::UsageSource;
use crate::front;
use crate::listen::Listen;
use crate::observe::{self, Observed};
use crate::process::{self, Running};

/// Flags of `headgate metering`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MeteringFlags {
    /// The process's name, unique in the cell.
    #[arg(long, value_name = "NAME", env = "HEADGATE_NAME")]
    name: String,
    /// Where gateways connect to.
    #[arg(long, value_name = "HOST:PORT", env = "HEADGATE_LISTEN")]
    listen: String,
    /// The address that they are told, where it is another.
    #[arg(long, value_name = "HOST:PORT", env = "HEADGATE_ADVERTISED_ADDRESS")]
    advertised_address: Option<String>,
    /// Metrics and health, over plain HTTP.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9082", env = "HEADGATE_LISTEN_HTTP")]
    listen_http: String,
    /// Held so that one process runs once.
    #[arg(long, value_name = "DIR", default_value = "./headgate-metering", env = "HEADGATE_DATA_DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    cell: CellFlags,
}

/// Runs until SIGTERM.
pub(crate) fn run(flags: MeteringFlags) -> Result<()> {
    let listen = Listen::parse(&flags.listen, "--listen")?;
    let http = Listen::parse(&flags.listen_http, "--listen-http")?;
    let cell = flags.cell.decide()?;
    let record =
        MeteringRecord { name: flags.name, address: flags.advertised_address.unwrap_or(flags.listen) };
    process::run(&flags.data_dir, async |_| start(&listen, &http, record, &cell).await)
}

/// Everything that runs.
struct MeteringProcess {
    server: Server,
    lease: Lease,
    _tasks: JoinSet<()>,
}

impl Running for MeteringProcess {
    async fn stop(self) {
        self.lease.release().await;
        self.server.shutdown(LEAVE_MAX).await;
    }
}

async fn start(
    listen: &Listen,
    http: &Listen,
    record: MeteringRecord,
    settings: &CellSettings,
) -> Result<MeteringProcess> {
    let http = front::bind(http).await?;
    let store = super::cell::metadata_store(settings)?;
    let cell = super::cell::record(&store, settings).await?;
    let role = PeerRole::Metering(record.name.as_str().into());
    let credentials = super::cell::credentials(settings, &cell, role)?;
    let listener = TlsListener::bind(listen.addresses()?[0], &credentials).await?;
    let owners = SlotOwners::start(Arc::clone(&store)).await?;
    let calls = Calls::new(Arc::new(TlsDialer::new(&credentials)?));
    let metering = Arc::new(Metering { slots: cell.slots, owners: Arc::clone(&owners), calls });
    let server = Server::start(listener, Arc::new(MeteringService(metering)), WireLimits::default());
    let mut tasks = JoinSet::new();
    let ready = Box::new(move || !owners.nodes().is_empty());
    tasks.spawn(observe::serve(http, Observed { registry: Registry::default(), ready }));
    let lease = store.keep(&keys::metering(&record.name), record.encode(), LEASE_TTL).await;
    let lease = lease.context("this process cannot register")?;
    tracing::info!(name = record.name, "metering open");
    Ok(MeteringProcess { server, lease, _tasks: tasks })
}

/// Asks the owners of all slots.
struct Metering {
    slots: u16,
    owners: Arc<SlotOwners>,
    calls: Calls,
}

impl Metering {
    async fn usage(&self, cluster: ClusterId) -> Result<ClusterUsage, String> {
        let mut nodes: BTreeMap<NodeId, String> = BTreeMap::new();
        for slot in (0..self.slots).map(SlotId::new) {
            match (self.owners.owner(slot), self.owners.node_of(slot)) {
                (_, Some(node)) => drop(nodes.insert(node.node, node.address.clone())),
                // Nobody has ever owned it, so it holds nothing.
                (None, None) => {}
                (Some(owner), None) => {
                    return Err(format!("slot {slot} is with {}, which is gone", owner.wal));
                }
            }
        }
        let ask = |(node, address): (NodeId, String)| async move {
            let role = PeerRole::Storage(node);
            let answer = self.calls.call(&address, &role, usage_question(cluster)).await?;
            answered_usage(&answer).map_err(|malformed| format!("{role}: {malformed}"))
        };
        let answers = futures_util::future::try_join_all(nodes.into_iter().map(ask)).await?;
        Ok(merged(answers))
    }
}

/// A slot that moved while they were asked is in two answers; the later slot time is the present owner's.
fn merged(answers: Vec<ClusterUsage>) -> ClusterUsage {
    let at = answers.iter().map(|usage| usage.at).max().unwrap_or_default();
    let mut partitions: BTreeMap<PartitionKey, PartitionUsage> = BTreeMap::new();
    for usage in answers.into_iter().flat_map(|usage| usage.partitions) {
        let known = partitions.get(&usage.partition.key);
        if known.is_none_or(|known| known.slot_time <= usage.slot_time) {
            partitions.insert(usage.partition.key, usage);
        }
    }
    ClusterUsage { at, partitions: partitions.into_values().collect() }
}

struct MeteringService(Arc<Metering>);

impl Service for MeteringService {
    fn call(&self, peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        if message.kind != USAGE || !matches!(peer.role, PeerRole::Gateway(_)) {
            return std::future::ready(refused("only gateways may ask, and for usage")).boxed();
        }
        let metering = Arc::clone(&self.0);
        async move {
            let usage = match asked_cluster(&message) {
                Ok(cluster) => metering.usage(cluster).await,
                Err(malformed) => Err(malformed.to_string()),
            };
            usage.map_or_else(
                |reason| {
                    tracing::warn!(reason, "usage not gathered");
                    refused("usage cannot be gathered now")
                },
                usage_answer,
            )
        }
        .boxed()
    }
}

fn refused(why: &'static str) -> Message {
    Message { kind: kind::REFUSED, head: Bytes::from_static(why.as_bytes()), payload: Vec::new() }
}

/// A gateway's way to usage: whichever metering process answers.
pub(super) struct MeteredUsage {
    metering: LiveRecords<MeteringRecord>,
    calls: Calls,
}

impl MeteredUsage {
    pub(super) fn new(metering: LiveRecords<MeteringRecord>, calls: Calls) -> Self {
        Self { metering, calls }
    }
}

#[async_trait]
impl UsageSource for MeteredUsage {
    async fn usage(&self, cluster: ClusterId) -> Result<ClusterUsage, String> {
        let mut reason = "no metering process is live".to_owned();
        for record in self.metering.now().iter() {
            let role = PeerRole::Metering(record.name.as_str().into());
            match self.calls.call(&record.address, &role, usage_question(cluster)).await {
                Ok(answer) => return answered_usage(&answer).map_err(|malformed| malformed.to_string()),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use headgate_log::usage::UsageCounters;
    use headgate_metadata::id::{ByteCount, PartitionId, TimestampMs, TopicId};
    use headgate_storage_client::PartitionAddress;

    use super::*;

    fn partition(index: u32, slot_time: u64, bytes_in: u64) -> PartitionUsage {
        let key = PartitionKey {
            cluster: ClusterId::from_random(1),
            topic: TopicId::from_random(1),
            partition: PartitionId::new(index),
        };
        PartitionUsage {
            partition: PartitionAddress { key, slot: SlotId::new(0) },
            counters: UsageCounters { bytes_in: ByteCount::new(bytes_in), ..UsageCounters::default() },
            slot_time: TimestampMs::new(slot_time),
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_slot_that_moved_between_two_answers_counts_once() {
        let answer = |at, partitions| ClusterUsage { at: TimestampMs::new(at), partitions };
        let old = answer(5, vec![partition(0, 10, 1), partition(1, 10, 7)]);
        let new = answer(6, vec![partition(0, 12, 3)]);
        for answers in [vec![old.clone(), new.clone()], vec![new, old]] {
            let merged = merged(answers);
            assert_eq!(merged.at, TimestampMs::new(6));
            let bytes: Vec<u64> = merged.partitions.iter().map(|one| one.counters.bytes_in.get()).collect();
            assert_eq!(bytes, [3, 7]);
        }
    }
}
