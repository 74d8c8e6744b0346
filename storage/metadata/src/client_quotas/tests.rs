use super::*;
use crate::client_quota::EntityName;
use crate::clusters;
use crate::embedded::EmbeddedStore;
use crate::testing::{at, cluster};

const KEY: ClientQuotaKey = ClientQuotaKey::ProducerByteRate;

fn client(name: &str) -> ClientQuotaEntity {
    ClientQuotaEntity { user: None, client_id: Some(EntityName::Named(name.to_owned())) }
}

fn alteration(name: &str, value: Option<f64>) -> ClientQuotaAlteration {
    ClientQuotaAlteration { entity: client(name), changes: [(KEY, value)].into() }
}

async fn store_and_cluster() -> (SharedStore, ClusterId) {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let id = clusters::create(&*store, cluster(1, "orders"), None).await.expect("created").0.id;
    (store, id)
}

#[tokio::test]
async fn what_is_set_is_seen_and_what_is_removed_leaves_nothing() {
    let (store, id) = store_and_cluster().await;
    let quotas = ClientQuotas::start(Arc::clone(&store)).await.expect("readable");
    assert_eq!(quotas.of(id), None);
    let both = [alteration("a", Some(5.0)), alteration("b", Some(6.0))];
    let (altered, revision) = alter(&*store, id, &both).await.expect("altered");
    assert_eq!(altered, [Ok(()), Ok(())]);
    quotas.catch_up(revision.expect("a change")).await.expect("the store is here");
    let found = |name| quotas.of(id).and_then(|of| of.set.find(KEY, "u", name)).map(|quota| quota.value);
    assert_eq!((found("a"), found("b"), found("c")), (Some(5.0), Some(6.0), None));
    let away = [alteration("a", None), alteration("b", None)];
    let (_, revision) = alter(&*store, id, &away).await.expect("altered");
    quotas.catch_up(revision.expect("a change")).await.expect("the store is here");
    assert_eq!(quotas.of(id), None);
    assert!(store.get(&keys::client_quota(id)).await.expect("readable").is_none());
}

#[tokio::test]
async fn the_same_again_is_no_change() {
    let (store, id) = store_and_cluster().await;
    alter(&*store, id, &[alteration("a", Some(5.0))]).await.expect("altered");
    let again = [alteration("a", Some(5.0)), alteration("b", None)];
    assert_eq!(alter(&*store, id, &again).await.expect("altered").1, None);
}

#[tokio::test]
async fn a_trial_changes_nothing() {
    let (store, id) = store_and_cluster().await;
    let altered = try_alter(&*store, id, &[alteration("a", Some(5.0))]).await.expect("readable");
    assert_eq!(altered, [Ok(())]);
    assert!(store.get(&keys::client_quota(id)).await.expect("readable").is_none());
}

#[tokio::test]
async fn a_full_cluster_refuses_new_entities_and_goes_on_with_the_old_ones() {
    let (store, id) = store_and_cluster().await;
    // Every name as long as it may be, of a character that takes most room in JSON, with every kind of quota.
    let long = |number: usize| format!("{number:0>8}{}", "\\".repeat(NAME_BYTES_MAX - 8));
    let fill = |number| ClientQuotaAlteration {
        entity: ClientQuotaEntity {
            user: Some(EntityName::Named(long(number))),
            client_id: Some(EntityName::Named(long(number))),
        },
        changes: ClientQuotaKey::ALL
            .iter()
            .map(|key| (*key, Some(-f64::MIN_POSITIVE * 1.234_567_8)))
            .collect(),
    };
    let full: Vec<_> = (0..ENTITIES_MAX).map(fill).collect();
    let (altered, _) = alter(&*store, id, &full).await.expect("it fits");
    assert!(altered.iter().all(Result::is_ok));
    let more = [alteration("a", Some(5.0)), fill(3), alteration("b", None)];
    let (altered, _) = alter(&*store, id, &more).await.expect("readable");
    assert_eq!(altered, [Err(TooManyEntities), Ok(()), Ok(())]);
    let away = ClientQuotaKey::ALL.iter().map(|key| (*key, None)).collect();
    let swap = [ClientQuotaAlteration { changes: away, ..fill(3) }, alteration("a", Some(5.0))];
    assert_eq!(alter(&*store, id, &swap).await.expect("altered").0, [Ok(()), Ok(())]);
}

#[tokio::test]
async fn a_removed_cluster_leaves_no_quotas_and_gets_none() {
    let (store, id) = store_and_cluster().await;
    let one = [alteration("a", Some(5.0))];
    alter(&*store, id, &one).await.expect("altered");
    clusters::delete(&*store, id, at(5)).await.expect("deleted");
    assert!(store.get(&keys::client_quota(id)).await.expect("readable").is_none());
    let refused = alter(&*store, id, &one).await;
    assert!(matches!(refused, Err(AlterClientQuotasError::ClusterUnknown(unknown)) if unknown == id));
}

#[test]
fn the_stored_form_says_who_and_what() {
    let mut record = ClientQuotaRecord::default();
    let user = ClientQuotaEntity { user: Some(EntityName::Default), client_id: None };
    let percent = ClientQuotaKey::RequestPercentage;
    let of_user = ClientQuotaAlteration { entity: user, changes: [(percent, Some(12.5))].into() };
    apply(&mut record, &[alteration("a", Some(1024.0)), of_user]);
    let expected = concat!(
        r#"{"v":1,"entities":[{"client_id":{"named":"a"},"values":{"producer_byte_rate":1024.0}},"#,
        r#"{"user":"default","values":{"request_percentage":12.5}}]}"#
    );
    assert_eq!(String::from_utf8_lossy(&record.encode()), expected);
    assert_eq!(ClientQuotaRecord::decode(expected.as_bytes()).expect("our own bytes"), record);
}
