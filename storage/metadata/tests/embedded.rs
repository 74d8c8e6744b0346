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

conformance! {
    in_memory();
    transactions::{
        a_value_is_read_back_with_the_revision_that_put_it,
        several_selects_are_read_at_one_revision,
        a_prefix_ends_where_it_ends,
        pages_cover_a_prefix_once_in_key_order,
        a_compare_that_does_not_hold_refuses_everything,
        every_kind_of_compare_can_hold,
        a_key_that_came_back_is_not_unchanged,
        a_transaction_that_changes_nothing_makes_no_revision,
        a_put_of_the_same_value_is_a_change,
        a_transaction_may_use_all_its_operations,
        a_transaction_of_a_wrong_shape_is_invalid_and_changes_nothing,
        of_many_writers_of_one_key_every_win_is_kept,
        a_committed_value_is_seen_by_every_read_that_begins_later,
    };
    watches::{
        a_watch_delivers_each_change_of_its_prefix_once_and_in_order,
        a_watch_that_starts_in_the_recent_past_gets_what_came_since,
        a_snapshot_and_a_watch_from_its_revision_miss_nothing,
        a_watch_learns_that_the_store_went_on_elsewhere,
        a_wait_that_was_given_up_loses_nothing,
        a_refused_transaction_is_not_seen,
    };
}

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
