//! The contract of the user operations, on the embedded store.

use super::*;
use crate::embedded::EmbeddedStore;
use crate::identities::Dependent;
use crate::testing::{access_key, account, user};

async fn store_with_user() -> EmbeddedStore {
    let store = EmbeddedStore::in_memory();
    create(&store, &user("ann")).await.expect("created");
    store
}

#[tokio::test]
async fn a_user_name_is_taken_once() {
    let store = store_with_user().await;
    assert!(matches!(create(&store, &user("ann")).await, Err(IdentityError::Exists)));
    create(&store, &user("bob")).await.expect("another name");
    let names: Vec<_> =
        list(&store, account()).await.expect("readable").into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!(list(&store, AccountId::checked(7).expect("an account")).await.expect("readable"), []);
}

#[tokio::test]
async fn policies_are_put_replaced_and_deleted() {
    let store = store_with_user().await;
    put_policy(&store, account(), "ann", "p", "{}").await.expect("put");
    put_policy(&store, account(), "ann", "p", "{ }").await.expect("replaced");
    let ann = load(&store, account(), "ann").await.expect("readable").expect("there");
    assert_eq!(ann.policies["p"], "{ }");
    delete_policy(&store, account(), "ann", "p").await.expect("deleted");
    let again = delete_policy(&store, account(), "ann", "p").await;
    assert!(matches!(again, Err(IdentityError::UnknownPolicy)));
    let nobody = put_policy(&store, account(), "eve", "p", "{}").await;
    assert!(matches!(nobody, Err(IdentityError::Unknown)));
}

#[tokio::test]
async fn a_user_has_two_keys_at_most_and_the_list_follows() {
    let store = store_with_user().await;
    create_key(&store, &access_key("AKIA1", "ann")).await.expect("created");
    create_key(&store, &access_key("AKIA2", "ann")).await.expect("created");
    let third = create_key(&store, &access_key("AKIA3", "ann")).await;
    assert!(matches!(third, Err(IdentityError::Full(Quota::AccessKeys))));
    assert_eq!(load_key(&store, "AKIA3").await.expect("readable"), None);
    delete_key(&store, account(), "AKIA1").await.expect("deleted");
    let ann = load(&store, account(), "ann").await.expect("readable").expect("there");
    assert_eq!(keys_of(&store, &ann).await.expect("readable"), [access_key("AKIA2", "ann")]);
    assert!(matches!(delete_key(&store, account(), "AKIA1").await, Err(IdentityError::UnknownKey)));
}

#[tokio::test]
async fn a_key_id_is_taken_once_and_needs_its_user() {
    let store = store_with_user().await;
    create(&store, &user("bob")).await.expect("created");
    create_key(&store, &access_key("AKIA1", "ann")).await.expect("created");
    assert!(matches!(create_key(&store, &access_key("AKIA1", "bob")).await, Err(IdentityError::Exists)));
    assert!(matches!(create_key(&store, &access_key("AKIA2", "eve")).await, Err(IdentityError::Unknown)));
}

#[tokio::test]
async fn a_key_is_deactivated_and_activated_again() {
    let store = store_with_user().await;
    create_key(&store, &access_key("AKIA1", "ann")).await.expect("created");
    let first =
        set_key_status(&store, account(), "AKIA1", AccessKeyStatus::Inactive).await.expect("deactivated");
    let again =
        set_key_status(&store, account(), "AKIA1", AccessKeyStatus::Inactive).await.expect("no change");
    assert_eq!(first, again);
    let key = load_key(&store, "AKIA1").await.expect("readable").expect("there");
    assert_eq!(key.status, AccessKeyStatus::Inactive);
}

#[tokio::test]
async fn another_accounts_key_is_unknown() {
    let store = store_with_user().await;
    create_key(&store, &access_key("AKIA1", "ann")).await.expect("created");
    let other = AccountId::checked(7).expect("an account");
    let changed = set_key_status(&store, other, "AKIA1", AccessKeyStatus::Inactive).await;
    assert!(matches!(changed, Err(IdentityError::UnknownKey)));
    assert!(matches!(delete_key(&store, other, "AKIA1").await, Err(IdentityError::UnknownKey)));
}

#[tokio::test]
async fn a_user_goes_only_without_keys_and_policies() {
    let store = store_with_user().await;
    create_key(&store, &access_key("AKIA1", "ann")).await.expect("created");
    put_policy(&store, account(), "ann", "p", "{}").await.expect("put");
    let refused = delete(&store, account(), "ann").await;
    assert!(matches!(refused, Err(IdentityError::InUse(Dependent::AccessKeys))));
    delete_key(&store, account(), "AKIA1").await.expect("deleted");
    let refused = delete(&store, account(), "ann").await;
    assert!(matches!(refused, Err(IdentityError::InUse(Dependent::Policies))));
    delete_policy(&store, account(), "ann", "p").await.expect("deleted");
    delete(&store, account(), "ann").await.expect("deleted");
    assert!(matches!(delete(&store, account(), "ann").await, Err(IdentityError::Unknown)));
}
