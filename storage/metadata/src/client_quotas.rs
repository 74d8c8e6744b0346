//! The quotas of clusters' clients in the store, and what a gateway holds of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;

use crate::attempt::{self, ATTEMPTS_MAX};
use crate::client_quota::{ClientQuotaEntity, ClientQuotaKey, ClientQuotaSet};
use crate::follow::{Following, News};
use crate::id::{ClusterId, Revision};
use crate::keys;
use crate::record::{ClientQuotaEntry, ClientQuotaRecord, ClusterRecord, Record};
use crate::store::{Compare, Entry, MetadataError, MetadataStore, Select, SharedStore, Transaction, Write};

#[cfg(test)]
mod tests;

/// Entities that have quotas in one cluster, at most: with names of the greatest length they still fit into one transaction.
pub const ENTITIES_MAX: usize = 1_000;
/// The longest name of a user or a client id that has a quota, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Why quotas were not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AlterClientQuotasError {
    /// There is no such cluster.
    #[error("cluster {0} does not exist")]
    ClusterUnknown(ClusterId),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// The cluster has [`ENTITIES_MAX`] entities already. Remove the quotas of another one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ENTITIES_MAX} users and client ids of the cluster have quotas already; remove those of another first"
)]
pub struct TooManyEntities;

/// What is to become of one entity's quotas. Names and values must have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientQuotaAlteration {
    /// Whose.
    pub entity: ClientQuotaEntity,
    /// `None` removes.
    pub changes: BTreeMap<ClientQuotaKey, Option<f64>>,
}

/// What became of each alteration, in their order.
pub type Altered = Vec<Result<(), TooManyEntities>>;

/// Changes quotas of a cluster's clients, all that can be changed together. The revision is that of the change; `None` where
/// nothing had to be changed.
pub async fn alter(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    alterations: &[ClientQuotaAlteration],
) -> Result<(Altered, Option<Revision>), AlterClientQuotasError> {
    let key = keys::client_quota(cluster);
    for _ in 0..ATTEMPTS_MAX {
        let (before, unchanged) = read(store, cluster).await?;
        let mut record = before.clone();
        let altered = apply(&mut record, alterations);
        if record == before {
            return Ok((altered, None));
        }
        let write = if record.entities.is_empty() {
            Write::Delete(key.clone())
        } else {
            Write::Put(key.clone(), record.encode())
        };
        // The cluster is compared so that nothing is left over when its removal ends at the same moment.
        let transaction =
            Transaction::new().when(Compare::Present(keys::cluster(cluster))).when(unchanged).then(write);
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok((altered, Some(revision)));
        }
    }
    Err(attempt::contended(key).into())
}

/// What [`alter`] would say, without changing anything.
pub async fn try_alter(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    alterations: &[ClientQuotaAlteration],
) -> Result<Altered, AlterClientQuotasError> {
    let (mut record, _) = read(store, cluster).await?;
    Ok(apply(&mut record, alterations))
}

async fn read(
    store: &dyn MetadataStore,
    cluster: ClusterId,
) -> Result<(ClientQuotaRecord, Compare), AlterClientQuotasError> {
    let (cluster_key, key) = (keys::cluster(cluster), keys::client_quota(cluster));
    let snapshot = store.read(&[Select::Key(cluster_key), Select::Key(key.clone())]).await?;
    attempt::found::<ClusterRecord>(&snapshot.results[0])?
        .ok_or(AlterClientQuotasError::ClusterUnknown(cluster))?;
    Ok(match attempt::found::<ClientQuotaRecord>(&snapshot.results[1])? {
        Some(found) => (found.record, Compare::Unchanged(key, found.modified)),
        None => (ClientQuotaRecord::default(), Compare::Absent(key)),
    })
}

fn apply(record: &mut ClientQuotaRecord, alterations: &[ClientQuotaAlteration]) -> Altered {
    let mut values: BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>> =
        std::mem::take(&mut record.entities).into_iter().map(|entry| (entry.entity, entry.values)).collect();
    let altered = alterations.iter().map(|alteration| apply_one(&mut values, alteration)).collect();
    let entry = |(entity, values)| ClientQuotaEntry { entity, values };
    record.entities = values.into_iter().map(entry).collect();
    altered
}

fn apply_one(
    values: &mut BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>,
    alteration: &ClientQuotaAlteration,
) -> Result<(), TooManyEntities> {
    let mut own = values.get(&alteration.entity).cloned().unwrap_or_default();
    for (key, value) in &alteration.changes {
        match value {
            Some(value) => own.insert(key.name().to_owned(), *value),
            None => own.remove(key.name()),
        };
    }
    if own.is_empty() {
        values.remove(&alteration.entity);
        return Ok(());
    }
    if values.len() >= ENTITIES_MAX && !values.contains_key(&alteration.entity) {
        return Err(TooManyEntities);
    }
    values.insert(alteration.entity.clone(), own);
    Ok(())
}

/// The quotas of one cluster's clients: as they were set, and to be looked up.
#[derive(Debug, PartialEq)]
pub struct ClusterClientQuotas {
    /// As they were set.
    pub record: ClientQuotaRecord,
    /// To be looked up.
    pub set: ClientQuotaSet,
}

type Kept = DashMap<ClusterId, Arc<ClusterClientQuotas>>;

/// The quotas of all clusters' clients, kept fresh by a watch.
#[derive(Debug)]
pub struct ClientQuotas {
    kept: Arc<Kept>,
    changes: watch::Sender<u64>,
    following: Following,
}

impl ClientQuotas {
    /// Reads what is set and keeps it fresh from now on. Must be called in a tokio runtime. Dropping it ends its task.
    pub async fn start(store: SharedStore) -> Result<Arc<Self>, MetadataError> {
        let (kept, changes) = (Arc::new(Kept::new()), watch::Sender::new(0));
        let sink = keep(Arc::clone(&kept), changes.clone());
        let following = Following::start(store, keys::CLIENT_QUOTAS.to_owned(), sink).await?;
        Ok(Arc::new(Self { kept, changes, following }))
    }

    /// What is set in a cluster, from memory; `None` where nothing is.
    pub fn of(&self, cluster: ClusterId) -> Option<Arc<ClusterClientQuotas>> {
        self.kept.get(&cluster).map(|kept| Arc::clone(&kept))
    }

    /// Changes whenever a quota of any cluster's clients was set.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until every change up to `revision` is in here.
    pub async fn catch_up(&self, revision: Revision) -> Result<(), MetadataError> {
        self.following.reach(revision).await
    }

    /// Waits until everything committed before this call is in here. The store is asked ten times a second at most.
    pub async fn refresh(&self) -> Result<(), MetadataError> {
        self.following.refresh().await
    }
}

fn keep(kept: Arc<Kept>, told: watch::Sender<u64>) -> impl FnMut(News) + Send + 'static {
    move |news| {
        match news {
            News::All(entries, _) => {
                let present: HashSet<ClusterId> =
                    entries.iter().filter_map(|entry| cluster_of(&entry.key)).collect();
                kept.retain(|cluster, _| present.contains(cluster));
                for entry in &entries {
                    put(&kept, entry);
                }
            }
            News::Some(changes) => {
                for event in changes.events {
                    match event.value {
                        Some(value) => {
                            put(&kept, &Entry { key: event.key, value, modified: event.revision });
                        }
                        None => drop(cluster_of(&event.key).map(|cluster| kept.remove(&cluster))),
                    }
                }
            }
        }
        told.send_modify(|version| *version += 1);
    }
}

fn cluster_of(key: &str) -> Option<ClusterId> {
    key.strip_prefix(keys::CLIENT_QUOTAS)?.parse().ok()
}

fn put(kept: &Kept, entry: &Entry) {
    let Some(cluster) = cluster_of(&entry.key) else { return };
    match attempt::decode::<ClientQuotaRecord>(entry) {
        Ok(record) => {
            let set = ClientQuotaSet::of(&record);
            kept.insert(cluster, Arc::new(ClusterClientQuotas { record, set }));
        }
        // Better the quotas of a moment ago than none.
        Err(error) => {
            tracing::error!(%cluster, %error, "quotas of clients not readable, keeping the last ones");
        }
    }
}
