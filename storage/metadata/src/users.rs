//! Users, their inline policies and their access keys.
//!
//! Invariant: a user's record names exactly the keys that have a record; both change in one transaction.

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{AccountId, Revision};
use crate::keys;
use crate::record::{AccessKeyRecord, AccessKeyStatus, Record, UserRecord};
use crate::store::{Compare, MetadataError, MetadataStore, Select, Transaction, Write};

#[cfg(test)]
mod tests;

/// Access keys of one user at most, as in AWS: one in use and one being rotated in.
pub const ACCESS_KEYS_PER_USER_MAX: usize = 2;

/// Why a user, policy or key was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("user does not exist")]
    UnknownUser,
    /// The user has no such policy.
    #[error("policy does not exist")]
    UnknownPolicy,
    /// There is no such access key (or it is another user's).
    #[error("access key does not exist")]
    UnknownKey,
    /// The name or id is taken.
    #[error("name taken")]
    Exists,
    /// The user still has access keys or policies; delete those first.
    #[error("user still has {keys} access keys and {policies} policies")]
    InUse {
        /// How many keys.
        keys: usize,
        /// How many policies.
        policies: usize,
    },
    /// The user has [`ACCESS_KEYS_PER_USER_MAX`] keys already.
    #[error("user has {ACCESS_KEYS_PER_USER_MAX} access keys already")]
    TooManyKeys,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Creates the user as given, without keys.
pub async fn create(store: &dyn MetadataStore, user: &UserRecord) -> Result<Revision, UserError> {
    debug_assert!(user.access_keys.is_empty(), "keys are added by create_key");
    let key = keys::user(user.account, &user.name);
    let put = Write::Put(key.clone(), user.encode());
    let transaction = Transaction::new().when(Compare::Absent(key)).then(put);
    attempt::commit(store, transaction).await?.ok_or(UserError::Exists)
}

/// Deletes a user that has neither keys nor policies.
pub async fn delete(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Revision, UserError> {
    let key = keys::user(account, name);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: user, modified } =
            found_user(store, &key).await?.ok_or(UserError::UnknownUser)?;
        let (keys, policies) = (user.access_keys.len(), user.policies.len());
        if keys + policies > 0 {
            return Err(UserError::InUse { keys, policies });
        }
        let unchanged = Compare::Unchanged(key.clone(), modified);
        let transaction = Transaction::new().when(unchanged).then(Write::Delete(key.clone()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key).into())
}

/// One user.
pub async fn load(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Option<UserRecord>, MetadataError> {
    Ok(found_user(store, &keys::user(account, name)).await?.map(|found| found.record))
}

/// All users of an account, by name.
pub async fn list(store: &dyn MetadataStore, account: AccountId) -> Result<Vec<UserRecord>, MetadataError> {
    store.list(&keys::users(account)).await?.iter().map(attempt::decode).collect()
}

/// Puts an inline policy, replacing one of the same name. The document is the caller's to check.
pub async fn put_policy(
    store: &dyn MetadataStore,
    account: AccountId,
    user: &str,
    policy: &str,
    document: &str,
) -> Result<Revision, UserError> {
    change(store, account, user, |user| {
        user.policies.insert(policy.to_owned(), document.to_owned());
        Ok(())
    })
    .await
}

/// Deletes an inline policy.
pub async fn delete_policy(
    store: &dyn MetadataStore,
    account: AccountId,
    user: &str,
    policy: &str,
) -> Result<Revision, UserError> {
    change(store, account, user, |user| {
        user.policies.remove(policy).map(drop).ok_or(UserError::UnknownPolicy)
    })
    .await
}

async fn change(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
    mut change: impl FnMut(&mut UserRecord) -> Result<(), UserError> + Send,
) -> Result<Revision, UserError> {
    let key = keys::user(account, name);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: mut user, modified } =
            found_user(store, &key).await?.ok_or(UserError::UnknownUser)?;
        change(&mut user)?;
        if let Some(revision) = attempt::commit(store, put(&key, modified, &user)).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key).into())
}

/// Adds an access key to its user.
pub async fn create_key(store: &dyn MetadataStore, key: &AccessKeyRecord) -> Result<Revision, UserError> {
    let user_key = keys::user(key.account, &key.user);
    let key_key = keys::access_key(&key.access_key_id);
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = store.read(&[Select::Key(user_key.clone()), Select::Key(key_key.clone())]).await?;
        let user = attempt::found::<UserRecord>(&snapshot.results[0])?;
        let Found { record: mut user, modified } = user.ok_or(UserError::UnknownUser)?;
        if !snapshot.results[1].is_empty() {
            return Err(UserError::Exists);
        }
        if user.access_keys.len() >= ACCESS_KEYS_PER_USER_MAX {
            return Err(UserError::TooManyKeys);
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
) -> Result<Revision, UserError> {
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
) -> Result<Revision, UserError> {
    let key_key = keys::access_key(access_key_id);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: key, modified: key_modified } = found_key(store, account, &key_key).await?;
        let user_key = keys::user(account, &key.user);
        // A key whose user went away between the two reads went with it.
        let user = found_user(store, &user_key).await?.ok_or(UserError::UnknownKey)?;
        let Found { record: mut user, modified } = user;
        user.access_keys.retain(|held| held != access_key_id);
        let transaction = put(&user_key, modified, &user)
            .when(Compare::Unchanged(key_key.clone(), key_modified))
            .then(Write::Delete(key_key.clone()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key_key).into())
}

fn put(key: &str, modified: Revision, user: &UserRecord) -> Transaction {
    Transaction::new()
        .when(Compare::Unchanged(key.to_owned(), modified))
        .then(Write::Put(key.to_owned(), user.encode()))
}

async fn found_user(
    store: &dyn MetadataStore,
    key: &str,
) -> Result<Option<Found<UserRecord>>, MetadataError> {
    let entry = store.get(key).await?;
    attempt::found(entry.as_slice())
}

async fn found_key(
    store: &dyn MetadataStore,
    account: AccountId,
    key: &str,
) -> Result<Found<AccessKeyRecord>, UserError> {
    let entry = store.get(key).await?;
    let found = attempt::found::<AccessKeyRecord>(entry.as_slice())?;
    // Another account's key is unknown, never forbidden: its existence is not told.
    found.filter(|found| found.record.account == account).ok_or(UserError::UnknownKey)
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
