//! Bills of running processes: the counters of nodes, the cell's journals, the list prices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use headgate_control::{BillQuery, BillSource, BillSourceError};
use headgate_metadata::id::{ClusterId, SlotId};
use headgate_metadata::journal;
use headgate_metadata::store::{MetadataError, SharedStore};
use headgate_metering::bill::Bill;
use headgate_metering::period::Hour;
use headgate_metering::price::PriceBook;
use headgate_metering::read::{BillRequest, ReadBillError, bill_from, slot_usage};
use headgate_metering::usage::SlotUsage;
use headgate_storage::{ClusterUsage, Node, PartitionUsage};

/// Where a cluster's counters are read.
#[async_trait]
pub(crate) trait UsageSource: Send + Sync + 'static {
    /// All of them, or why they cannot be read now.
    async fn usage(&self, cluster: ClusterId) -> Result<ClusterUsage, String>;
}

/// The node in this process.
#[async_trait]
impl UsageSource for Node {
    async fn usage(&self, cluster: ClusterId) -> Result<ClusterUsage, String> {
        Ok(self.usage_snapshot(cluster))
    }
}

/// Makes bills of what a source knows.
pub(crate) struct LiveBills {
    store: SharedStore,
    source: Arc<dyn UsageSource>,
}

impl LiveBills {
    pub(crate) fn new(store: SharedStore, source: Arc<dyn UsageSource>) -> Self {
        Self { store, source }
    }

    /// The clusters asked for: one, or all that ever were.
    async fn clusters(&self, only: Option<ClusterId>) -> Result<BTreeSet<ClusterId>, MetadataError> {
        match only {
            Some(cluster) => Ok(BTreeSet::from([cluster])),
            None => {
                Ok(journal::read_all(&*self.store).await?.into_iter().map(|entry| entry.cluster).collect())
            }
        }
    }
}

fn of_slots(usage: Vec<PartitionUsage>) -> Vec<SlotUsage> {
    let mut by_slot: BTreeMap<SlotId, Vec<PartitionUsage>> = BTreeMap::new();
    for one in usage {
        by_slot.entry(one.partition.slot).or_default().push(one);
    }
    by_slot.into_iter().map(|(slot, partitions)| of_slot(slot, &partitions)).collect()
}

fn of_slot(slot: SlotId, partitions: &[PartitionUsage]) -> SlotUsage {
    let slot_time = partitions.iter().map(|one| one.slot_time).max().unwrap_or_default();
    let marks = partitions.iter().flat_map(|one| {
        let key = one.partition.key;
        one.marks.iter().map(move |(hour, counters)| (key, Hour::new(*hour), *counters))
    });
    let counters = partitions.iter().map(|one| (one.partition.key, one.counters));
    slot_usage(slot, slot_time, marks, counters)
}

#[async_trait]
impl BillSource for LiveBills {
    async fn bill(&self, query: BillQuery) -> Result<Bill, BillSourceError> {
        let clusters = self.clusters(query.cluster).await.map_err(|error| failed(&error.into()))?;
        let mut read = Vec::with_capacity(clusters.len());
        for cluster in clusters {
            let usage = self.source.usage(cluster).await;
            read.push(usage.map_err(|reason| BillSourceError::Unavailable { reason })?);
        }
        let request = BillRequest {
            period: query.period,
            as_of: read.iter().map(|usage| usage.at).max().unwrap_or_default(),
            prices: &PriceBook::default(),
            account: Some(query.account),
            cluster: query.cluster,
        };
        let usage = read.into_iter().flat_map(|usage| usage.partitions).collect();
        bill_from(&*self.store, of_slots(usage), request).await.map_err(|error| failed(&error))
    }
}

/// A store that does not answer may answer later; figures that contradict each other need a human.
fn failed(error: &ReadBillError) -> BillSourceError {
    match error {
        ReadBillError::Metadata(error) => BillSourceError::Unavailable { reason: error.to_string() },
        other => BillSourceError::Broken { reason: other.to_string() },
    }
}
