//! The etcd store keeps every promise of the conformance suite, and what it promises when etcd fails.

#[path = "../conformance/mod.rs"]
mod conformance;
mod failures;
mod leases;
mod members;
mod proxy;
mod server;
mod tls;
mod watches;

use conformance::conformance;
use proptest::prelude::ProptestConfig;
use proptest::proptest;
use server::Etcd;

conformance!(Etcd::start().await.store("main"), flavor = "multi_thread", worker_threads = 2);

#[test]
fn a_store_is_a_map_with_a_counter() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let etcd = runtime.block_on(Etcd::start());
    let cells = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(24), |(steps in conformance::model::steps())| {
        cells.set(cells.get() + 1);
        let store = etcd.store(&format!("cell-{}", cells.get()));
        runtime.block_on(conformance::model::a_store_is_a_map_with_a_counter(store, steps));
    });
}

#[tokio::test]
async fn cells_in_one_etcd_do_not_see_each_other() {
    let etcd = Etcd::start().await;
    let (a, b) = (etcd.store("a"), etcd.store("ab"));
    conformance::write(&*a, [conformance::put("k", "of a")]).await;
    conformance::write(&*b, [conformance::put("k", "of b"), conformance::put("l", "of b")]).await;
    assert_eq!(conformance::value(&a, "k").await.as_deref(), Some(&b"of a"[..]));
    assert_eq!(a.list("").await.expect("readable").len(), 1);
    assert_eq!(b.list("").await.expect("readable").len(), 2);
}

#[tokio::test]
async fn a_prefix_of_many_pages_is_read_at_one_revision() {
    let etcd = Etcd::start().await;
    let store = etcd.store("main");
    for chunk in 0..25 {
        let key = |index: usize| conformance::put(&format!("p/{chunk:02}-{index:03}"), &"x".repeat(1_000));
        conformance::write(&*store, (0..100).map(key)).await;
    }
    let writer = {
        let store = std::sync::Arc::clone(&store);
        // Adds and removes while the pages are read: a page of another revision would show it.
        tokio::spawn(async move {
            for round in 0..40 {
                let key = format!("p/{:02}-x", round % 25);
                conformance::write(&*store, [conformance::put(&key, "y")]).await;
                conformance::write(&*store, [conformance::delete(&key)]).await;
            }
        })
    };
    while !writer.is_finished() {
        let snapshot =
            store.read(&[headgate_metadata::store::Select::Prefix("p/".into())]).await.expect("readable");
        let entries = &snapshot.results[0];
        assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        assert!(entries.iter().all(|entry| entry.modified <= snapshot.revision));
        // The writer has one key of its own at most at any time.
        assert!((2_500..=2_501).contains(&entries.len()), "{}", entries.len());
    }
    writer.await.expect("the writer ends");
}
