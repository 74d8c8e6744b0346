//! Kept keys.

use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{SharedStore, Watch};

use super::{put, value, write};

/// The shortest time to live that all stores keep.
const TTL: Duration = Duration::from_secs(1);

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

/// Waits until a key of the watch's prefix has this value, or none.
async fn until(watch: &mut dyn Watch, key: &str, value: Option<&str>) {
    loop {
        let changes = watch.next().await.expect("the watch is healthy");
        let is = |event: &headgate_metadata::store::Event| event.value.as_deref() == value.map(str::as_bytes);
        if changes.events.iter().any(|event| event.key == key && is(event)) {
            return;
        }
    }
}

async fn start(store: &SharedStore) -> Revision {
    store.revision().await.expect("readable")
}

pub(crate) async fn a_kept_key_stands_longer_than_its_time_to_live_and_goes_when_released(
    store: SharedStore,
) {
    let lease = store.keep("n/1", bytes("here"), TTL).await.expect("the store is healthy");
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(value(&store, "n/1").await, Some(bytes("here")));
    lease.release().await;
    assert_eq!(value(&store, "n/1").await, None);
}

pub(crate) async fn a_kept_key_goes_when_its_lease_is_dropped(store: SharedStore) {
    let mut watch = store.watch("n/", start(&store).await).await.expect("watchable");
    drop(store.keep("n/1", bytes("here"), TTL).await.expect("the store is healthy"));
    until(&mut *watch, "n/1", None).await;
}

pub(crate) async fn a_kept_value_can_be_replaced(store: SharedStore) {
    let mut watch = store.watch("n/", start(&store).await).await.expect("watchable");
    let lease = store.keep("n/1", bytes("one"), TTL).await.expect("the store is healthy");
    lease.set(bytes("two"));
    until(&mut *watch, "n/1", Some("two")).await;
    lease.release().await;
    assert_eq!(value(&store, "n/1").await, None);
}

pub(crate) async fn who_keeps_a_key_last_has_it(store: SharedStore) {
    let earlier = store.keep("n/1", bytes("earlier"), TTL).await.expect("the store is healthy");
    let later = store.keep("n/1", bytes("later"), TTL).await.expect("the store is healthy");
    // Wants to replace what is no longer its own.
    earlier.set(bytes("again"));
    tokio::time::sleep(TTL).await;
    earlier.release().await;
    assert_eq!(value(&store, "n/1").await, Some(bytes("later")));
    later.release().await;
    assert_eq!(value(&store, "n/1").await, None);
}

pub(crate) async fn a_put_takes_a_key_from_its_lease(store: SharedStore) {
    let lease = store.keep("n/1", bytes("here"), TTL).await.expect("the store is healthy");
    write(&*store, [put("n/1", "to stay")]).await;
    lease.release().await;
    assert_eq!(value(&store, "n/1").await, Some(bytes("to stay")));
}
