//! Keys that say "I am here": put under a lease, kept in the background, gone when their process is.
//!
//! Safety never rests on a lease (`PROTOCOL.md` §10): one that ran out says that nobody heard of its holder for a while.
//!
//! ```text
//! keep ─► grant, put ─► renew every third of the time to live ─► released or dropped: revoke
//!                         └─ the lease is gone: grant, put again, unless the key is another's by now
//! ```

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::spawn;
use crate::store::{Compare, Entry, MetadataError, Outcome, Transaction, Write};

/// The pause after a renewal that failed, which is short beside every time to live.
const RETRY: Duration = Duration::from_millis(300);

/// A key that stands as long as this is held and its process lives. Dropping it takes the key away in the background; when
/// the process dies, the store does so within the time to live.
#[derive(Debug)]
pub struct Lease {
    value: watch::Sender<Bytes>,
    held: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Replaces the value, in the background and until it is done.
    pub fn set(&self, value: Bytes) {
        self.value.send_replace(value);
    }

    /// Takes the key away and waits until that was tried; when the store cannot be reached, the key goes by its time to live.
    pub async fn release(self) {
        drop(self.held);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "lease task ended badly");
        }
    }
}

/// What a store does for a lease. Each call is bounded in time.
#[async_trait]
pub(crate) trait Leasing: Send + Sync + 'static {
    /// Begins a lease of this time to live.
    async fn grant(&self, ttl: Duration) -> Result<i64, MetadataError>;
    /// Begins its time anew; `false` = there is no such lease.
    async fn renew(&self, lease: i64) -> Result<bool, MetadataError>;
    /// Ends it, with its keys.
    async fn revoke(&self, lease: i64) -> Result<(), MetadataError>;
    /// Reads a key.
    async fn read_key(&self, key: &str) -> Result<Option<Entry>, MetadataError>;
    /// Commits with the puts under the lease; `None` = there is no such lease.
    async fn commit_under(
        &self,
        lease: i64,
        transaction: Transaction,
    ) -> Result<Option<Outcome>, MetadataError>;
}

/// Puts the key, whoever had it, and keeps it from now on.
pub(crate) async fn keep(
    store: impl Leasing,
    key: &str,
    value: Bytes,
    ttl: Duration,
) -> Result<Lease, MetadataError> {
    let lease = store.grant(ttl).await?;
    let put = Transaction::new().then(Write::Put(key.to_owned(), value.clone()));
    if store.commit_under(lease, put).await?.is_none() {
        return Err(MetadataError::Unavailable { reason: format!("the lease of `{key}` ended at once") });
    }
    let (value, wanted) = watch::channel(value);
    let (held, released) = oneshot::channel();
    let holder = Holder { store, key: key.to_owned(), ttl, lease: Some(lease), put: wanted.borrow().clone() };
    let task = spawn::detached(holder.run(wanted, released));
    Ok(Lease { value, held, task })
}

/// Whose the key is.
#[derive(PartialEq, Eq)]
enum Standing {
    Mine,
    /// Somebody else put it since.
    Another,
}

struct Holder<S> {
    store: S,
    key: String,
    ttl: Duration,
    /// `None` = it ran out.
    lease: Option<i64>,
    /// The value last put.
    put: Bytes,
}

impl<S: Leasing> Holder<S> {
    async fn run(mut self, mut wanted: watch::Receiver<Bytes>, mut released: oneshot::Receiver<()>) {
        let mut pause = self.ttl / 3;
        let mut failed = false;
        loop {
            // An end of `wanted` comes with one of `released`.
            tokio::select! {
                biased;
                _ = &mut released => break,
                Ok(()) = wanted.changed() => {}
                () = sleep(pause) => {}
            }
            let value = wanted.borrow().clone();
            let upheld = tokio::select! {
                biased;
                _ = &mut released => break,
                upheld = self.uphold(value) => upheld,
            };
            pause = match upheld {
                Ok(Standing::Mine) => {
                    failed = false;
                    self.ttl / 3
                }
                Ok(Standing::Another) => {
                    tracing::warn!(key = self.key, "leased key was taken over by another process");
                    break;
                }
                Err(error) => {
                    // Said once, not for every attempt.
                    if !failed {
                        tracing::info!(key = self.key, %error, "lease not renewed yet");
                    }
                    failed = true;
                    RETRY.min(self.ttl / 3)
                }
            };
        }
        if let Some(lease) = self.lease
            && let Err(error) = self.store.revoke(lease).await
        {
            tracing::info!(key = self.key, %error, "lease not revoked, it will run out");
        }
    }

    /// Renews the lease, and puts the key again where the lease was gone or the value is another.
    async fn uphold(&mut self, value: Bytes) -> Result<Standing, MetadataError> {
        if let Some(lease) = self.lease
            && !self.store.renew(lease).await?
        {
            tracing::warn!(key = self.key, "lease ran out, registering again");
            self.lease = None;
        }
        if self.lease.is_some() && value == self.put {
            return Ok(Standing::Mine);
        }
        self.put_again(value).await
    }

    async fn put_again(&mut self, value: Bytes) -> Result<Standing, MetadataError> {
        let lease = match self.lease {
            Some(lease) => lease,
            None => *self.lease.insert(self.store.grant(self.ttl).await?),
        };
        let compare = match self.store.read_key(&self.key).await? {
            None => Compare::Absent(self.key.clone()),
            // The wanted value stands there after a put whose outcome was not known.
            Some(entry) if entry.value == self.put || entry.value == value => {
                Compare::Unchanged(self.key.clone(), entry.modified)
            }
            Some(_) => return Ok(Standing::Another),
        };
        let put = Transaction::new().when(compare).then(Write::Put(self.key.clone(), value.clone()));
        match self.store.commit_under(lease, put).await? {
            Some(Outcome::Committed(_)) => {
                self.put = value;
                Ok(Standing::Mine)
            }
            lost => {
                if lost.is_none() {
                    self.lease = None;
                }
                Err(MetadataError::Contended { key: self.key.clone() })
            }
        }
    }
}
