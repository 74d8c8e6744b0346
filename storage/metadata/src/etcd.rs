//! The metadata store of a fleet: etcd, over its gRPC API.
//!
//! ```text
//! read ───► one Txn of ranges, linearizable; further pages at the same revision       tried again while time is left
//! commit ─► one Txn                                                                   never sent twice
//! watch ──► a stream of its own, begun again behind the last change when it breaks
//! ```
//!
//! Invariants:
//! 1. `Unavailable` from a commit means that etcd has certainly not acted; everything else that got no answer is
//!    `OutcomeUnknown`. [`calls`] decides, status by status.
//! 2. No read, and no transaction without writes, is answered by one member alone.
//! 3. A store that goes back in time is not used any more; see [`history`].
//! 4. A watch says "through" only of what it has delivered; see [`watching`] for why etcd's own word is not taken.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;

use crate::id::Revision;
use crate::lease;
use crate::limits;
use crate::store::{Lease, MetadataError, MetadataStore, Outcome, Select, Snapshot, Transaction, Watch};

mod calls;
mod connection;
mod history;
mod keyspace;
mod leasing;
mod proto;
mod reading;
mod watching;
mod writing;

use calls::{Failed, Members};
use connection::Endpoint;
use history::Seen;
use keyspace::Keyspace;

/// Where a cell's metadata is, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The members, as `http://host:port` or `https://host:port`. One is used at a time, the next when it fails.
    pub endpoints: Vec<String>,
    /// The cell's name in etcd: its keys stand below `/headgate/<cell>/`. Letters, digits, `-`, `_`, `.`.
    pub cell: String,
    /// How long a read or a commit may take, 5 s by default. Higher: callers hang longer on an etcd that is gone; lower:
    /// more transactions whose outcome is unknown while etcd elects a leader (about 1 s).
    pub request_timeout: Duration,
    /// How long to try one member before the next, 1 s by default. Higher: a lost member costs more; lower: a distant one
    /// counts as lost.
    pub connect_timeout: Duration,
}

impl EtcdConfig {
    /// The usual times.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>, cell: impl Into<String>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            cell: cell.into(),
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// A [`MetadataStore`] on etcd 3.4 or newer. Connects with the first request and whenever it must; clones share all.
#[derive(Debug, Clone)]
pub struct EtcdStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    members: Members,
    keys: Keyspace,
    request_timeout: Duration,
    seen: Seen,
}

impl EtcdStore {
    /// Checks the configuration; nothing is sent. `tls` is needed for `https`, with a client certificate where etcd asks
    /// for one.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words.
    pub fn new(config: &EtcdConfig, tls: Option<ClientConfig>) -> Result<Self, String> {
        if config.endpoints.is_empty() {
            return Err("no etcd endpoint is configured".to_owned());
        }
        let endpoints =
            config.endpoints.iter().map(|text| Endpoint::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if tls.is_none() && endpoints.iter().any(|endpoint| endpoint.uri.scheme_str() == Some("https")) {
            return Err("an etcd endpoint is https, and no CA is configured to trust".to_owned());
        }
        let tls = tls.map(|mut tls| {
            tls.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(tls)
        });
        let members = Members::new(endpoints, tls, config.connect_timeout);
        let (keys, request_timeout) = (Keyspace::of(&config.cell)?, config.request_timeout);
        let seen = Seen::default();
        Ok(Self(Arc::new(Inner { members, keys, request_timeout, seen })))
    }
}

impl Inner {
    /// How often one operation turns to a member: twice to each, for a connection may have died in silence.
    fn attempts_max(&self) -> u32 {
        2 * self.members.count() as u32
    }

    /// Asks for something that changes nothing, again and again until somebody answers or the time is up.
    async fn ask<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failed>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let until = Instant::now() + self.request_timeout;
        let mut attempts = self.attempts_max();
        loop {
            attempts -= 1;
            // A member that keeps silent gets half of what is left, so that another can still be asked.
            let left = until.saturating_duration_since(Instant::now());
            let share = if self.members.count() > 1 { left / 2 } else { left };
            match self.members.call(path, request.clone(), Instant::now() + share).await {
                Err(Failed::NotDone(_) | Failed::Unknown(_)) if attempts > 0 && Instant::now() < until => {}
                answer => return answer,
            }
        }
    }
}

#[async_trait]
impl MetadataStore for EtcdStore {
    async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        limits::check_selects(selects)?;
        self.0.read(selects).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, MetadataError> {
        limits::check_transaction(&transaction)?;
        self.0.commit(&transaction).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, MetadataError> {
        watching::start(&self.0, prefix, after).await
    }

    async fn keep(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, MetadataError> {
        lease::keep(self.clone(), key, value, ttl).await
    }
}
