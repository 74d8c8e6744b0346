//! A metadata store that loses replies or requests of chosen transactions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{
    Lease, MetadataError, MetadataStore, Outcome, Select, SharedStore, Snapshot, Transaction, Watch, Write,
};

/// What happens to a transaction; its caller learns only that the outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetadataFault {
    /// It is committed.
    LostReply,
    /// It is not.
    LostRequest,
}

pub(crate) struct FaultyMetadata {
    inner: SharedStore,
    next: Mutex<Option<(String, MetadataFault)>>,
}

impl FaultyMetadata {
    pub(crate) fn over(inner: &SharedStore) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), next: Mutex::new(None) })
    }

    /// The next transaction that puts `key` meets the fault.
    pub(crate) fn fail_next_put(&self, key: String, fault: MetadataFault) {
        *self.next.lock().expect("no test panics with this lock") = Some((key, fault));
    }

    fn fault_of(&self, transaction: &Transaction) -> Option<MetadataFault> {
        let mut next = self.next.lock().expect("no test panics with this lock");
        let (key, fault) = next.as_ref()?;
        let strikes =
            transaction.writes.iter().any(|write| matches!(write, Write::Put(put, _) if put == key));
        let fault = strikes.then_some(*fault)?;
        *next = None;
        Some(fault)
    }
}

#[async_trait]
impl MetadataStore for FaultyMetadata {
    async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        self.inner.read(selects).await
    }
    async fn commit(&self, transaction: Transaction) -> Result<Outcome, MetadataError> {
        let unknown = || Err(MetadataError::OutcomeUnknown { reason: "a test lost it".into() });
        match self.fault_of(&transaction) {
            None => self.inner.commit(transaction).await,
            Some(MetadataFault::LostRequest) => unknown(),
            Some(MetadataFault::LostReply) => {
                self.inner.commit(transaction).await?;
                unknown()
            }
        }
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, MetadataError> {
        self.inner.watch(prefix, after).await
    }
    async fn keep(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, MetadataError> {
        self.inner.keep(key, value, ttl).await
    }
}
