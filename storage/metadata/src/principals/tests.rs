//! Keys, users and their changes reach the cache.

use super::*;
use crate::embedded::EmbeddedStore;
use crate::managed_policies::InForce;
use crate::record::AccessKeyStatus;
use crate::testing::{access_key, account, at, group, managed_policy, role, user};
use crate::{groups, identities, managed_policies, users};

#[tokio::test]
async fn a_key_works_as_soon_as_its_creation_was_answered() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    users::create(&*store, &user("ann")).await.expect("created");
    users::create_key(&*store, &access_key("AKIA1", "ann")).await.expect("created");
    let found = principals.find_key("AKIA1").await.expect("the store answers").expect("the key is there");
    assert_eq!(found.owner.name, "ann");
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
    let before = principals.version();
    let mut changes = principals.changes();
    users::put_policy(&*store, account(), "ann", "p", "{}").await.expect("put");
    changes.changed().await.expect("announced");
    let after = principals.key("AKIA1").expect("cached").owner;
    assert!(principals.version() > before);
    assert_eq!(after.policies.len(), 1);
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

#[tokio::test]
async fn a_users_grants_are_its_own_and_its_groups_policies() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    users::create(&*store, &user("ann")).await.expect("created");
    identities::create(&*store, &group("team")).await.expect("created");
    identities::create(&*store, &managed_policy("shared")).await.expect("created");
    users::put_policy(&*store, account(), "ann", "own", "1").await.expect("put");
    identities::put_policy::<GroupRecord>(&*store, account(), "team", "own", "2").await.expect("put");
    managed_policies::attach::<GroupRecord>(&*store, account(), "team", "shared").await.expect("attached");
    let revision = groups::add(&*store, account(), "team", "ann").await.expect("added");
    principals.catch_up(revision).await.expect("the store answers");
    let mut actor =
        Actor { account: account(), kind: ActorKind::User, name: "ann".into(), id: "AIDAann".into() };
    let granted = principals.principal(&actor).expect("all is known").grants;
    let granted: Vec<_> =
        granted.policies.iter().map(|policy| (&*policy.name, &*policy.document, policy.source)).collect();
    let expected = [
        ("own", "1", PolicySource::User),
        ("team/own", "2", PolicySource::Group),
        ("shared", "{}", PolicySource::Managed),
    ];
    assert_eq!(granted, expected);
    actor.id = "AIDAearlier".into();
    assert!(principals.principal(&actor).is_none(), "somebody else had the name before");
}

#[tokio::test]
async fn a_roles_grants_follow_the_version_in_force() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    identities::create(&*store, &role("app")).await.expect("created");
    identities::create(&*store, &managed_policy("shared")).await.expect("created");
    managed_policies::attach::<RoleRecord>(&*store, account(), "app", "shared").await.expect("attached");
    let made = managed_policies::create_version(&*store, account(), "shared", "new", at(3), InForce::AtOnce);
    let (_, revision) = made.await.expect("created");
    principals.catch_up(revision).await.expect("the store answers");
    let actor = Actor { account: account(), kind: ActorKind::Role, name: "app".into(), id: "AROAapp".into() };
    assert!(principals.exists(&actor));
    let granted = principals.principal(&actor).expect("all is known").grants;
    let (name, document) = ("shared".to_owned(), "new".to_owned());
    assert_eq!(granted.policies, [GrantedPolicy { name, document, source: PolicySource::Managed }]);
    assert_eq!(granted.tags["team"], "a");
}

#[tokio::test]
async fn nothing_is_granted_while_a_policy_is_not_known() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let mut ann = user("ann");
    ann.attached.insert("unknown".into());
    users::create(&*store, &ann).await.expect("created");
    let principals = Principals::start(store).await.expect("started");
    let actor = Actor { account: account(), kind: ActorKind::User, name: "ann".into(), id: "AIDAann".into() };
    assert!(principals.exists(&actor));
    assert!(principals.principal(&actor).is_none());
}

#[tokio::test]
async fn a_version_stays_until_the_actors_own_policies_are_others() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    for name in ["ann", "bob"] {
        users::create(&*store, &user(name)).await.expect("created");
    }
    let principals = Principals::start(Arc::clone(&store)).await.expect("started");
    let actor = |name: &str| {
        let (name, id) = (name.to_owned(), format!("AIDA{name}"));
        Actor { account: account(), kind: ActorKind::User, name, id }
    };
    let version = |name: &str| principals.principal(&actor(name)).expect("there").version;
    let (ann, bob) = (version("ann"), version("bob"));
    assert_ne!(ann, bob);
    let revision = users::put_policy(&*store, account(), "bob", "p", "{}").await.expect("put");
    principals.catch_up(revision).await.expect("the store answers");
    assert_eq!(version("ann"), ann);
    assert_ne!(version("bob"), bob);
    let revision = users::delete_policy(&*store, account(), "bob", "p").await.expect("deleted");
    principals.catch_up(revision).await.expect("the store answers");
    assert_ne!(version("bob"), bob, "a number is never used twice");
}
