//! Reads, compares and commits.

use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{
    Compare, Entry, MetadataError, Outcome, Select, SharedStore, TRANSACTION_OPERATIONS_MAX, Transaction,
    Write,
};

use super::{delete, put, value, write, write_if};

pub(crate) async fn a_value_is_read_back_with_the_revision_that_put_it(store: SharedStore) {
    let first = write(&*store, [put("k/a", "1"), put("k/b", "2")]).await;
    let second = write(&*store, [put("k/b", "3")]).await;
    assert!(second > first);
    let entry = |key: &str, value: &str, modified| Entry {
        key: key.to_owned(),
        value: Bytes::from(value.to_owned()),
        modified,
    };
    let found = store.list("k/").await.expect("readable");
    assert_eq!(found, [entry("k/a", "1", first), entry("k/b", "3", second)]);
    assert_eq!(store.get("k/none").await.expect("readable"), None);
}

pub(crate) async fn several_selects_are_read_at_one_revision(store: SharedStore) {
    write(&*store, [put("k/a", "1"), put("l/a", "2")]).await;
    let selects = [Select::Key("k/a".into()), Select::Prefix("l/".into()), Select::Key("none".into())];
    let snapshot = store.read(&selects).await.expect("readable");
    assert_eq!(snapshot.revision, store.revision().await.expect("readable"));
    let keys: Vec<Vec<_>> =
        snapshot.results.iter().map(|found| found.iter().map(|entry| entry.key.as_str()).collect()).collect();
    assert_eq!(keys, [vec!["k/a"], vec!["l/a"], vec![]]);
}

pub(crate) async fn a_prefix_ends_where_it_ends(store: SharedStore) {
    write(
        &*store,
        [put("a", "0"), put("a/", "1"), put("a/b", "2"), put("a0", "3"), put("a/\u{10ffff}", "4")],
    )
    .await;
    let keys = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(store.list("a/").await.expect("readable")), ["a/", "a/b", "a/\u{10ffff}"]);
    assert_eq!(keys(store.list("").await.expect("readable")).len(), 5);
}

pub(crate) async fn pages_cover_a_prefix_once_in_key_order(store: SharedStore) {
    let writes = (0..7).map(|index| put(&format!("p/{index}"), "x"));
    write(&*store, writes.chain([put("o/z", "x"), put("q/a", "x")])).await;
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = Select::Page { prefix: "p/".into(), after: after.clone(), limit: 3 };
        let entries = store.read(&[page]).await.expect("readable").results.remove(0);
        assert!(entries.len() <= 3);
        let Some(last) = entries.last() else { break };
        after.clone_from(&last.key);
        seen.extend(entries.into_iter().map(|entry| entry.key));
    }
    assert_eq!(seen, (0..7).map(|index| format!("p/{index}")).collect::<Vec<_>>());
}

pub(crate) async fn a_compare_that_does_not_hold_refuses_everything(store: SharedStore) {
    let first = write(&*store, [put("k", "1")]).await;
    let second = write(&*store, [put("k", "2")]).await;
    let failing = [
        Compare::Absent("k".into()),
        Compare::Present("none".into()),
        Compare::Unchanged("k".into(), first),
        Compare::Unchanged("none".into(), second),
        Compare::Unchanged("none".into(), Revision::new(0)),
        Compare::Value("k".into(), Bytes::from_static(b"1")),
        Compare::Value("none".into(), Bytes::new()),
    ];
    for compare in failing {
        let transaction = Transaction::new()
            .when(Compare::Present("k".into()))
            .when(compare.clone())
            .then(put("k", "3"))
            .then(put("new", "3"));
        let outcome = store.commit(transaction).await.expect("the store is healthy");
        assert_eq!(outcome, Outcome::Refused(second), "{compare:?}");
    }
    assert_eq!(value(&store, "k").await, Some(Bytes::from_static(b"2")));
    assert_eq!(value(&store, "new").await, None);
    assert_eq!(store.revision().await.expect("readable"), second);
}

pub(crate) async fn every_kind_of_compare_can_hold(store: SharedStore) {
    let revision = write(&*store, [put("k", "1")]).await;
    let transaction = Transaction::new()
        .when(Compare::Absent("none".into()))
        .when(Compare::Present("k".into()))
        .when(Compare::Unchanged("k".into(), revision))
        .when(Compare::Value("k".into(), Bytes::from_static(b"1")))
        .then(put("k", "2"));
    assert!(matches!(store.commit(transaction).await, Ok(Outcome::Committed(after)) if after > revision));
}

pub(crate) async fn a_key_that_came_back_is_not_unchanged(store: SharedStore) {
    let first = write(&*store, [put("k", "1")]).await;
    write(&*store, [delete("k")]).await;
    write(&*store, [put("k", "1")]).await;
    assert!(!write_if(&*store, Compare::Unchanged("k".into(), first), put("k", "2")).await);
}

pub(crate) async fn a_transaction_that_changes_nothing_makes_no_revision(store: SharedStore) {
    let before = write(&*store, [put("k", "1")]).await;
    assert_eq!(write(&*store, []).await, before);
    assert_eq!(write(&*store, [delete("none")]).await, before);
    assert_eq!(store.revision().await.expect("readable"), before);
}

pub(crate) async fn a_put_of_the_same_value_is_a_change(store: SharedStore) {
    let before = write(&*store, [put("k", "1")]).await;
    assert!(write(&*store, [put("k", "1")]).await > before);
    assert!(!write_if(&*store, Compare::Unchanged("k".into(), before), put("k", "2")).await);
}

pub(crate) async fn a_transaction_may_use_all_its_operations(store: SharedStore) {
    let keys = || (0..TRANSACTION_OPERATIONS_MAX).map(|index| format!("k/{index}"));
    let compares = keys().map(Compare::Absent).collect();
    let writes = keys().map(|key| put(&key, "1")).collect();
    let outcome = store.commit(Transaction { compares, writes }).await;
    assert!(matches!(outcome, Ok(Outcome::Committed(_))));
    assert_eq!(store.list("k/").await.expect("readable").len(), TRANSACTION_OPERATIONS_MAX);
}

pub(crate) async fn a_transaction_of_a_wrong_shape_is_invalid_and_changes_nothing(store: SharedStore) {
    let before = write(&*store, [put("k", "1")]).await;
    let many = 0..=TRANSACTION_OPERATIONS_MAX;
    let wrong = [
        ("too many writes", Vec::new(), many.clone().map(|index| put(&format!("k/{index}"), "1")).collect()),
        (
            "too many compares",
            many.map(|index| Compare::Absent(format!("k/{index}"))).collect(),
            vec![put("k", "2")],
        ),
        ("a key written twice", Vec::new(), vec![put("k", "2"), put("k", "3")]),
        ("a key put and deleted", Vec::new(), vec![put("k", "2"), delete("k")]),
        ("an empty key", Vec::new(), vec![put("", "2")]),
        ("an empty compared key", vec![Compare::Absent(String::new())], vec![put("k", "2")]),
        ("too many bytes", Vec::new(), vec![Write::Put("k".into(), Bytes::from(vec![0; 2 << 20]))]),
    ];
    for (what, compares, writes) in wrong {
        let outcome = store.commit(Transaction { compares, writes }).await;
        assert!(matches!(outcome, Err(MetadataError::Invalid { .. })), "{what}: {outcome:?}");
    }
    assert_eq!(store.revision().await.expect("readable"), before);
}

pub(crate) async fn of_many_writers_of_one_key_every_win_is_kept(store: SharedStore) {
    write(&*store, [put("count", "0")]).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for _ in 0..20 {
                while !add_one(&store).await {}
            }
        });
    }
    writers.join_all().await;
    assert_eq!(value(&store, "count").await, Some(Bytes::from_static(b"160")));
}

async fn add_one(store: &SharedStore) -> bool {
    let entry = store.get("count").await.expect("readable").expect("put before");
    let count: u64 = std::str::from_utf8(&entry.value).expect("digits").parse().expect("digits");
    write_if(
        &**store,
        Compare::Unchanged("count".into(), entry.modified),
        put("count", &(count + 1).to_string()),
    )
    .await
}

pub(crate) async fn a_committed_value_is_seen_by_every_read_that_begins_later(store: SharedStore) {
    for round in 0..50_u32 {
        let revision: Revision = write(&*store, [put("k", &round.to_string())]).await;
        let snapshot = store.read(&[Select::Key("k".into())]).await.expect("readable");
        assert!(snapshot.revision >= revision);
        assert_eq!(snapshot.results[0][0].value, Bytes::from(round.to_string()));
    }
}
