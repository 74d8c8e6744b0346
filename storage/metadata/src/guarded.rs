//! A store that must not go back in time (`PROTOCOL.md` §6.6): what it answers is compared with what was seen before it was
//! asked.
//!
//! A store that was restored from a backup gives revisions a second time, to other changes; whoever went on from what it had
//! read before would overwrite what others did in between. Reads and commits are linearizable, so a revision that was seen before a request
//! was sent is never above the one of its answer. Invariant: after the first answer that stands below, nothing is asked any
//! more, and nobody is given that answer.
//!
//! What cannot be noticed here: a store that has caught up with the revisions before it is asked again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::id::Revision;
use crate::store::{
    Changes, Lease, MetadataError, MetadataStore, Outcome, Select, SharedStore, Snapshot, Transaction, Watch,
};

/// The store stands below what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "metadata store stands at revision {found}, {seen} was seen: it was restored from a backup. Stop all processes of the cell, keep their data directories, and run `headgate metadata rebuild`, or start them on the store that belongs to them"
)]
pub struct WentBack {
    /// The highest revision seen.
    pub seen: Revision,
    /// Where the store stands.
    pub found: Revision,
}

/// A store whose answers are compared with what was seen.
pub struct GuardedStore {
    inner: SharedStore,
    guard: Arc<Guard>,
}

struct Guard {
    seen: AtomicU64,
    broken: AtomicBool,
    told: Box<dyn Fn(WentBack) + Send + Sync>,
}

impl fmt::Debug for GuardedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStore").field("seen", &self.guard.seen).finish_non_exhaustive()
    }
}

impl GuardedStore {
    /// Guards `inner`; `told` is called once, when it went back, and must not block for long.
    pub fn over(inner: SharedStore, told: impl Fn(WentBack) + Send + Sync + 'static) -> Self {
        let guard = Guard { seen: AtomicU64::new(0), broken: AtomicBool::new(false), told: Box::new(told) };
        Self { inner, guard: Arc::new(guard) }
    }
}

impl Guard {
    /// What was seen before a request is sent.
    fn before(&self) -> Result<Revision, MetadataError> {
        if self.broken.load(Ordering::Acquire) {
            let reason = "it went back in time; nothing is asked of it any more".to_owned();
            return Err(MetadataError::Unavailable { reason });
        }
        Ok(Revision::new(self.seen.load(Ordering::Acquire)))
    }

    fn check(&self, seen: Revision, found: Revision) -> Result<(), WentBack> {
        if found >= seen {
            self.seen.fetch_max(found.get(), Ordering::AcqRel);
            return Ok(());
        }
        let went_back = WentBack { seen, found };
        self.tell(went_back);
        Err(went_back)
    }

    fn tell(&self, went_back: WentBack) {
        if !self.broken.swap(true, Ordering::AcqRel) {
            (self.told)(went_back);
        }
    }

    /// A store may notice by itself.
    fn heard<T>(&self, answer: Result<T, MetadataError>) -> Result<T, MetadataError> {
        if let Err(MetadataError::WentBack { seen, found }) = answer {
            self.tell(WentBack { seen, found });
        }
        answer
    }
}

#[async_trait]
impl MetadataStore for GuardedStore {
    async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        let seen = self.guard.before()?;
        let snapshot = self.guard.heard(self.inner.read(selects).await)?;
        let checked = self.guard.check(seen, snapshot.revision);
        checked.map_err(|went_back| MetadataError::Unavailable { reason: went_back.to_string() })?;
        Ok(snapshot)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, MetadataError> {
        let seen = self.guard.before()?;
        let outcome = self.guard.heard(self.inner.commit(transaction).await)?;
        let (Outcome::Committed(found) | Outcome::Refused(found)) = outcome;
        let checked = self.guard.check(seen, found);
        checked.map_err(|went_back| MetadataError::OutcomeUnknown { reason: went_back.to_string() })?;
        Ok(outcome)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, MetadataError> {
        self.guard.before()?;
        let inner = self.guard.heard(self.inner.watch(prefix, after).await)?;
        Ok(Box::new(GuardedWatch { inner, guard: Arc::clone(&self.guard) }))
    }

    async fn keep(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, MetadataError> {
        self.guard.before()?;
        self.guard.heard(self.inner.keep(key, value, ttl).await)
    }
}

/// A watch lags behind the store, so it only tells how far that has come.
struct GuardedWatch {
    inner: Box<dyn Watch>,
    guard: Arc<Guard>,
}

#[async_trait]
impl Watch for GuardedWatch {
    async fn next(&mut self) -> Result<Changes, MetadataError> {
        let changes = self.guard.heard(self.inner.next().await)?;
        self.guard.before()?;
        self.guard.seen.fetch_max(changes.through.get(), Ordering::AcqRel);
        Ok(changes)
    }

    fn request_progress(&mut self) {
        self.inner.request_progress();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::simulated::SimulatedStore;
    use crate::store::{Compare, Write};

    fn put(key: &str) -> Transaction {
        Transaction::new().then(Write::Put(key.to_owned(), Bytes::from_static(b"x")))
    }

    fn guarded(store: &SimulatedStore) -> (GuardedStore, Arc<Mutex<Vec<WentBack>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let tell = move |went_back| telling.lock().expect("no test panics with this lock").push(went_back);
        (GuardedStore::over(Arc::new(store.clone()), tell), told)
    }

    fn count(told: &Mutex<Vec<WentBack>>) -> usize {
        told.lock().expect("no test panics with this lock").len()
    }

    #[tokio::test]
    async fn section_6_6_a_restored_store_is_noticed_by_the_next_answer_and_told_once() {
        let store = SimulatedStore::without_faults();
        let (guarded, told) = guarded(&store);
        let backup = store.backup();
        guarded.commit(put("a")).await.expect("nothing fails");
        guarded.commit(put("b")).await.expect("nothing fails");
        store.restore(backup);
        let refused = guarded.read(&[]).await.expect_err("it stands below").to_string();
        assert!(refused.contains("revision 0, 2 was seen"), "{refused}");
        assert!(refused.contains("keep their data directories"), "{refused}");
        assert!(guarded.commit(put("c")).await.is_err(), "nothing is asked any more");
        assert!(store.get("c").await.expect("nothing fails").is_none());
        assert_eq!(count(&told), 1);
    }

    #[tokio::test]
    async fn section_6_6_a_refusal_that_stands_below_is_noticed_too() {
        let store = SimulatedStore::without_faults();
        let (guarded, told) = guarded(&store);
        guarded.commit(put("a")).await.expect("nothing fails");
        let backup = store.backup();
        guarded.commit(put("b")).await.expect("nothing fails");
        store.restore(backup);
        let transaction = put("b").when(Compare::Present("b".to_owned()));
        assert!(matches!(guarded.commit(transaction).await, Err(MetadataError::OutcomeUnknown { .. })));
        assert_eq!(count(&told), 1);
    }

    #[tokio::test]
    async fn section_6_6_what_a_watch_told_counts_as_seen() {
        let store = SimulatedStore::without_faults();
        let (guarded, told) = guarded(&store);
        let backup = store.backup();
        let mut watch = guarded.watch("", Revision::new(0)).await.expect("nothing fails");
        store.commit(put("a")).await.expect("nothing fails");
        assert_eq!(watch.next().await.expect("nothing fails").through, Revision::new(1));
        store.restore(backup);
        assert!(guarded.get("a").await.is_err());
        assert_eq!(count(&told), 1);
    }

    #[tokio::test]
    async fn answers_that_overtake_each_other_are_no_way_back() {
        let store = SimulatedStore::without_faults();
        let (guarded, told) = guarded(&store);
        for _ in 0..10 {
            let (first, second) = tokio::join!(guarded.commit(put("a")), guarded.read(&[]));
            assert!(first.is_ok() && second.is_ok());
        }
        assert_eq!(count(&told), 0);
    }
}
