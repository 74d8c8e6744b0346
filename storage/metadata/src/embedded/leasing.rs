//! Leases of a store that lives in the process: they end with it, so that there is nothing to renew. Keys that a dead
//! process left are deleted when the file is opened again.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::writer::{Job, Work, submit_now};
use super::{Shared, unavailable};
use crate::lease::Leasing;
use crate::store::{Entry, MetadataError, Outcome, Select, Transaction};

/// The way of a kept key to the store. It does not keep the store open.
pub(super) struct EmbeddedLeasing {
    pub(super) shared: Weak<Shared>,
    pub(super) queue: mpsc::WeakSender<Job>,
}

impl EmbeddedLeasing {
    fn with<T>(&self, act: impl FnOnce(&Shared) -> T) -> Result<T, MetadataError> {
        let closed = || unavailable("lease", &"the store is closed");
        Ok(act(&*self.shared.upgrade().ok_or_else(closed)?))
    }
}

#[async_trait]
impl Leasing for EmbeddedLeasing {
    async fn grant(&self, _ttl: Duration) -> Result<i64, MetadataError> {
        self.with(|shared| shared.leases.fetch_add(1, Ordering::Relaxed))
    }

    async fn renew(&self, _lease: i64) -> Result<bool, MetadataError> {
        Ok(true)
    }

    async fn revoke(&self, lease: i64) -> Result<(), MetadataError> {
        submit_now(&self.queue, Work::Revoke(lease)).await.map(drop)
    }

    async fn read_key(&self, key: &str) -> Result<Option<Entry>, MetadataError> {
        let snapshot = self.with(|shared| shared.read(&[Select::Key(key.to_owned())]))??;
        Ok(snapshot.results.into_iter().flatten().next())
    }

    async fn commit_under(
        &self,
        lease: i64,
        transaction: Transaction,
    ) -> Result<Option<Outcome>, MetadataError> {
        submit_now(&self.queue, Work::Commit(transaction, lease)).await.map(Some)
    }
}
