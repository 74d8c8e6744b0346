//! What the store promises over a directory and over a faulty server.

use bytes::Bytes;

use crate::object::ObjectName;
use crate::store::{
    CellIdentity, CellRefused, Fault, FaultyObjects, Secret, Store, StoreCall, StoreError, StoreOpenError,
    StoreOptions,
};

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("the name is plain")
}

fn cell(name: &str) -> CellIdentity {
    CellIdentity {
        format: CellIdentity::FORMAT,
        cell: name.to_owned(),
        slots: 64,
        hash: "xxh3-64".to_owned(),
    }
}

#[tokio::test]
async fn a_directory_serves_puts_ranges_suffixes_lists_and_deletes() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let url = format!("file://{}/objects", dir.path().display());
    let store = Store::open(&url, &StoreOptions::default()).expect("the directory can be made");
    store.probe(1).await.expect("the directory works");
    let object = name("flush/1-7/00000000000000000000-00");
    let parts = vec![Bytes::from_static(b"hello "), Bytes::from_static(b"world")];
    store.put(&object, parts).await.expect("the directory works");
    assert_eq!(store.get(&object).await.expect("it was put"), "hello world");
    assert_eq!(store.get_range(&object, 4..8).await.expect("it was put"), "o wo");
    assert_eq!(store.get_suffix(&object, 5).await.expect("it was put"), (Bytes::from_static(b"world"), 11));
    assert_eq!(store.get_suffix(&object, 500).await.expect("it was put").0.len(), 11);
    let short = store.get_range(&object, 4..80).await;
    assert!(matches!(short, Err(StoreError::Short { expected: 76, found: 7, .. })), "{short:?}");
    let listed = store.list("flush").await.expect("the directory works");
    assert_eq!(listed.iter().map(|object| (&object.name, object.bytes)).collect::<Vec<_>>(), [(&object, 11)]);
    store.delete(&object).await.expect("the directory works");
    store.delete(&object).await.expect("deleting twice is fine");
    assert!(matches!(store.get(&object).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_prefix_keeps_two_stores_of_one_bucket_apart() {
    let objects = FaultyObjects::new();
    let stores = ["one", "two/deep"]
        .map(|prefix| Store::from_objects(std::sync::Arc::new(objects.clone()), prefix, "memory://"));
    for store in &stores {
        store
            .put(&name("flush/x"), vec![Bytes::from(store.place().to_owned())])
            .await
            .expect("no fault is set");
        assert_eq!(store.list("flush").await.expect("no fault is set").len(), 1);
    }
    assert_eq!(objects.paths().await, ["one/flush/x", "two/deep/flush/x"]);
}

#[tokio::test]
async fn a_put_whose_reply_is_lost_may_be_repeated() {
    let objects = FaultyObjects::new();
    let store = objects.store();
    objects.fail_next(StoreCall::Put, Fault::LostReply);
    let object = name("flush/x");
    let put = || store.put(&object, vec![Bytes::from_static(b"content")]);
    assert!(matches!(put().await, Err(StoreError::Unavailable { .. })));
    put().await.expect("the second try is answered");
    assert_eq!(store.get(&object).await.expect("it was put"), "content");
}

#[tokio::test]
async fn the_probe_says_which_step_failed_and_why() {
    for (call, step) in
        [(StoreCall::Put, "writing"), (StoreCall::Get, "reading back"), (StoreCall::Delete, "deleting")]
    {
        let objects = FaultyObjects::new();
        objects.fail_next(call, Fault::Denied);
        let error = objects.store().probe(1).await.expect_err("the step is refused");
        assert!(matches!(&error, StoreOpenError::Probe { step: found, .. } if *found == step), "{error}");
        let text = error.to_string();
        assert!(text.contains("403 Access Denied") && text.contains("memory://faulty"), "{text}");
    }
}

#[tokio::test]
async fn a_store_belongs_to_the_first_cell_that_claims_it() {
    let objects = FaultyObjects::new();
    let store = objects.store();
    store.check_cell(&cell("aaaaaaaa")).await.expect("the store is empty");
    store.check_cell(&cell("aaaaaaaa")).await.expect("it is the same cell");
    let error = store.check_cell(&cell("bbbbbbbb")).await.expect_err("it is another cell");
    assert!(matches!(error, CellRefused::Foreign { .. }));
    assert!(error.to_string().contains("belongs to cell aaaaaaaa"), "{error}");
    let other_slots = CellIdentity { slots: 1024, ..cell("aaaaaaaa") };
    assert!(store.check_cell(&other_slots).await.is_err());
}

#[tokio::test]
async fn a_damaged_cell_file_or_a_silent_store_claims_nothing() {
    let objects = FaultyObjects::new();
    let store = objects.store();
    objects.fail_all(Some(Fault::Unavailable));
    assert!(matches!(store.check_cell(&cell("aaaaaaaa")).await, Err(CellRefused::Store(_))));
    objects.fail_all(None);
    store.put(&name("cell.json"), vec![Bytes::from_static(b"{}")]).await.expect("no fault is set");
    assert!(matches!(store.check_cell(&cell("aaaaaaaa")).await, Err(CellRefused::Damaged { .. })));
}

#[test]
fn a_url_that_is_no_store_is_refused_with_the_two_forms() {
    for url in ["", "http://x", "file://relative/path", "s3://", "s3:///prefix", "/plain/path"] {
        let error = Store::open(url, &StoreOptions::default()).expect_err("it is no store");
        let text = error.to_string();
        assert!(matches!(error, StoreOpenError::Url { .. }), "{url}");
        assert!(text.contains("file:///absolute/path or s3://bucket/prefix"), "{text}");
    }
}

#[test]
fn a_bucket_opens_without_asking_it_and_its_secret_is_never_shown() {
    let options = StoreOptions {
        access_key: Some(("AKIA".to_owned(), Secret::new("hush"))),
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..StoreOptions::default()
    };
    let store = Store::open("s3://bucket/some/prefix", &options).expect("nothing is asked yet");
    assert_eq!(store.place(), "s3://bucket/some/prefix");
    assert!(!format!("{options:?} {store:?}").contains("hush"));
}

/// `HEADGATE_TEST_S3=http://127.0.0.1:5000` names a server that has a bucket `headgate-test` and takes any credentials.
#[tokio::test]
#[ignore = "needs an S3 server; set HEADGATE_TEST_S3 to its endpoint"]
async fn a_real_s3_server_serves_probe_ranges_suffixes_lists_and_deletes() {
    let endpoint = std::env::var("HEADGATE_TEST_S3").expect("the test was asked for, so the server is named");
    let options = StoreOptions {
        access_key: Some(("test".to_owned(), Secret::new("test"))),
        endpoint: Some(endpoint),
        ..StoreOptions::default()
    };
    let store = Store::open("s3://headgate-test/some/prefix", &options).expect("nothing is asked yet");
    store.probe(1).await.expect("the server works");
    let object = name("flush/1-7/00000000000000000000-00");
    store
        .put(&object, vec![Bytes::from_static(b"hello "), Bytes::from_static(b"world")])
        .await
        .expect("it works");
    assert_eq!(store.get_range(&object, 4..8).await.expect("it was put"), "o wo");
    assert_eq!(store.get_range_at_most(&object, 4..800).await.expect("it was put"), "o world");
    assert_eq!(store.get_suffix(&object, 5).await.expect("it was put"), (Bytes::from_static(b"world"), 11));
    assert_eq!(store.get_suffix(&object, 500).await.expect("it was put").1, 11);
    assert_eq!(store.list("flush").await.expect("it works").len(), 1);
    store.delete(&object).await.expect("it works");
    store.delete(&object).await.expect("deleting twice is fine");
    assert!(matches!(store.get(&object).await, Err(StoreError::NotFound { .. })));
    let missing = Store::open("s3://no-such-bucket", &options).expect("nothing is asked yet");
    let refused = missing.probe(1).await.expect_err("there is no such bucket").to_string();
    assert!(refused.contains("writing") && refused.contains("NoSuchBucket"), "{refused}");
    assert!(matches!(missing.get(&object).await, Err(StoreError::Refused { .. })));
}
