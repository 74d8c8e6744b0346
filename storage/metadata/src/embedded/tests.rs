//! What only the embedded store promises; the rest is in the conformance suite under `tests/`.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::*;
use crate::store::{Compare, Write};

fn put(key: &str, value: Vec<u8>) -> Transaction {
    Transaction::new().then(Write::Put(key.to_owned(), Bytes::from(value)))
}

/// A file whose syncs fail on demand.
#[derive(Debug)]
struct FailingSync {
    file: redb::backends::InMemoryBackend,
    failing: Arc<AtomicBool>,
}

impl StorageBackend for FailingSync {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        if self.failing.load(Ordering::Acquire) {
            return Err(std::io::Error::other("the disk is gone"));
        }
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write(offset, data)
    }
}

#[tokio::test]
async fn after_a_failed_sync_the_outcome_is_unknown_and_nothing_goes_on() {
    let failing = Arc::new(AtomicBool::new(false));
    let file = redb::backends::InMemoryBackend::new();
    let backend = FailingSync { file, failing: Arc::clone(&failing) };
    let store = EmbeddedStore::with_backend(backend).expect("the disk is healthy");
    store.commit(put("k", vec![1])).await.expect("the disk is healthy");
    failing.store(true, Ordering::Release);
    let outcome = store.commit(put("k", vec![2])).await;
    assert!(matches!(outcome, Err(MetadataError::OutcomeUnknown { .. })), "{outcome:?}");
    // A disk that answers again proves nothing about what it lost.
    failing.store(false, Ordering::Release);
    assert!(matches!(store.commit(put("k", vec![3])).await, Err(MetadataError::Unavailable { .. })));
    assert!(matches!(store.get("k").await, Err(MetadataError::Unavailable { .. })));
    assert!(matches!(store.watch("k", Revision::new(1)).await, Err(MetadataError::Unavailable { .. })));
}

#[tokio::test]
async fn a_watch_that_fell_behind_is_told_to_start_again() {
    let store = EmbeddedStore::in_memory();
    let mut watch = store.watch("k", Revision::new(0)).await.expect("watchable");
    for _ in 0..20 {
        store.commit(put("k", vec![0; 1 << 20])).await.expect("the store is healthy");
    }
    let news = watch.next().await;
    assert!(matches!(news, Err(MetadataError::Unavailable { reason }) if reason.contains("snapshot")));
    let revision = store.revision().await.expect("readable");
    assert!(store.watch("k", revision).await.is_ok());
}

#[tokio::test]
async fn a_watch_ends_with_its_store() {
    let store = EmbeddedStore::in_memory();
    let mut watch = store.watch("k", Revision::new(0)).await.expect("watchable");
    store.commit(put("k", vec![1])).await.expect("the store is healthy");
    drop(store);
    assert_eq!(watch.next().await.expect("what was committed is still told").events.len(), 1);
    assert!(matches!(watch.next().await, Err(MetadataError::Unavailable { .. })));
}

#[tokio::test]
async fn transactions_of_one_group_see_each_other_in_order() {
    let store = EmbeddedStore::in_memory();
    let guarded = || put("k", vec![1]).when(Compare::Absent("k".to_owned()));
    // All are queued before the first is awaited again, so that they share groups in whatever way the thread takes them.
    let outcomes = futures_util::future::join_all((0..100).map(|_| store.commit(guarded()))).await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Committed(_)))).count();
    assert_eq!(won, 1);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(store.revision().await.expect("readable"), Revision::new(1));
}

#[tokio::test]
async fn a_store_closes_although_a_lease_waits_for_it_on_the_same_thread() {
    let store = EmbeddedStore::in_memory();
    let ttl = Duration::from_secs(5);
    drop(store.keep("n", Bytes::from_static(b"here"), ttl).await.expect("the store is healthy"));
    // Lets the lease's task queue its end; the drop then blocks the only thread that could read the answer.
    tokio::task::yield_now().await;
    drop(store);
}
