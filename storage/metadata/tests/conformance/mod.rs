//! What every metadata store promises, as functions that take one. Each wants a store of its own, or at least keys that
//! nobody else touches meanwhile; revisions are only compared with each other.

use bytes::Bytes;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{Compare, MetadataStore, Outcome, SharedStore, Transaction, Write};

pub(crate) mod model;
pub(crate) mod transactions;
pub(crate) mod watches;

/// Makes one test of every promise for the store that `$make` builds.
macro_rules! conformance {
    ($make:expr; $($module:ident::{$($name:ident),+ $(,)?});+ $(;)?) => {$($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            conformance::$module::$name($make).await;
        }
    )+)+};
}
pub(crate) use conformance;

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
