//! The contract of groups, roles and managed policies, on the embedded store.

use super::*;
use crate::embedded::EmbeddedStore;
use crate::managed_policies::{InForce, attach, create_version, delete_version, detach, set_default_version};
use crate::testing::{account, at, group, managed_policy, role, user};
use crate::{groups, users};

async fn store() -> EmbeddedStore {
    let store = EmbeddedStore::in_memory();
    users::create(&store, &user("ann")).await.expect("created");
    create(&store, &group("team")).await.expect("created");
    create(&store, &role("app")).await.expect("created");
    create(&store, &managed_policy("shared")).await.expect("created");
    store
}

async fn attachments(store: &EmbeddedStore) -> u32 {
    let policy = load::<ManagedPolicyRecord>(store, account(), "shared").await.expect("readable");
    policy.expect("there").attachments
}

#[tokio::test]
async fn a_policy_counts_to_whom_it_is_attached_and_stays_until_nobody_has_it() {
    let store = store().await;
    attach::<UserRecord>(&store, account(), "ann", "shared").await.expect("attached");
    attach::<UserRecord>(&store, account(), "ann", "shared").await.expect("once more is no error");
    attach::<RoleRecord>(&store, account(), "app", "shared").await.expect("attached");
    assert_eq!(attachments(&store).await, 2);
    let refused = delete::<ManagedPolicyRecord>(&store, account(), "shared").await;
    assert!(matches!(refused, Err(IdentityError::InUse(Dependent::Attachments))));
    let refused = delete::<RoleRecord>(&store, account(), "app").await;
    assert!(matches!(refused, Err(IdentityError::InUse(Dependent::AttachedPolicies))));
    detach::<RoleRecord>(&store, account(), "app", "shared").await.expect("detached");
    let again = detach::<RoleRecord>(&store, account(), "app", "shared").await;
    assert!(matches!(again, Err(IdentityError::UnknownPolicy)));
    detach::<UserRecord>(&store, account(), "ann", "shared").await.expect("detached");
    assert_eq!(attachments(&store).await, 0);
    delete::<ManagedPolicyRecord>(&store, account(), "shared").await.expect("deleted");
    delete::<RoleRecord>(&store, account(), "app").await.expect("deleted");
}

#[tokio::test]
async fn a_group_and_its_members_name_each_other() {
    let store = store().await;
    groups::add(&store, account(), "team", "ann").await.expect("added");
    groups::add(&store, account(), "team", "ann").await.expect("once more is no error");
    let refused = delete::<GroupRecord>(&store, account(), "team").await;
    assert!(matches!(refused, Err(IdentityError::InUse(Dependent::Members))));
    let refused = users::delete(&store, account(), "ann").await;
    assert!(matches!(refused, Err(IdentityError::InUse(Dependent::Groups))));
    groups::remove(&store, account(), "team", "ann").await.expect("removed");
    let again = groups::remove(&store, account(), "team", "ann").await;
    assert!(matches!(again, Err(IdentityError::UnknownMember)));
    assert!(matches!(groups::add(&store, account(), "team", "eve").await, Err(IdentityError::UnknownMember)));
    assert!(matches!(groups::add(&store, account(), "none", "ann").await, Err(IdentityError::Unknown)));
    delete::<GroupRecord>(&store, account(), "team").await.expect("deleted");
    users::delete(&store, account(), "ann").await.expect("deleted");
}

#[tokio::test]
async fn a_policy_has_five_versions_at_most_and_the_one_in_force_stays() {
    let store = store().await;
    for number in 2..=5 {
        let made = create_version(&store, account(), "shared", "new", at(3), InForce::Later).await;
        assert_eq!(made.expect("created").0.versions.last().expect("the new one").number, number);
    }
    let sixth = create_version(&store, account(), "shared", "new", at(3), InForce::Later).await;
    assert!(matches!(sixth, Err(IdentityError::Full(Quota::Versions))));
    let in_force = delete_version(&store, account(), "shared", 1, at(4)).await;
    assert!(matches!(in_force, Err(IdentityError::VersionInForce)));
    set_default_version(&store, account(), "shared", 3, at(4)).await.expect("put in force");
    delete_version(&store, account(), "shared", 1, at(5)).await.expect("deleted");
    let unknown = set_default_version(&store, account(), "shared", 1, at(6)).await;
    assert!(matches!(unknown, Err(IdentityError::UnknownPolicy)));
    let made = create_version(&store, account(), "shared", "new", at(3), InForce::AtOnce).await;
    assert_eq!(made.expect("created").0.default_version, 6, "a number is never used twice");
}

#[tokio::test]
async fn quotas_hold_for_what_there_is_when_the_change_is_made() {
    let store = store().await;
    for number in 0..POLICIES_MAX {
        let name = format!("p{number}");
        put_policy::<RoleRecord>(&store, account(), "app", &name, "{}").await.expect("put");
    }
    put_policy::<RoleRecord>(&store, account(), "app", "p0", "{ }").await.expect("replaced");
    let refused = put_policy::<RoleRecord>(&store, account(), "app", "more", "{}").await;
    assert!(matches!(refused, Err(IdentityError::Full(Quota::Policies))));
}
