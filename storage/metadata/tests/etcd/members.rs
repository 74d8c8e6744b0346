//! Several endpoints: one that answers is enough.

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::etcd::{EtcdConfig, EtcdStore};
use headgate_metadata::store::SharedStore;
use tokio::net::TcpListener;

use crate::conformance::{put, value, write};
use crate::server::Etcd;

fn store(endpoints: &[String]) -> SharedStore {
    let config = EtcdConfig::new(endpoints.iter().cloned(), "main");
    Arc::new(EtcdStore::new(&config, None).expect("a valid configuration"))
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over_for_writes_too() {
    let etcd = Etcd::start().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    let store = store(&[closed, etcd.endpoint(0)]);
    write(&*store, [put("k", "1")]).await;
    assert_eq!(value(&store, "k").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_read_turns_from_a_member_that_keeps_silent() {
    let etcd = Etcd::start().await;
    // Connections stand in its queue and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("bound"));
    let config = EtcdConfig {
        request_timeout: Duration::from_secs(2),
        ..EtcdConfig::new([endpoint, etcd.endpoint(0)], "main")
    };
    let store: SharedStore = Arc::new(EtcdStore::new(&config, None).expect("a valid configuration"));
    assert_eq!(value(&store, "k").await, None);
    // It stays with the one that answered.
    write(&*store, [put("k", "1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_members_each_may_be_killed_in_turn() {
    let mut etcd = Etcd::start_members(3).await;
    let store = etcd.store("main");
    let start = store.revision().await.expect("readable");
    let mut watch = store.watch("k", start).await.expect("watchable");
    for round in 0..3 {
        etcd.kill(round);
        // A commit may meet the election, so it is decided like by any caller: read, then commit on what is there.
        let text = round.to_string();
        let revision = loop {
            let Ok(found) = store.get("k").await else { continue };
            if let Some(entry) = found.filter(|entry| entry.value == text) {
                break entry.modified;
            }
            drop(store.commit(headgate_metadata::store::Transaction::new().then(put("k", &text))).await);
        };
        loop {
            let changes = watch.next().await.expect("the watch survives");
            if changes.through >= revision {
                break;
            }
        }
        etcd.start_member(round);
        etcd.ready().await;
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_in_words() {
    let refused = |endpoints: &[&str], cell: &str| {
        EtcdStore::new(&EtcdConfig::new(endpoints.iter().copied(), cell), None).expect_err("refused")
    };
    assert!(refused(&[], "main").contains("endpoint"));
    assert!(refused(&["etcd:2379"], "main").contains("etcd:2379"));
    assert!(refused(&["https://etcd:2379"], "main").contains("CA"));
    assert!(refused(&["http://etcd:2379"], "a/b").contains("a/b"));
}
