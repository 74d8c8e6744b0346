use bytes::Bytes;
use tokio::time::advance;

use super::*;
use crate::store::{Compare, Write};

fn put(key: &str, value: &str) -> Transaction {
    Transaction::new().then(Write::Put(key.to_owned(), Bytes::from(value.to_owned())))
}

async fn value(store: &SimulatedStore, key: &str) -> Option<Bytes> {
    store.get(key).await.expect("this client has no faults").map(|entry| entry.value)
}

/// A client whose transactions end this way, and one without faults.
fn faulty(fate: Fate) -> (SimulatedStore, SimulatedStore) {
    let healthy = SimulatedStore::without_faults();
    let strikes = move |operation: Operation<'_>| match operation {
        Operation::Commit(_) => Passage::ending(fate),
        _ => Passage::FREE,
    };
    (healthy.client(strikes), healthy)
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_did_not_happen_and_is_known_not_to_have() {
    let (client, healthy) = faulty(Fate::NotSent);
    assert!(matches!(client.commit(put("k", "1")).await, Err(MetadataError::Unavailable { .. })));
    assert_eq!(value(&healthy, "k").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_and_a_lost_reply_look_the_same_to_their_client() {
    for (fate, found) in [(Fate::RequestLost, None), (Fate::ReplyLost, Some(Bytes::from_static(b"1")))] {
        let (client, healthy) = faulty(fate);
        assert!(matches!(client.commit(put("k", "1")).await, Err(MetadataError::OutcomeUnknown { .. })));
        assert_eq!(value(&healthy, "k").await, found);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_transaction_lands_at_its_time_under_the_compares_of_that_time() {
    let (client, healthy) = faulty(Fate::Late(Duration::from_secs(3)));
    let mut watch = healthy.watch("k", Revision::new(0)).await.expect("watchable");
    let guarded = |key: &str| put(key, "late").when(Compare::Absent(key.to_owned()));
    for key in ["k/a", "k/b"] {
        let told = client.commit(guarded(key)).await;
        assert!(matches!(told, Err(MetadataError::OutcomeUnknown { .. })));
    }
    drop(client);
    advance(Duration::from_secs(2)).await;
    assert_eq!(value(&healthy, "k/a").await, None);
    healthy.commit(put("k/b", "first")).await.expect("no faults");
    let first = watch.next().await.expect("the watch is healthy");
    assert_eq!(first.events[0].value, Some(Bytes::from_static(b"first")));
    // Nobody calls the store from here on: the watch itself must notice.
    let late = watch.next().await.expect("the watch is healthy");
    assert_eq!((late.events.len(), &*late.events[0].key), (1, "k/a"));
    assert_eq!(value(&healthy, "k/b").await, Some(Bytes::from_static(b"first")));
}

#[tokio::test(start_paused = true)]
async fn delays_pass_in_simulated_time_on_both_ways() {
    let (before, after) = (Duration::from_secs(2), Duration::from_secs(5));
    let store = SimulatedStore::new(move |_: Operation<'_>| Passage { before, fate: Fate::Done, after });
    let started = Instant::now();
    let healthy = store.client(|_: Operation<'_>| Passage::FREE);
    let commit = tokio::spawn(async move { store.commit(put("k", "1")).await });
    sleep(Duration::from_secs(3)).await;
    assert_eq!(value(&healthy, "k").await, Some(Bytes::from_static(b"1")), "it happens between the ways");
    commit.await.expect("no panic").expect("no faults");
    assert_eq!(started.elapsed(), before + after);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_gets_no_changes_while_others_do() {
    let healthy = SimulatedStore::without_faults();
    let cut = healthy.client(|operation: Operation<'_>| match operation {
        Operation::Deliver(..) => Passage::ending(Fate::NotSent),
        _ => Passage::FREE,
    });
    let mut broken = cut.watch("k", Revision::new(0)).await.expect("watchable");
    let mut whole = healthy.watch("k", Revision::new(0)).await.expect("watchable");
    healthy.commit(put("k", "1")).await.expect("no faults");
    assert!(matches!(broken.next().await, Err(MetadataError::Unavailable { .. })));
    assert_eq!(whole.next().await.expect("no faults").events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_gives_revisions_again_and_breaks_all_watches() {
    let store = SimulatedStore::without_faults();
    store.commit(put("k", "1")).await.expect("no faults");
    let backup = store.backup();
    let lost = store.commit(put("k", "2")).await.expect("no faults");
    let mut watch = store.watch("k", Revision::new(2)).await.expect("watchable");
    store.restore(backup);
    assert!(matches!(watch.next().await, Err(MetadataError::Unavailable { .. })));
    assert_eq!(value(&store, "k").await, Some(Bytes::from_static(b"1")));
    assert_eq!(
        store.commit(put("other", "3")).await.expect("no faults"),
        lost,
        "the same number, another change"
    );
}

#[tokio::test(start_paused = true)]
async fn compaction_breaks_only_watches_that_are_behind() {
    let store = SimulatedStore::without_faults();
    let mut behind = store.watch("k", Revision::new(0)).await.expect("watchable");
    let mut level = store.watch("k", Revision::new(0)).await.expect("watchable");
    store.commit(put("k", "1")).await.expect("no faults");
    level.next().await.expect("no faults");
    store.compact();
    assert!(matches!(behind.next().await, Err(MetadataError::Unavailable { .. })));
    assert!(matches!(store.watch("k", Revision::new(0)).await, Err(MetadataError::Invalid { .. })));
    store.commit(put("k", "2")).await.expect("no faults");
    assert_eq!(level.next().await.expect("no faults").events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kept_key_runs_out_when_its_holder_is_cut_off_and_comes_back_with_it() {
    let ttl = Duration::from_secs(5);
    let cut = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let healthy = SimulatedStore::without_faults();
    let severed = Arc::clone(&cut);
    let client = healthy.client(move |_: Operation<'_>| {
        let is_cut = severed.load(std::sync::atomic::Ordering::Acquire);
        Passage::ending(if is_cut { Fate::NotSent } else { Fate::Done })
    });
    let mut watch = healthy.watch("n", Revision::new(0)).await.expect("watchable");
    let _lease = client.keep("n", Bytes::from_static(b"here"), ttl).await.expect("not cut off yet");
    assert!(watch.next().await.expect("no faults").events[0].value.is_some());
    sleep(ttl * 3).await;
    assert!(value(&healthy, "n").await.is_some(), "it is renewed");
    cut.store(true, std::sync::atomic::Ordering::Release);
    let at = Instant::now();
    assert_eq!(watch.next().await.expect("no faults").events[0].value, None);
    assert!(at.elapsed() <= ttl);
    cut.store(false, std::sync::atomic::Ordering::Release);
    assert!(watch.next().await.expect("no faults").events[0].value.is_some());
}
