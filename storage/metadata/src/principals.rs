//! What a gateway holds of users and access keys, kept fresh by watches, so that policy changes and deactivations reach
//! open connections.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;

use crate::attempt;
use crate::follow::{Following, News};
use crate::id::{AccountId, Revision};
use crate::keys;
use crate::record::{AccessKeyRecord, Record, UserRecord};
use crate::store::{Entry, MetadataError, SharedStore};

#[cfg(test)]
mod tests;

/// A user as last seen.
#[derive(Debug, Clone)]
pub struct CachedUser {
    /// The user with its inline policies.
    pub user: Arc<UserRecord>,
    /// The revision of the user's last change: grows whenever a policy changes.
    pub policy_version: Revision,
}

/// An access key with its user, as last seen.
#[derive(Debug, Clone)]
pub struct CachedKey {
    /// The key.
    pub key: Arc<AccessKeyRecord>,
    /// Its user.
    pub owner: CachedUser,
}

/// The cached users and access keys of a cell.
#[derive(Debug)]
pub struct Principals {
    users: Arc<DashMap<String, CachedUser>>,
    access_keys: Arc<DashMap<String, Arc<AccessKeyRecord>>>,
    changes: watch::Sender<u64>,
    following_users: Following,
    following_keys: Following,
}

impl Principals {
    /// Reads all users and keys and keeps them fresh from now on. Must be called in a tokio runtime. Dropping it ends
    /// its tasks.
    pub async fn start(store: SharedStore) -> Result<Arc<Self>, MetadataError> {
        let changes = watch::Sender::new(0);
        let users = Arc::new(DashMap::new());
        let access_keys = Arc::new(DashMap::new());
        let sink = keep(Arc::clone(&users), changes.clone(), |user: UserRecord, policy_version| CachedUser {
            user: Arc::new(user),
            policy_version,
        });
        let following_users = Following::start(Arc::clone(&store), keys::USERS.to_owned(), sink).await?;
        let sink = keep(Arc::clone(&access_keys), changes.clone(), |key: AccessKeyRecord, _| Arc::new(key));
        let following_keys = Following::start(store, keys::ACCESS_KEYS.to_owned(), sink).await?;
        Ok(Arc::new(Self { users, access_keys, changes, following_users, following_keys }))
    }

    /// The key and its user, from memory.
    pub fn key(&self, access_key_id: &str) -> Option<CachedKey> {
        let key = Arc::clone(&*self.access_keys.get(&keys::access_key(access_key_id))?);
        let owner = self.user(key.account, &key.user)?;
        Some(CachedKey { key, owner })
    }

    /// The key and its user; on a miss the cache is brought up to the store first (coalesced, at most ten times a
    /// second), so that a key works as soon as its creation was answered.
    pub async fn find_key(&self, access_key_id: &str) -> Result<Option<CachedKey>, MetadataError> {
        if let Some(found) = self.key(access_key_id) {
            return Ok(Some(found));
        }
        self.following_keys.refresh().await?;
        self.following_users.reach(self.following_keys.revision()).await?;
        Ok(self.key(access_key_id))
    }

    /// A user, from memory.
    pub fn user(&self, account: AccountId, name: &str) -> Option<CachedUser> {
        Some(self.users.get(&keys::user(account, name))?.clone())
    }

    /// Waits until every change up to `revision` is in here.
    pub async fn catch_up(&self, revision: Revision) -> Result<(), MetadataError> {
        self.following_users.reach(revision).await?;
        self.following_keys.reach(revision).await
    }

    /// Changes whenever a user, policy or key changed: open connections then look up their key and user again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A sink that keeps the decoded records of a prefix by key.
fn keep<R: Record, V: Send + Sync + 'static>(
    kept: Arc<DashMap<String, V>>,
    changes: watch::Sender<u64>,
    cached: impl Fn(R, Revision) -> V + Send + 'static,
) -> impl FnMut(News) + Send + 'static {
    move |news| {
        let changed = match news {
            News::All(entries, _) => {
                let present: HashSet<&String> = entries.iter().map(|entry| &entry.key).collect();
                kept.retain(|key, _| present.contains(key));
                for entry in &entries {
                    put(&kept, entry, &cached);
                }
                true
            }
            News::Some(changes) => {
                let changed = !changes.events.is_empty();
                for event in changes.events {
                    match event.value {
                        Some(value) => {
                            let entry = Entry { key: event.key, value, modified: event.revision };
                            put(&kept, &entry, &cached);
                        }
                        None => drop(kept.remove(&event.key)),
                    }
                }
                changed
            }
        };
        if changed {
            changes.send_modify(|version| *version += 1);
        }
    }
}

fn put<R: Record, V>(kept: &DashMap<String, V>, entry: &Entry, cached: &impl Fn(R, Revision) -> V)
where
    String: Eq + Hash,
{
    match attempt::decode(entry) {
        Ok(record) => drop(kept.insert(entry.key.clone(), cached(record, entry.modified))),
        // What cannot be read grants nothing: an unreadable user or key is as good as deleted.
        Err(error) => {
            tracing::error!(key = entry.key, %error, "principal not readable");
            kept.remove(&entry.key);
        }
    }
}
