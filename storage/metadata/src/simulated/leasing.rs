//! Leases of the simulated store. They run out in tokio's time, whatever becomes of the task that renews them.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Operation, SimulatedStore, done, travel};
use crate::lease::Leasing;
use crate::store::{Entry, MetadataError, MetadataStore, Outcome, Transaction};

impl SimulatedStore {
    /// A call about a lease; one that is not done in time is as if not sent.
    async fn about_lease<T>(&self, act: impl FnOnce() -> T + Send) -> Result<T, MetadataError>
    where
        T: Send,
    {
        let passage = self.faults.meet(Operation::Lease);
        travel(passage.before).await;
        done(passage.fate, "lease")?;
        let answer = act();
        self.shared.changed.notify_waiters();
        travel(passage.after).await;
        Ok(answer)
    }
}

#[async_trait]
impl Leasing for SimulatedStore {
    async fn grant(&self, ttl: Duration) -> Result<i64, MetadataError> {
        self.about_lease(|| self.lock().grant(ttl, Instant::now())).await
    }

    async fn renew(&self, lease: i64) -> Result<bool, MetadataError> {
        self.about_lease(|| self.lock().renew(lease, Instant::now())).await
    }

    async fn revoke(&self, lease: i64) -> Result<(), MetadataError> {
        self.about_lease(|| self.lock().revoke(lease)).await
    }

    async fn read_key(&self, key: &str) -> Result<Option<Entry>, MetadataError> {
        self.get(key).await
    }

    async fn commit_under(
        &self,
        lease: i64,
        transaction: Transaction,
    ) -> Result<Option<Outcome>, MetadataError> {
        self.commit_leased(lease, transaction).await
    }
}
