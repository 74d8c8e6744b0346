//! Leases of etcd. Their times are whole seconds, and at least 1.5 times etcd's election time-out.

use std::time::Duration;

use async_trait::async_trait;
use tonic::Code;

use super::proto::{
    self, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseRevokeResponse,
};
use super::reading::read_error;
use super::writing::commit_error;
use super::{EtcdStore, Failed};
use crate::lease::Leasing;
use crate::store::{Entry, MetadataError, MetadataStore, Outcome, Transaction};

#[async_trait]
impl Leasing for EtcdStore {
    async fn grant(&self, ttl: Duration) -> Result<i64, MetadataError> {
        let request = LeaseGrantRequest { ttl: ttl.as_secs_f64().ceil() as i64 };
        // A lease whose grant got no answer holds no key and runs out.
        let answer: LeaseGrantResponse =
            self.0.tell(proto::LEASE_GRANT, request).await.map_err(|failed| read_error(&failed))?;
        Ok(answer.id)
    }

    async fn renew(&self, lease: i64) -> Result<bool, MetadataError> {
        // A stream of requests; one of them and its answer look like a single call.
        let request = LeaseKeepAliveRequest { id: lease };
        let answer: LeaseKeepAliveResponse =
            self.0.ask(proto::LEASE_KEEP_ALIVE, request).await.map_err(|failed| read_error(&failed))?;
        Ok(answer.ttl > 0)
    }

    async fn revoke(&self, lease: i64) -> Result<(), MetadataError> {
        let request = LeaseRevokeRequest { id: lease };
        match self.0.ask::<_, LeaseRevokeResponse>(proto::LEASE_REVOKE, request).await {
            Err(Failed::Refused(status)) if status.code() == Code::NotFound => Ok(()),
            answer => answer.map(drop).map_err(|failed| read_error(&failed)),
        }
    }

    async fn read_key(&self, key: &str) -> Result<Option<Entry>, MetadataError> {
        self.get(key).await
    }

    async fn commit_under(
        &self,
        lease: i64,
        transaction: Transaction,
    ) -> Result<Option<Outcome>, MetadataError> {
        match self.0.commit_under(&transaction, lease).await {
            Err(Failed::Refused(status)) if status.code() == Code::NotFound => Ok(None),
            answer => answer.map(Some).map_err(|failed| commit_error(&failed)),
        }
    }
}
