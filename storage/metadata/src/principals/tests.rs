//! Keys, users and their changes reach the cache.

use super::*;
use crate::embedded::EmbeddedStore;
use crate::record::AccessKeyStatus;
use crate::testing::{access_key, account, user};
use crate::users;

#[tokio::test]
async fn a_key_works_as_soon_as_its_creation_was_answered() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    users::create(&*store, &user("ann")).await.expect("created");
    users::create_key(&*store, &access_key("AKIA1", "ann")).await.expect("created");
    let found = principals.find_key("AKIA1").await.expect("the store answers").expect("the key is there");
    assert_eq!(found.owner.user.name, "ann");
    assert!(principals.find_key("AKIA2").await.expect("the store answers").is_none());
}

#[tokio::test]
async fn what_stood_before_the_start_is_there() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    users::create(&*store, &user("ann")).await.expect("created");
    users::create_key(&*store, &access_key("AKIA1", "ann")).await.expect("created");
    let principals = Principals::start(store).await.expect("started");
    assert!(principals.key("AKIA1").is_some());
    assert!(principals.user(account(), "ann").is_some());
    assert!(principals.user(account(), "bob").is_none());
}

#[tokio::test]
async fn a_changed_policy_and_a_deactivated_key_are_announced() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    users::create(&*store, &user("ann")).await.expect("created");
    users::create_key(&*store, &access_key("AKIA1", "ann")).await.expect("created");
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    let before = principals.key("AKIA1").expect("cached").owner.policy_version;
    let mut changes = principals.changes();
    users::put_policy(&*store, account(), "ann", "p", "{}").await.expect("put");
    changes.changed().await.expect("announced");
    let after = principals.key("AKIA1").expect("cached").owner;
    assert!(after.policy_version > before);
    assert_eq!(after.user.policies.len(), 1);
    users::set_key_status(&*store, account(), "AKIA1", AccessKeyStatus::Inactive).await.expect("deactivated");
    changes.changed().await.expect("announced");
    assert_eq!(principals.key("AKIA1").expect("cached").key.status, AccessKeyStatus::Inactive);
}

#[tokio::test]
async fn a_deleted_key_is_gone_after_catching_up() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    users::create(&*store, &user("ann")).await.expect("created");
    users::create_key(&*store, &access_key("AKIA1", "ann")).await.expect("created");
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    let revision = users::delete_key(&*store, account(), "AKIA1").await.expect("deleted");
    principals.catch_up(revision).await.expect("the store answers");
    assert!(principals.key("AKIA1").is_none());
}
