//! The embedded store keeps every promise of the conformance suite, in memory and in a file.

mod conformance;

use std::sync::Arc;

use conformance::conformance;
use headgate_metadata::embedded::{EmbeddedStore, OpenError};
use headgate_metadata::id::Revision;
use headgate_metadata::store::{MetadataError, MetadataStore, SharedStore};
use proptest::proptest;

fn in_memory() -> SharedStore {
    Arc::new(EmbeddedStore::in_memory())
}

conformance!(in_memory(), flavor = "multi_thread", worker_threads = 2);

#[tokio::test]
async fn a_file_that_is_opened_again_holds_what_was_committed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metadata.redb");
    let before = {
        let store = EmbeddedStore::open(&path).expect("a new file opens");
        conformance::write(&store, [conformance::put("k", "1")]).await
    };
    let store: SharedStore = Arc::new(EmbeddedStore::open(&path).expect("the file opens again"));
    assert_eq!(store.revision().await.expect("readable"), before);
    assert_eq!(conformance::value(&store, "k").await.as_deref(), Some(&b"1"[..]));
    let after = conformance::write(&*store, [conformance::put("k", "2")]).await;
    assert_eq!(after, Revision::new(before.get() + 1));
}

#[tokio::test]
async fn a_watch_from_before_the_file_was_opened_must_read_a_snapshot_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metadata.redb");
    {
        let store = EmbeddedStore::open(&path).expect("a new file opens");
        conformance::write(&store, [conformance::put("k", "1")]).await;
    }
    let store = EmbeddedStore::open(&path).expect("the file opens again");
    let watch = store.watch("k", Revision::new(0)).await;
    assert!(matches!(watch, Err(MetadataError::Invalid { reason }) if reason.contains("snapshot")));
}

#[tokio::test]
async fn what_a_dead_process_kept_is_gone_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metadata.redb");
    let before = {
        let store = EmbeddedStore::open(&path).expect("a new file opens");
        let ttl = std::time::Duration::from_secs(5);
        // Forgotten, as by a process that is killed.
        std::mem::forget(store.keep("n/1", "here".into(), ttl).await.expect("the store is healthy"));
        conformance::write(&store, [conformance::put("k", "1")]).await
    };
    let store: SharedStore = Arc::new(EmbeddedStore::open(&path).expect("the file opens again"));
    assert_eq!(conformance::value(&store, "n/1").await, None);
    assert_eq!(conformance::value(&store, "k").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(store.revision().await.expect("readable"), Revision::new(before.get() + 1));
}

#[test]
fn a_file_that_is_open_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metadata.redb");
    let _holder = EmbeddedStore::open(&path).expect("a new file opens");
    let refused = EmbeddedStore::open(&path).expect_err("it is open");
    assert!(matches!(refused, OpenError::InUse { .. }));
    assert!(refused.to_string().contains("metadata.redb"));
}

#[test]
fn a_file_of_something_else_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metadata.redb");
    std::fs::write(&path, b"these are not the bytes of a store, and there are enough of them to be read")
        .expect("written");
    let refused = EmbeddedStore::open(&path).expect_err("it is no store");
    assert!(matches!(refused, OpenError::Unreadable { .. }));
    assert!(refused.to_string().contains("metadata.redb"));
}

#[test]
fn a_store_is_a_map_with_a_counter() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    proptest!(|(steps in conformance::model::steps())| {
        runtime.block_on(conformance::model::a_store_is_a_map_with_a_counter(in_memory(), steps));
    });
}
