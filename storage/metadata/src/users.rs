//! Users and their access keys.
//!
//! Invariant: a user's record names exactly the keys that have a record; both change in one transaction.

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{AccountId, Revision};
use crate::identities::{self, ACCESS_KEYS_MAX, IdentityError, Quota, found, put};
use crate::keys;
use crate::record::{AccessKeyRecord, AccessKeyStatus, Record, UserRecord};
use crate::store::{Compare, MetadataError, MetadataStore, Select, Transaction, Write};

#[cfg(test)]
mod tests;

/// Creates the user as given, without keys.
pub async fn create(store: &dyn MetadataStore, user: &UserRecord) -> Result<Revision, IdentityError> {
    debug_assert!(user.access_keys.is_empty(), "keys are added by create_key");
    identities::create(store, user).await
}

/// Deletes a user that has neither keys nor policies and is in no group.
pub async fn delete(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Revision, IdentityError> {
    identities::delete::<UserRecord>(store, account, name).await
}

/// One user.
pub async fn load(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Option<UserRecord>, MetadataError> {
    identities::load(store, account, name).await
}

/// All users of an account, by name.
pub async fn list(store: &dyn MetadataStore, account: AccountId) -> Result<Vec<UserRecord>, MetadataError> {
    identities::list(store, account).await
}

/// Puts an inline policy, replacing one of the same name. The document is the caller's to check.
pub async fn put_policy(
    store: &dyn MetadataStore,
    account: AccountId,
    user: &str,
    policy: &str,
    document: &str,
) -> Result<Revision, IdentityError> {
    identities::put_policy::<UserRecord>(store, account, user, policy, document).await
}

/// Deletes an inline policy.
pub async fn delete_policy(
    store: &dyn MetadataStore,
    account: AccountId,
    user: &str,
    policy: &str,
) -> Result<Revision, IdentityError> {
    identities::delete_policy::<UserRecord>(store, account, user, policy).await
}

/// Adds an access key to its user.
pub async fn create_key(store: &dyn MetadataStore, key: &AccessKeyRecord) -> Result<Revision, IdentityError> {
    let user_key = keys::user(key.account, &key.user);
    let key_key = keys::access_key(&key.access_key_id);
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = store.read(&[Select::Key(user_key.clone()), Select::Key(key_key.clone())]).await?;
        let user = attempt::found::<UserRecord>(&snapshot.results[0])?;
        let Found { record: mut user, modified } = user.ok_or(IdentityError::Unknown)?;
        if !snapshot.results[1].is_empty() {
            return Err(IdentityError::Exists);
        }
        if user.access_keys.len() >= ACCESS_KEYS_MAX {
            return Err(IdentityError::Full(Quota::AccessKeys));
        }
        user.access_keys.push(key.access_key_id.clone());
        let transaction = put(&user_key, modified, &user)
            .when(Compare::Absent(key_key.clone()))
            .then(Write::Put(key_key.clone(), key.encode()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(user_key).into())
}

/// Activates or deactivates a key of the account. A change to the same status is no change.
pub async fn set_key_status(
    store: &dyn MetadataStore,
    account: AccountId,
    access_key_id: &str,
    status: AccessKeyStatus,
) -> Result<Revision, IdentityError> {
    let key_key = keys::access_key(access_key_id);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: mut key, modified } = found_key(store, account, &key_key).await?;
        if key.status == status {
            return Ok(modified);
        }
        key.status = status;
        let transaction = Transaction::new()
            .when(Compare::Unchanged(key_key.clone(), modified))
            .then(Write::Put(key_key.clone(), key.encode()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key_key).into())
}

/// Deletes a key of the account.
pub async fn delete_key(
    store: &dyn MetadataStore,
    account: AccountId,
    access_key_id: &str,
) -> Result<Revision, IdentityError> {
    let key_key = keys::access_key(access_key_id);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: key, modified: key_modified } = found_key(store, account, &key_key).await?;
        let user_key = keys::user(account, &key.user);
        // A key whose user went away between the two reads went with it.
        let user = found::<UserRecord>(store, &user_key).await?.ok_or(IdentityError::UnknownKey)?;
        let Found { record: mut user, modified } = user;
        user.access_keys.retain(|held| held != access_key_id);
        let transaction = put(&user_key, modified, &user)
            .when(Compare::Unchanged(key_key.clone(), key_modified))
            .then(Write::Delete(key_key.clone()))
            .then(Write::Delete(keys::key_use(access_key_id)));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key_key).into())
}

async fn found_key(
    store: &dyn MetadataStore,
    account: AccountId,
    key: &str,
) -> Result<Found<AccessKeyRecord>, IdentityError> {
    let entry = store.get(key).await?;
    let found = attempt::found::<AccessKeyRecord>(entry.as_slice())?;
    // Another account's key is unknown, never forbidden: its existence is not told.
    found.filter(|found| found.record.account == account).ok_or(IdentityError::UnknownKey)
}

/// One key.
pub async fn load_key(
    store: &dyn MetadataStore,
    access_key_id: &str,
) -> Result<Option<AccessKeyRecord>, MetadataError> {
    let entry = store.get(&keys::access_key(access_key_id)).await?;
    Ok(attempt::found(entry.as_slice())?.map(|found| found.record))
}

/// The keys of a user, in the order of their creation.
pub async fn keys_of(
    store: &dyn MetadataStore,
    user: &UserRecord,
) -> Result<Vec<AccessKeyRecord>, MetadataError> {
    let selects: Vec<_> = user.access_keys.iter().map(|id| Select::Key(keys::access_key(id))).collect();
    let snapshot = store.read(&selects).await?;
    snapshot.results.iter().flatten().map(attempt::decode).collect()
}
