//! Who is in a group.
//!
//! Invariant: a group names exactly the users that name it; both change in one transaction.

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{AccountId, Revision};
use crate::identities::{GROUPS_MAX, IdentityError, Quota, put};
use crate::keys;
use crate::record::{GroupRecord, Record, UserRecord};
use crate::store::{Compare, MetadataStore, Select, Write};

/// Puts the user into the group; no error when it is in it already.
pub async fn add(
    store: &dyn MetadataStore,
    account: AccountId,
    group: &str,
    user: &str,
) -> Result<Revision, IdentityError> {
    change(store, account, group, user, |group, user| {
        if !user.groups.contains(&group.name) && user.groups.len() >= GROUPS_MAX {
            return Err(IdentityError::Full(Quota::Groups));
        }
        user.groups.insert(group.name.clone());
        group.members.insert(user.name.clone());
        Ok(())
    })
    .await
}

/// Takes the user out of the group.
pub async fn remove(
    store: &dyn MetadataStore,
    account: AccountId,
    group: &str,
    user: &str,
) -> Result<Revision, IdentityError> {
    change(store, account, group, user, |group, user| {
        user.groups.remove(&group.name);
        if group.members.remove(&user.name) { Ok(()) } else { Err(IdentityError::UnknownMember) }
    })
    .await
}

async fn change(
    store: &dyn MetadataStore,
    account: AccountId,
    group: &str,
    user: &str,
    mut change: impl FnMut(&mut GroupRecord, &mut UserRecord) -> Result<(), IdentityError> + Send,
) -> Result<Revision, IdentityError> {
    let (group_key, user_key) = (keys::group(account, group), keys::user(account, user));
    for _ in 0..ATTEMPTS_MAX {
        let selects = [Select::Key(group_key.clone()), Select::Key(user_key.clone())];
        let snapshot = store.read(&selects).await?;
        let group = attempt::found::<GroupRecord>(&snapshot.results[0])?.ok_or(IdentityError::Unknown)?;
        let user = attempt::found::<UserRecord>(&snapshot.results[1])?.ok_or(IdentityError::UnknownMember)?;
        let (Found { record: mut group, modified }, Found { record: mut user, modified: user_modified }) =
            (group, user);
        change(&mut group, &mut user)?;
        let transaction = put(&group_key, modified, &group)
            .when(Compare::Unchanged(user_key.clone(), user_modified))
            .then(Write::Put(user_key.clone(), user.encode()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(group_key).into())
}
