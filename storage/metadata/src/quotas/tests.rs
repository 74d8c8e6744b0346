use super::*;
use crate::clusters;
use crate::embedded::EmbeddedStore;
use crate::testing::{at, cluster};

fn changes(set: &[(QuotaKey, Option<u64>)]) -> BTreeMap<QuotaKey, Option<u64>> {
    set.iter().copied().collect()
}

#[tokio::test]
async fn what_is_set_is_seen_and_what_is_put_back_is_the_default_again() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let id = clusters::create(&*store, cluster(1, "orders"), None).await.expect("created").0.id;
    let quotas = Quotas::start(Arc::clone(&store)).await.expect("readable");
    assert_eq!(quotas.limits(id), Default::default());
    let both = changes(&[(QuotaKey::GroupsMax, Some(3)), (QuotaKey::RequestsPerSecond, Some(9))]);
    let (_, revision) = set(&*store, id, &both).await.expect("set");
    quotas.catch_up(revision).await.expect("the store is here");
    let (limits, since) = quotas.limits(id);
    assert_eq!((limits.get(QuotaKey::GroupsMax), limits.get(QuotaKey::RequestsPerSecond)), (3, 9));
    assert_eq!(since, revision);
    let back = changes(&[(QuotaKey::GroupsMax, None)]);
    let (record, revision) = set(&*store, id, &back).await.expect("set");
    assert_eq!(record.set, BTreeMap::from([("requests_per_second".to_owned(), 9)]));
    quotas.catch_up(revision).await.expect("the store is here");
    assert_eq!(quotas.limits(id).0.get(QuotaKey::GroupsMax), QuotaKey::GroupsMax.default_value());
    assert_eq!(load(&*store, id).await.expect("readable"), record);
}

#[tokio::test]
async fn a_removed_cluster_leaves_no_quotas_and_gets_none() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let id = clusters::create(&*store, cluster(1, "orders"), None).await.expect("created").0.id;
    let one = changes(&[(QuotaKey::GroupsMax, Some(3))]);
    set(&*store, id, &one).await.expect("set");
    clusters::delete(&*store, id, at(5)).await.expect("deleted");
    assert_eq!(load(&*store, id).await.expect("readable"), QuotaRecord::default());
    let refused = set(&*store, id, &one).await;
    assert!(matches!(refused, Err(SetQuotasError::ClusterUnknown(unknown)) if unknown == id));
}
