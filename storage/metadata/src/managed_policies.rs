//! Managed policies: their versions, and to whom they are attached.

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{AccountId, Revision, TimestampMs};
use crate::identities::{ATTACHED_MAX, Identity, IdentityError, Quota, VERSIONS_MAX, change, put};
use crate::keys;
use crate::record::{ManagedPolicyRecord, PolicyVersionRecord, Record};
use crate::store::{Compare, MetadataStore, Select, Write};

/// Whether a new version comes into force at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InForce {
    /// It does.
    AtOnce,
    /// Not before it is said so.
    Later,
}

/// Adds a version. The document is the caller's to check. Answers the record, in which the new version is the last.
pub async fn create_version(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    document: &str,
    now: TimestampMs,
    in_force: InForce,
) -> Result<(ManagedPolicyRecord, Revision), IdentityError> {
    change::<ManagedPolicyRecord>(store, account, name, |policy| {
        if policy.versions.len() >= VERSIONS_MAX {
            return Err(IdentityError::Full(Quota::Versions));
        }
        let number = policy.next_version;
        policy.versions.push(PolicyVersionRecord { number, document: document.to_owned(), created: now });
        if in_force == InForce::AtOnce {
            policy.default_version = number;
        }
        (policy.next_version, policy.updated) = (number + 1, now);
        Ok(())
    })
    .await
}

/// Deletes a version that is not in force.
pub async fn delete_version(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    number: u32,
    now: TimestampMs,
) -> Result<Revision, IdentityError> {
    let changed = change::<ManagedPolicyRecord>(store, account, name, |policy| {
        if policy.default_version == number {
            return Err(IdentityError::VersionInForce);
        }
        policy.version(number).ok_or(IdentityError::UnknownPolicy)?;
        policy.versions.retain(|version| version.number != number);
        policy.updated = now;
        Ok(())
    });
    Ok(changed.await?.1)
}

/// Puts a version in force.
pub async fn set_default_version(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    number: u32,
    now: TimestampMs,
) -> Result<Revision, IdentityError> {
    let changed = change::<ManagedPolicyRecord>(store, account, name, |policy| {
        policy.version(number).ok_or(IdentityError::UnknownPolicy)?;
        if policy.default_version != number {
            (policy.default_version, policy.updated) = (number, now);
        }
        Ok(())
    });
    Ok(changed.await?.1)
}

/// Attaches the policy to a user, group or role; no error when it is attached already.
pub async fn attach<I: Identity>(
    store: &dyn MetadataStore,
    account: AccountId,
    identity: &str,
    policy: &str,
) -> Result<Revision, IdentityError> {
    change_attachment::<I>(store, account, identity, policy, |identity, policy| {
        let attached = identity.attached_mut();
        if !attached.contains(&policy.name) && attached.len() >= ATTACHED_MAX {
            return Err(IdentityError::Full(Quota::AttachedPolicies));
        }
        if attached.insert(policy.name.clone()) {
            policy.attachments += 1;
        }
        Ok(())
    })
    .await
}

/// Detaches the policy from a user, group or role.
pub async fn detach<I: Identity>(
    store: &dyn MetadataStore,
    account: AccountId,
    identity: &str,
    policy: &str,
) -> Result<Revision, IdentityError> {
    change_attachment::<I>(store, account, identity, policy, |identity, policy| {
        if !identity.attached_mut().remove(&policy.name) {
            return Err(IdentityError::UnknownPolicy);
        }
        policy.attachments = policy.attachments.saturating_sub(1);
        Ok(())
    })
    .await
}

async fn change_attachment<I: Identity>(
    store: &dyn MetadataStore,
    account: AccountId,
    identity: &str,
    policy: &str,
    mut change: impl FnMut(&mut I, &mut ManagedPolicyRecord) -> Result<(), IdentityError> + Send,
) -> Result<Revision, IdentityError> {
    let (identity_key, policy_key) = (I::key(account, identity), keys::managed_policy(account, policy));
    for _ in 0..ATTEMPTS_MAX {
        let selects = [Select::Key(identity_key.clone()), Select::Key(policy_key.clone())];
        let snapshot = store.read(&selects).await?;
        let identity = attempt::found::<I>(&snapshot.results[0])?.ok_or(IdentityError::Unknown)?;
        let policy = attempt::found::<ManagedPolicyRecord>(&snapshot.results[1])?
            .ok_or(IdentityError::UnknownPolicy)?;
        let (
            Found { record: mut identity, modified },
            Found { record: mut policy, modified: policy_modified },
        ) = (identity, policy);
        change(&mut identity, &mut policy)?;
        let transaction = put(&identity_key, modified, &identity)
            .when(Compare::Unchanged(policy_key.clone(), policy_modified))
            .then(Write::Put(policy_key.clone(), policy.encode()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(identity_key).into())
}
