//! Watches.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{Event, SharedStore, Watch};

use super::{delete, put, write};

/// Reads changes until everything up to `through`, which is committed, was delivered.
async fn through(watch: &mut dyn Watch, through: Revision) -> Vec<Event> {
    let mut events = Vec::new();
    watch.request_progress();
    loop {
        let changes = watch.next().await.expect("the watch is healthy");
        events.extend(changes.events);
        if changes.through >= through {
            return events;
        }
    }
}

fn event(key: &str, value: Option<&str>, revision: Revision) -> Event {
    Event { key: key.to_owned(), value: value.map(|value| Bytes::from(value.to_owned())), revision }
}

pub(crate) async fn a_watch_delivers_each_change_of_its_prefix_once_and_in_order(store: SharedStore) {
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let first = write(&*store, [put("w/a", "1"), put("other", "1"), put("w/b", "1")]).await;
    let second = write(&*store, [put("w/a", "2")]).await;
    let third = write(&*store, [delete("w/a")]).await;
    let expected = [
        event("w/a", Some("1"), first),
        event("w/b", Some("1"), first),
        event("w/a", Some("2"), second),
        event("w/a", None, third),
    ];
    assert_eq!(through(&mut *watch, third).await, expected);
}

pub(crate) async fn a_watch_that_starts_in_the_recent_past_gets_what_came_since(store: SharedStore) {
    let first = write(&*store, [put("w/a", "1")]).await;
    let second = write(&*store, [put("w/a", "2")]).await;
    let mut watch = store.watch("w/", first).await.expect("watchable");
    assert_eq!(through(&mut *watch, second).await, [event("w/a", Some("2"), second)]);
}

pub(crate) async fn a_snapshot_and_a_watch_from_its_revision_miss_nothing(store: SharedStore) {
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut last = Revision::default();
            for index in 0..100 {
                last = write(&*store, [put(&format!("w/{index:03}"), "1")]).await;
            }
            last
        })
    };
    let selects = [headgate_metadata::store::Select::Prefix("w/".into())];
    let snapshot = store.read(&selects).await.expect("readable");
    let mut watch = store.watch("w/", snapshot.revision).await.expect("watchable");
    let last = writer.await.expect("the writer ends");
    let mut keys: Vec<String> = snapshot.results[0].iter().map(|entry| entry.key.clone()).collect();
    if last > snapshot.revision {
        keys.extend(through(&mut *watch, last).await.into_iter().map(|event| event.key));
    }
    assert_eq!(keys, (0..100).map(|index| format!("w/{index:03}")).collect::<Vec<_>>());
}

pub(crate) async fn a_watch_learns_that_the_store_went_on_elsewhere(store: SharedStore) {
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let elsewhere = write(&*store, [put("other", "1")]).await;
    assert_eq!(through(&mut *watch, elsewhere).await, []);
}

pub(crate) async fn a_wait_that_was_given_up_loses_nothing(store: SharedStore) {
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    assert!(watch.next().now_or_never().is_none(), "nothing has happened yet");
    let revision = write(&*store, [put("w/a", "1")]).await;
    assert_eq!(through(&mut *watch, revision).await, [event("w/a", Some("1"), revision)]);
}

pub(crate) async fn a_refused_transaction_is_not_seen(store: SharedStore) {
    let start = write(&*store, [put("w/a", "1")]).await;
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let absent = headgate_metadata::store::Compare::Absent("w/a".into());
    assert!(!super::write_if(&*store, absent, put("w/b", "1")).await);
    let after = write(&*store, [put("w/c", "1")]).await;
    assert_eq!(through(&mut *watch, after).await, [event("w/c", Some("1"), after)]);
}
