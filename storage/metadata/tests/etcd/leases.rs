//! Leases that etcd ends although their holder lives.

use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::store::{Event, SharedStore, Watch};

use crate::conformance::{put, value, write};
use crate::server::{Etcd, post};

const TTL: Duration = Duration::from_secs(2);

/// Ends all leases behind their holders' backs.
fn revoke_all(etcd: &Etcd) {
    let port = etcd.members[0].port;
    let list = post(port, "/v3/lease/leases", "{}");
    let body = list.split("\r\n\r\n").nth(1).expect("a body");
    let ids = body.split("\"ID\":\"").skip(1).map(|rest| rest.split('"').next().expect("quoted"));
    for id in ids {
        post(port, "/v3/lease/revoke", &format!("{{\"ID\":\"{id}\"}}"));
    }
}

async fn next_event(watch: &mut dyn Watch) -> Event {
    loop {
        let changes = watch.next().await.expect("the watch is healthy");
        if let Some(event) = changes.events.into_iter().next() {
            return event;
        }
    }
}

async fn watched(etcd: &Etcd) -> (SharedStore, Box<dyn Watch>) {
    let store = etcd.store("main");
    let start = store.revision().await.expect("readable");
    let watch = store.watch("n/", start).await.expect("watchable");
    (store, watch)
}

#[tokio::test]
async fn a_lease_that_etcd_lost_is_made_anew() {
    let etcd = Etcd::start().await;
    let (store, mut watch) = watched(&etcd).await;
    let lease = store.keep("n/1", Bytes::from_static(b"here"), TTL).await.expect("etcd is healthy");
    assert!(next_event(&mut *watch).await.value.is_some());
    revoke_all(&etcd);
    assert!(next_event(&mut *watch).await.value.is_none());
    assert!(next_event(&mut *watch).await.value.is_some());
    lease.release().await;
    assert!(next_event(&mut *watch).await.value.is_none());
}

#[tokio::test]
async fn a_lease_that_etcd_lost_leaves_the_key_to_who_took_it_since() {
    let etcd = Etcd::start().await;
    let (store, mut watch) = watched(&etcd).await;
    let lease = store.keep("n/1", Bytes::from_static(b"here"), TTL).await.expect("etcd is healthy");
    assert!(next_event(&mut *watch).await.value.is_some());
    revoke_all(&etcd);
    write(&*store, [put("n/1", "another")]).await;
    tokio::time::sleep(TTL).await;
    lease.release().await;
    assert_eq!(value(&store, "n/1").await.as_deref(), Some(&b"another"[..]));
}

#[tokio::test]
async fn a_kept_key_survives_a_restart_of_etcd() {
    let mut etcd = Etcd::start().await;
    let (store, _) = watched(&etcd).await;
    let lease = store.keep("n/1", Bytes::from_static(b"here"), TTL).await.expect("etcd is healthy");
    etcd.restart().await;
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(value(&store, "n/1").await.as_deref(), Some(&b"here"[..]));
    lease.release().await;
    assert_eq!(value(&store, "n/1").await, None);
}
