//! Watches while etcd and the way to it fail, and the proof of progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_metadata::etcd::{EtcdConfig, EtcdStore};
use headgate_metadata::id::Revision;
use headgate_metadata::store::{Event, MetadataError, SharedStore, Watch};

use crate::conformance::{delete, put, write};
use crate::proxy::Proxy;
use crate::server::Etcd;

/// Reads changes up to the revision of a committed change of the prefix.
async fn up_to(watch: &mut dyn Watch, revision: Revision) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let changes = watch.next().await.expect("the watch is healthy");
        events.extend(changes.events);
        if changes.through >= revision {
            return events;
        }
    }
}

fn through_proxy(proxy: &Proxy) -> SharedStore {
    let config = EtcdConfig::new([proxy.endpoint()], "main");
    Arc::new(EtcdStore::new(&config, None).expect("a valid configuration"))
}

#[tokio::test]
async fn a_watch_goes_on_behind_its_last_change_when_etcd_was_killed_and_came_back() {
    let mut etcd = Etcd::start().await;
    let store = etcd.store("main");
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let mut revisions = Vec::new();
    for round in 0..4 {
        revisions.push(write(&*store, [put("w/k", &round.to_string())]).await);
        let events = up_to(&mut *watch, revisions[round]).await;
        assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), revisions[round..]);
        etcd.restart().await;
    }
}

#[tokio::test]
async fn a_watch_gets_what_happened_while_it_was_cut_off() {
    let etcd = Etcd::start().await;
    let mut proxy = Proxy::to(etcd.members[0].port).await;
    let (near, far) = (through_proxy(&proxy), etcd.store("main"));
    let start = near.revision().await.expect("readable");
    let mut watch = near.watch("w/", start).await.expect("watchable");
    let first = write(&*far, [put("w/a", "1")]).await;
    assert_eq!(up_to(&mut *watch, first).await.len(), 1);
    proxy.cut().await;
    write(&*far, [put("w/b", "1")]).await;
    let last = write(&*far, [delete("w/a")]).await;
    proxy.mend().await;
    let events = up_to(&mut *watch, last).await;
    assert_eq!(events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["w/b", "w/a"]);
}

#[tokio::test]
async fn a_watch_that_was_cut_off_past_a_compaction_breaks() {
    let etcd = Etcd::start().await;
    let mut proxy = Proxy::to(etcd.members[0].port).await;
    let (near, far) = (through_proxy(&proxy), etcd.store("main"));
    let start = near.revision().await.expect("readable");
    let mut watch = near.watch("w/", start).await.expect("watchable");
    let first = write(&*far, [put("w/a", "1")]).await;
    up_to(&mut *watch, first).await;
    proxy.cut().await;
    write(&*far, [put("w/b", "1")]).await;
    let last = write(&*far, [put("w/c", "1")]).await;
    etcd.compact(last.get());
    proxy.mend().await;
    let broken = watch.next().await;
    assert!(
        matches!(&broken, Err(MetadataError::Unavailable { reason }) if reason.contains("compacted")),
        "{broken:?}"
    );
    let again = near.watch("w/", first).await.err();
    assert!(
        matches!(&again, Some(MetadataError::Invalid { reason }) if reason.contains("snapshot")),
        "{again:?}"
    );
    assert!(near.watch("w/", near.revision().await.expect("readable")).await.is_ok());
}

#[tokio::test]
async fn a_compaction_below_a_quiet_watch_does_not_break_it() {
    let etcd = Etcd::start().await;
    let store = etcd.store("main");
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let first = write(&*store, [put("w/a", "1")]).await;
    up_to(&mut *watch, first).await;
    write(&*store, [put("other", "1")]).await;
    let elsewhere = write(&*store, [put("other", "2")]).await;
    etcd.compact(elsewhere.get());
    watch.request_progress();
    assert_eq!(up_to(&mut *watch, elsewhere).await, []);
    let last = write(&*store, [put("w/a", "2")]).await;
    assert_eq!(up_to(&mut *watch, last).await.len(), 1);
}

#[tokio::test]
async fn a_watch_on_a_store_that_went_back_in_time_breaks() {
    let mut etcd = Etcd::start().await;
    let store = etcd.store("main");
    let backup = etcd.backup().await;
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let last = write(&*store, [put("w/a", "1")]).await;
    up_to(&mut *watch, last).await;
    etcd.restore(&backup).await;
    let broken = watch.next().await;
    assert!(matches!(&broken, Err(MetadataError::WentBack { .. })), "{broken:?}");
    let ahead = etcd.store("main").watch("w/", last).await.err();
    assert!(matches!(&ahead, Some(MetadataError::Invalid { .. })), "{ahead:?}");
}

/// The promise that etcd 3.4 itself breaks: what is said to be through is through, whoever writes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_at_or_below_what_was_said_to_be_through_comes_later() {
    let etcd = Etcd::start().await;
    let store = etcd.store("main");
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("w/", start).await.expect("watchable");
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut last = Revision::new(0);
            for round in 0..300 {
                let key = format!("w/{}", round % 7);
                last = match round % 5 {
                    0 => write(&*store, [delete(&key), put("elsewhere", "x")]).await,
                    1 | 2 => write(&*store, [put(&key, "x")]).await,
                    _ => write(&*store, [put("elsewhere", "x")]).await,
                };
            }
            last
        })
    };
    let mut kept = BTreeMap::new();
    let mut told = start;
    let mut proofs = 0;
    while !writer.is_finished() {
        if told == store.revision().await.expect("readable") {
            continue;
        }
        watch.request_progress();
        let before = told;
        let changes = watch.next().await.expect("the watch is healthy");
        proofs += u32::from(changes.events.is_empty());
        for event in changes.events {
            assert!(event.revision > before && event.revision <= changes.through);
            match event.value {
                Some(_) => drop(kept.insert(event.key, event.revision)),
                None => drop(kept.remove(&event.key)),
            }
        }
        told = changes.through;
        // What stands at `told` is what the events up to it have made. A later change shows a later revision.
        for entry in store.list("w/").await.expect("readable") {
            assert!(
                entry.modified > told || kept.get(&entry.key) == Some(&entry.modified),
                "{entry:?} at {told}"
            );
        }
    }
    let last = writer.await.expect("the writer ends");
    watch.request_progress();
    for event in up_to(&mut *watch, last).await {
        match event.value {
            Some(_) => drop(kept.insert(event.key, event.revision)),
            None => drop(kept.remove(&event.key)),
        }
    }
    let found: BTreeMap<_, _> = store
        .list("w/")
        .await
        .expect("readable")
        .into_iter()
        .map(|entry| (entry.key, entry.modified))
        .collect();
    assert_eq!(kept, found);
    assert!(proofs > 0, "progress was proven while others wrote");
}
