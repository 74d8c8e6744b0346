//! What every metadata store promises, as functions that take one. Each wants a store of its own, or at least keys that
//! nobody else touches meanwhile; revisions are only compared with each other.

use bytes::Bytes;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{Compare, MetadataStore, Outcome, SharedStore, Transaction, Write};

pub(crate) mod leases;
pub(crate) mod model;
pub(crate) mod transactions;
pub(crate) mod watches;

/// Makes one test of every promise for the store that `$make` builds; `$runtime` are the arguments of `tokio::test`.
macro_rules! conformance {
    ($make:expr, $($runtime:tt)*) => {
        conformance::each_promise! {
            @each [$make] [$($runtime)*]
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
            leases::{
                a_kept_key_stands_longer_than_its_time_to_live_and_goes_when_released,
                a_kept_key_goes_when_its_lease_is_dropped,
                a_kept_value_can_be_replaced,
                who_keeps_a_key_last_has_it,
                a_put_takes_a_key_from_its_lease,
            };
        }
    };
}
macro_rules! each_promise {
    (@each $make:tt $runtime:tt $($module:ident::{$($name:ident),+ $(,)?};)+) => {$($(
        conformance::each_promise! { @one $make $runtime $module $name }
    )+)+};
    (@one [$make:expr] [$($runtime:tt)*] $module:ident $name:ident) => {
        #[tokio::test($($runtime)*)]
        async fn $name() {
            conformance::$module::$name($make).await;
        }
    };
}
pub(crate) use conformance;
pub(crate) use each_promise;

/// A put.
pub(crate) fn put(key: &str, value: &str) -> Write {
    Write::Put(key.to_owned(), Bytes::from(value.to_owned()))
}

/// A delete.
pub(crate) fn delete(key: &str) -> Write {
    Write::Delete(key.to_owned())
}

/// Commits writes without conditions.
pub(crate) async fn write(store: &dyn MetadataStore, writes: impl IntoIterator<Item = Write>) -> Revision {
    let transaction = Transaction { compares: Vec::new(), writes: writes.into_iter().collect() };
    match store.commit(transaction).await.expect("the store is healthy") {
        Outcome::Committed(revision) => revision,
        Outcome::Refused(_) => panic!("a transaction without compares was refused"),
    }
}

/// Tries to write under one condition; whether it held.
pub(crate) async fn write_if(store: &dyn MetadataStore, compare: Compare, write: Write) -> bool {
    let transaction = Transaction::new().when(compare).then(write);
    matches!(store.commit(transaction).await.expect("the store is healthy"), Outcome::Committed(_))
}

/// The value of a key.
pub(crate) async fn value(store: &SharedStore, key: &str) -> Option<Bytes> {
    store.get(key).await.expect("the store is healthy").map(|entry| entry.value)
}
