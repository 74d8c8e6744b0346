//! Transactions while etcd fails: what was said of each must be true of the keys afterwards.

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::etcd::{EtcdConfig, EtcdStore};
use headgate_metadata::store::{Compare, MetadataError, Outcome, SharedStore, Transaction};
use rustix::process::Signal;

use crate::conformance::{put, value, write};
use crate::server::Etcd;

fn create(key: &str) -> Transaction {
    Transaction::new().when(Compare::Absent(key.to_owned())).then(put(key, "1"))
}

/// A store that does not wait long.
fn impatient(etcd: &Etcd) -> SharedStore {
    let config = EtcdConfig {
        request_timeout: Duration::from_millis(500),
        ..EtcdConfig::new([etcd.endpoint(0)], "main")
    };
    Arc::new(EtcdStore::new(&config, None).expect("a valid configuration"))
}

#[tokio::test]
async fn a_transaction_for_an_etcd_that_is_gone_is_known_not_to_have_happened() {
    let mut etcd = Etcd::start().await;
    let store = etcd.store("main");
    write(&*store, [put("before", "1")]).await;
    etcd.kill(0);
    for _ in 0..3 {
        // The first request finds the connection dead. If it were the transaction, it might have been sent for all the
        // store knows.
        assert!(matches!(store.get("before").await, Err(MetadataError::Unavailable { .. })));
        let outcome = store.commit(create("k")).await;
        assert!(matches!(outcome, Err(MetadataError::Unavailable { .. })), "{outcome:?}");
    }
    etcd.start_member(0);
    etcd.ready().await;
    assert_eq!(value(&store, "k").await, None);
    assert_eq!(value(&store, "before").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_transaction_that_gets_no_answer_has_an_unknown_outcome() {
    let etcd = Etcd::start().await;
    let store = impatient(&etcd);
    // Connects, so that the request can be sent.
    write(&*store, [put("before", "1")]).await;
    etcd.signal(0, Signal::STOP);
    let outcome = store.commit(create("k")).await;
    assert!(matches!(outcome, Err(MetadataError::OutcomeUnknown { .. })), "{outcome:?}");
    let read = store.get("before").await;
    assert!(matches!(read, Err(MetadataError::Unavailable { .. })), "{read:?}");
    etcd.signal(0, Signal::CONT);
    // It may land at any time from here on; a compare on the key decides for good.
    etcd.ready().await;
    let decided =
        store.commit(Transaction::new().when(Compare::Absent("k".into())).then(put("k", "mine"))).await;
    let found = value(&store, "k").await.expect("one of the two was committed");
    match decided.expect("etcd answers again") {
        Outcome::Committed(_) => assert_eq!(found, "mine"),
        Outcome::Refused(_) => assert_eq!(found, "1"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_of_transactions_is_true_after_etcd_was_killed_among_them() {
    let mut etcd = Etcd::start().await;
    for round in 0..5 {
        let store = etcd.store("main");
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                let mut said = Vec::new();
                for index in 0..10_000 {
                    let key = format!("k/{round}/{writer}/{index}");
                    let outcome = store.commit(create(&key)).await;
                    let failed = outcome.is_err();
                    said.push((key, outcome));
                    if failed {
                        break;
                    }
                }
                said
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        etcd.kill(0);
        let said: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
        etcd.start_member(0);
        etcd.ready().await;
        let mut committed = 0;
        for (key, outcome) in said {
            let found = value(&store, &key).await.is_some();
            match outcome {
                Ok(Outcome::Committed(_)) => {
                    committed += 1;
                    assert!(found, "{key} was committed and is gone");
                }
                Err(MetadataError::Unavailable { .. }) => assert!(!found, "{key} was not sent and is there"),
                Err(MetadataError::OutcomeUnknown { .. }) => {}
                other => panic!("{key}: {other:?}"),
            }
        }
        assert!(committed > 0);
    }
}

#[tokio::test]
async fn a_store_that_was_restored_from_a_backup_is_not_used_any_more() {
    let mut etcd = Etcd::start().await;
    let store = etcd.store("main");
    write(&*store, [put("k", "1")]).await;
    let backup = etcd.backup().await;
    let lost = write(&*store, [put("k", "2")]).await;
    etcd.restore(&backup).await;
    for _ in 0..2 {
        let read = store.get("k").await;
        assert!(matches!(&read, Err(MetadataError::WentBack { .. })), "{read:?}");
        assert!(matches!(store.commit(create("new")).await, Err(MetadataError::WentBack { .. })));
    }
    // Whoever comes anew sees what is there, and must know itself what to think of it.
    let again = etcd.store("main");
    assert!(again.revision().await.expect("readable") < lost);
    assert_eq!(value(&again, "k").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(value(&again, "new").await, None);
}
