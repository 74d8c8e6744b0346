//! What users, groups, roles and managed policies have in common: created under a name that is unique in the account,
//! found, changed and deleted. Users, groups and roles also carry policies.
//!
//! Invariant: an identity names exactly the managed policies that count it as an attachment; both change in one
//! transaction ([`crate::managed_policies`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{AccountId, Revision};
use crate::keys;
use crate::record::{GroupRecord, ManagedPolicyRecord, Record, RoleRecord, UserRecord};
use crate::store::{Compare, MetadataError, MetadataStore, Transaction, Write};

#[cfg(test)]
mod tests;

/// Inline policies of one user, group or role at most: as many as AWS lets one attach by default.
pub const POLICIES_MAX: usize = 10;
/// Managed policies attached to one user, group or role at most: AWS's default.
pub const ATTACHED_MAX: usize = 10;
/// Groups one user is in at most, as in AWS.
pub const GROUPS_MAX: usize = 10;
/// Access keys of one user at most, as in AWS: one in use and one being rotated in.
pub const ACCESS_KEYS_MAX: usize = 2;
/// Versions of one managed policy at most, as in AWS.
pub const VERSIONS_MAX: usize = 5;

/// Why a user, group, role, policy or key was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// There is no such user, group, role or managed policy.
    #[error("identity does not exist")]
    Unknown,
    /// There is no such inline policy, version or managed policy, or it is not attached.
    #[error("policy does not exist")]
    UnknownPolicy,
    /// There is no such access key (or it is another user's).
    #[error("access key does not exist")]
    UnknownKey,
    /// The user is not there, or not in the group.
    #[error("user is not a member")]
    UnknownMember,
    /// The name or id is taken.
    #[error("name taken")]
    Exists,
    /// Something still belongs to it; delete or detach that first.
    #[error("identity still has {0:?}")]
    InUse(Dependent),
    /// A quota stands against it.
    #[error("quota {0:?} is used up")]
    Full(Quota),
    /// The version in force cannot be deleted.
    #[error("version is in force")]
    VersionInForce,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// What keeps something from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependent {
    /// A user's access keys.
    AccessKeys,
    /// Inline policies.
    Policies,
    /// Managed policies attached to it.
    AttachedPolicies,
    /// Groups that the user is in.
    Groups,
    /// Users in the group.
    Members,
    /// Versions of the policy that are not in force.
    Versions,
    /// Users, groups and roles that the policy is attached to.
    Attachments,
}

/// What there cannot be more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// [`POLICIES_MAX`].
    Policies,
    /// [`ATTACHED_MAX`].
    AttachedPolicies,
    /// [`GROUPS_MAX`].
    Groups,
    /// [`ACCESS_KEYS_MAX`].
    AccessKeys,
    /// [`VERSIONS_MAX`].
    Versions,
}

/// A record with a name that is unique in its account.
pub trait Named: Record + Clone + PartialEq + Send + Sync {
    /// Where the record of this name stands.
    fn key(account: AccountId, name: &str) -> String;
    /// Where all of the account's stand.
    fn prefix(account: AccountId) -> String;
    /// The owner.
    fn account(&self) -> AccountId;
    /// The name.
    fn name(&self) -> &str;
    /// What must go before it can be deleted.
    fn dependent(&self) -> Option<Dependent>;
}

/// A record that carries policies.
pub trait Identity: Named {
    /// Its inline policies by name.
    fn policies(&self) -> &BTreeMap<String, String>;
    /// The same, to be changed.
    fn policies_mut(&mut self) -> &mut BTreeMap<String, String>;
    /// The names of the managed policies attached to it.
    fn attached(&self) -> &BTreeSet<String>;
    /// The same, to be changed.
    fn attached_mut(&mut self) -> &mut BTreeSet<String>;
}

macro_rules! named {
    ($($record:ident: $key:ident, $prefix:ident, $dependents:expr;)+) => {$(
        impl Named for $record {
            fn key(account: AccountId, name: &str) -> String {
                keys::$key(account, name)
            }
            fn prefix(account: AccountId) -> String {
                keys::$prefix(account)
            }
            fn account(&self) -> AccountId {
                self.account
            }
            fn name(&self) -> &str {
                &self.name
            }
            fn dependent(&self) -> Option<Dependent> {
                let dependents: fn(&Self) -> Vec<(bool, Dependent)> = $dependents;
                dependents(self).into_iter().find_map(|(there, dependent)| there.then_some(dependent))
            }
        }
    )+};
}

named! {
    UserRecord: user, users, |user| vec![
        (!user.access_keys.is_empty(), Dependent::AccessKeys),
        (!user.groups.is_empty(), Dependent::Groups),
        (!user.policies.is_empty(), Dependent::Policies),
        (!user.attached.is_empty(), Dependent::AttachedPolicies),
    ];
    GroupRecord: group, groups, |group| vec![
        (!group.members.is_empty(), Dependent::Members),
        (!group.policies.is_empty(), Dependent::Policies),
        (!group.attached.is_empty(), Dependent::AttachedPolicies),
    ];
    RoleRecord: role, roles, |role| vec![
        (!role.policies.is_empty(), Dependent::Policies),
        (!role.attached.is_empty(), Dependent::AttachedPolicies),
    ];
    ManagedPolicyRecord: managed_policy, managed_policies, |policy| vec![
        (policy.attachments > 0, Dependent::Attachments),
        (policy.versions.len() > 1, Dependent::Versions),
    ];
}

macro_rules! identities {
    ($($record:ident),+) => {$(
        impl Identity for $record {
            fn policies(&self) -> &BTreeMap<String, String> {
                &self.policies
            }
            fn policies_mut(&mut self) -> &mut BTreeMap<String, String> {
                &mut self.policies
            }
            fn attached(&self) -> &BTreeSet<String> {
                &self.attached
            }
            fn attached_mut(&mut self) -> &mut BTreeSet<String> {
                &mut self.attached
            }
        }
    )+};
}
identities!(UserRecord, GroupRecord, RoleRecord);

/// Creates the record as given.
pub async fn create<R: Named>(store: &dyn MetadataStore, record: &R) -> Result<Revision, IdentityError> {
    let key = R::key(record.account(), record.name());
    let put = Write::Put(key.clone(), record.encode());
    let transaction = Transaction::new().when(Compare::Absent(key)).then(put);
    attempt::commit(store, transaction).await?.ok_or(IdentityError::Exists)
}

/// Deletes the record of this name, once nothing belongs to it any more.
pub async fn delete<R: Named>(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Revision, IdentityError> {
    let key = R::key(account, name);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record, modified } = found::<R>(store, &key).await?.ok_or(IdentityError::Unknown)?;
        if let Some(dependent) = record.dependent() {
            return Err(IdentityError::InUse(dependent));
        }
        let unchanged = Compare::Unchanged(key.clone(), modified);
        let transaction = Transaction::new().when(unchanged).then(Write::Delete(key.clone()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key).into())
}

/// The record of this name.
pub async fn load<R: Named>(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Option<R>, MetadataError> {
    Ok(found::<R>(store, &R::key(account, name)).await?.map(|found| found.record))
}

/// All records of an account, by name.
pub async fn list<R: Named>(store: &dyn MetadataStore, account: AccountId) -> Result<Vec<R>, MetadataError> {
    store.list(&R::prefix(account)).await?.iter().map(attempt::decode).collect()
}

/// Changes a record in place; `change` may run several times and must leave name and account alone, and whatever another
/// record repeats. A change to the same values is no change.
pub async fn change<R: Named>(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    mut change: impl FnMut(&mut R) -> Result<(), IdentityError> + Send,
) -> Result<(R, Revision), IdentityError> {
    let key = R::key(account, name);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: before, modified } =
            found::<R>(store, &key).await?.ok_or(IdentityError::Unknown)?;
        let mut record = before.clone();
        change(&mut record)?;
        if record == before {
            return Ok((record, modified));
        }
        if let Some(revision) = attempt::commit(store, put(&key, modified, &record)).await? {
            return Ok((record, revision));
        }
    }
    Err(attempt::contended(key).into())
}

/// Puts an inline policy, replacing one of the same name. The document is the caller's to check.
pub async fn put_policy<I: Identity>(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    policy: &str,
    document: &str,
) -> Result<Revision, IdentityError> {
    let put = change::<I>(store, account, name, |identity| {
        let policies = identity.policies_mut();
        if !policies.contains_key(policy) && policies.len() >= POLICIES_MAX {
            return Err(IdentityError::Full(Quota::Policies));
        }
        policies.insert(policy.to_owned(), document.to_owned());
        Ok(())
    });
    Ok(put.await?.1)
}

/// Deletes an inline policy.
pub async fn delete_policy<I: Identity>(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    policy: &str,
) -> Result<Revision, IdentityError> {
    let deleted = change::<I>(store, account, name, |identity| {
        identity.policies_mut().remove(policy).map(drop).ok_or(IdentityError::UnknownPolicy)
    });
    Ok(deleted.await?.1)
}

/// A transaction that replaces a record nobody else has changed meanwhile.
pub(crate) fn put<R: Record>(key: &str, modified: Revision, record: &R) -> Transaction {
    Transaction::new()
        .when(Compare::Unchanged(key.to_owned(), modified))
        .then(Write::Put(key.to_owned(), record.encode()))
}

pub(crate) async fn found<R: Record>(
    store: &dyn MetadataStore,
    key: &str,
) -> Result<Option<Found<R>>, MetadataError> {
    let entry = store.get(key).await?;
    attempt::found(entry.as_slice())
}
