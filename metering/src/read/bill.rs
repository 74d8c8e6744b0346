//! Bills of the clusters of a cell, from their journals and the slots' usage.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headgate_log::disk::Disk;
use headgate_log::store::Store;
use headgate_metadata::id::{AccountId, ClusterId, TimestampMs};
use headgate_metadata::record::{CellRecord, ClusterRecord, JournalChange, JournalRecord, NameRecord};
use headgate_metadata::store::MetadataStore;
use headgate_metadata::{journal, keys};

use super::cell::decode;
use super::error::ReadBillError;
use super::usage::slot_usages;
use crate::bill::{Bill, BillInput, Owner};
use crate::hours::ClusterHistory;
use crate::period::Period;
use crate::price::PriceBook;
use crate::usage::SlotUsage;

/// What to bill.
#[derive(Debug, Clone, Copy)]
pub struct BillRequest<'a> {
    /// The hours.
    pub period: Period,
    /// The moment the usage is, or was, read: nothing later is billed.
    pub as_of: TimestampMs,
    /// The prices.
    pub prices: &'a PriceBook,
    /// Only clusters of this account; `None` = of all.
    pub account: Option<AccountId>,
    /// Only this cluster; `None` = all.
    pub cluster: Option<ClusterId>,
}

/// The bill of what is stored; writes nothing. See [`slot_usages`] for cost and conditions.
pub async fn bill(
    store: &dyn MetadataStore,
    objects: &Store,
    disk: &Arc<dyn Disk>,
    wal_root: &Path,
    request: BillRequest<'_>,
) -> Result<Bill, ReadBillError> {
    let slots = slot_usages(store, objects, disk, wal_root).await?;
    bill_from(store, slots, request).await
}

/// The bill of usage that was read elsewhere, with the cell's journals and clusters.
pub async fn bill_from(
    store: &dyn MetadataStore,
    mut slots: Vec<SlotUsage>,
    request: BillRequest<'_>,
) -> Result<Bill, ReadBillError> {
    let BillRequest { period, as_of, prices, account, cluster } = request;
    let owners = Owners::read(store).await?;
    let wanted = |cluster: ClusterId| account.is_none_or(|account| owners.account_of(cluster) == account);
    let clusters = histories(store, wanted).await?;
    for slot in &mut slots {
        for mark in &mut slot.marks {
            mark.counters.retain(|counters| wanted(counters.partition.cluster));
        }
        if let Some(live) = &mut slot.live {
            live.counters.retain(|counters| wanted(counters.partition.cluster));
        }
    }
    let input = BillInput {
        period,
        as_of,
        prices,
        clusters: &clusters,
        owners: &owners.clusters,
        slots: &slots,
        only: cluster,
    };
    Ok(Bill::compute(&input)?)
}

/// The cluster of that name in `account`, by default the cell's own: the present one or, if there is none, the one that was
/// created last of those that are gone, which can still be billed. `None` = there never was one.
pub async fn find_cluster(
    store: &dyn MetadataStore,
    account: Option<AccountId>,
    name: &str,
) -> Result<Option<ClusterId>, ReadBillError> {
    let owners = Owners::read(store).await?;
    let account = account.unwrap_or(owners.cell_account);
    if let Some(entry) = store.get(&keys::cluster_name(account, name)).await? {
        return Ok(Some(decode::<NameRecord>(&entry)?.cluster));
    }
    let created =
        |change: &JournalChange| matches!(change, JournalChange::ClusterCreated { name: own } if own == name);
    let journal = journal::read_all(store).await?;
    let named = journal
        .iter()
        .rev()
        .find(|entry| created(&entry.record.change) && owners.account_of(entry.cluster) == account);
    Ok(named.map(|entry| entry.cluster))
}

/// Who owns which cluster.
struct Owners {
    cell_account: AccountId,
    clusters: BTreeMap<ClusterId, Owner>,
}

impl Owners {
    async fn read(store: &dyn MetadataStore) -> Result<Self, ReadBillError> {
        let cell = store.get(keys::CELL).await?.ok_or(ReadBillError::NoCell)?;
        let cell: CellRecord = decode(&cell)?;
        let mut clusters = BTreeMap::new();
        for entry in store.list(keys::CLUSTERS).await? {
            let cluster: ClusterRecord = decode(&entry)?;
            let (account, arn, region) = (cluster.account, cluster.arn(&cell.region), cell.region.clone());
            clusters.insert(cluster.id, Owner { account, arn, region });
        }
        Ok(Self { cell_account: cell.account, clusters })
    }

    /// A cluster that is gone has no record, and the journal names no owner: it is taken for the cell's own account, the
    /// only one that a cell has today.
    fn account_of(&self, cluster: ClusterId) -> AccountId {
        self.clusters.get(&cluster).map_or(self.cell_account, |owner| owner.account)
    }
}

async fn histories(
    store: &dyn MetadataStore,
    wanted: impl Fn(ClusterId) -> bool,
) -> Result<Vec<ClusterHistory>, ReadBillError> {
    let mut journals: BTreeMap<ClusterId, Vec<JournalRecord>> = BTreeMap::new();
    for entry in journal::read_all(store).await? {
        if wanted(entry.cluster) {
            journals.entry(entry.cluster).or_default().push(entry.record);
        }
    }
    let mut histories = Vec::new();
    for (cluster, journal) in journals {
        histories.extend(ClusterHistory::read(cluster, &journal)?);
    }
    Ok(histories)
}
