//! What a gateway holds of users, roles, their policies and access keys, kept fresh by watches, so that policy changes and
//! deactivations reach open connections.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::{DashMap, Entry as Slot};
use tokio::sync::watch;

use crate::attempt;
use crate::follow::{Following, News};
use crate::id::{AccountId, Revision};
use crate::identities::Identity;
use crate::key_uses::KeyUses;
use crate::keys;
use crate::record::{AccessKeyRecord, GroupRecord, ManagedPolicyRecord, Record, RoleRecord, UserRecord};
use crate::store::{Entry, MetadataError, SharedStore};

#[cfg(test)]
mod tests;

/// Whom a key or a session acts as. The id tells those apart who have had the name one after another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The account.
    pub account: AccountId,
    /// User or role.
    pub kind: ActorKind,
    /// The name of the user or role.
    pub name: String,
    /// `AIDA…` or `AROA…`.
    pub id: String,
}

/// What an [`Actor`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A user, with its own policies and those of its groups.
    User,
    /// A role.
    Role,
}

/// What an actor's policies are, as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The policies.
    pub policies: Vec<GrantedPolicy>,
    /// The actor's tags.
    pub tags: BTreeMap<String, String>,
}

/// A user or role with all its policies, as last seen.
#[derive(Debug, Clone)]
pub struct CachedPrincipal {
    /// What they are.
    pub grants: Arc<Grants>,
    /// A number for just these grants of just this actor: decisions that were made from them are good as long as it stays.
    pub version: u64,
}

/// A policy that bears on an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedPolicy {
    /// What denials call it by: its name, behind that of its group where it is a group's own.
    pub name: String,
    /// The JSON text.
    pub document: String,
    /// Where it comes from.
    pub source: PolicySource,
}

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySource {
    /// It is the user's own.
    User,
    /// It is the own policy of a group that the user is in.
    Group,
    /// It is the role's own.
    Role,
    /// It is attached to one of them.
    Managed,
}

/// An access key with its user, as last seen.
#[derive(Debug, Clone)]
pub struct CachedKey {
    /// The key.
    pub key: Arc<AccessKeyRecord>,
    /// Its user.
    pub owner: Arc<UserRecord>,
}

/// The cached identities, policies and access keys of a cell.
#[derive(Debug)]
pub struct Principals {
    users: Kept<UserRecord>,
    groups: Kept<GroupRecord>,
    roles: Kept<RoleRecord>,
    managed_policies: Kept<ManagedPolicyRecord>,
    access_keys: Kept<AccessKeyRecord>,
    uses: KeyUses,
    changes: watch::Sender<u64>,
    resolved: DashMap<Actor, Resolved>,
    versions: AtomicU64,
}

/// Grants that were put together, and [`Principals::version`] from before that.
#[derive(Debug)]
struct Resolved {
    principal: CachedPrincipal,
    seen: u64,
}

/// The records of a prefix by key, and the watch that keeps them.
#[derive(Debug)]
struct Kept<R> {
    records: Arc<DashMap<String, Arc<R>>>,
    following: Following,
}

impl Principals {
    /// Reads everything and keeps it fresh from now on. Must be called in a tokio runtime. Dropping it ends its tasks.
    pub async fn start(store: SharedStore) -> Result<Arc<Self>, MetadataError> {
        let changes = watch::Sender::new(0);
        Ok(Arc::new(Self {
            users: Kept::start(&store, keys::USERS, &changes).await?,
            groups: Kept::start(&store, keys::GROUPS, &changes).await?,
            roles: Kept::start(&store, keys::ROLES, &changes).await?,
            managed_policies: Kept::start(&store, keys::MANAGED_POLICIES, &changes).await?,
            access_keys: Kept::start(&store, keys::ACCESS_KEYS, &changes).await?,
            uses: KeyUses::default(),
            changes,
            resolved: DashMap::new(),
            versions: AtomicU64::new(1),
        }))
    }

    /// The key and its user, from memory.
    pub fn key(&self, access_key_id: &str) -> Option<CachedKey> {
        let key = self.access_keys.get(&keys::access_key(access_key_id))?;
        let owner = self.user(key.account, &key.user)?;
        Some(CachedKey { key, owner })
    }

    /// The key and its user; on a miss the cache is brought up to the store first (coalesced, at most ten times a
    /// second), so that a key works as soon as its creation was answered.
    pub async fn find_key(&self, access_key_id: &str) -> Result<Option<CachedKey>, MetadataError> {
        if let Some(found) = self.key(access_key_id) {
            return Ok(Some(found));
        }
        self.access_keys.following.refresh().await?;
        self.users.following.reach(self.access_keys.following.revision()).await?;
        Ok(self.key(access_key_id))
    }

    /// A user, from memory.
    pub fn user(&self, account: AccountId, name: &str) -> Option<Arc<UserRecord>> {
        self.users.get(&keys::user(account, name))
    }

    /// A role, from memory.
    pub fn role(&self, account: AccountId, name: &str) -> Option<Arc<RoleRecord>> {
        self.roles.get(&keys::role(account, name))
    }

    /// Whether the actor is still there.
    pub fn exists(&self, actor: &Actor) -> bool {
        match actor.kind {
            ActorKind::User => {
                self.user(actor.account, &actor.name).is_some_and(|user| user.user_id == actor.id)
            }
            ActorKind::Role => {
                self.role(actor.account, &actor.name).is_some_and(|role| role.role_id == actor.id)
            }
        }
    }

    /// The actor with its policies, from memory. `None` if it is gone, and while something that it names is not known here:
    /// that could hold a Deny. Costs two look-ups while nothing changes in the cell.
    pub fn principal(&self, actor: &Actor) -> Option<CachedPrincipal> {
        let seen = self.version();
        if let Some(known) = self.resolved.get(actor).filter(|known| known.seen == seen) {
            return Some(known.principal.clone());
        }
        let Some(grants) = self.grants(actor) else {
            self.resolved.remove(actor);
            return None;
        };
        if self.resolved.len() > self.users.records.len() + self.roles.records.len() {
            self.resolved.retain(|actor, _| self.exists(actor));
        }
        let numbered = |grants| {
            let version = self.versions.fetch_add(1, Ordering::Relaxed);
            CachedPrincipal { grants: Arc::new(grants), version }
        };
        match self.resolved.entry(actor.clone()) {
            Slot::Occupied(mut known) => {
                if *known.get().principal.grants != grants {
                    known.get_mut().principal = numbered(grants);
                }
                known.get_mut().seen = seen;
                Some(known.get().principal.clone())
            }
            Slot::Vacant(unknown) => {
                let principal = numbered(grants);
                unknown.insert(Resolved { principal: principal.clone(), seen });
                Some(principal)
            }
        }
    }

    /// What the actor's policies are. `None` if it is gone, and while something that it names is not known here: that
    /// could hold a Deny.
    fn grants(&self, actor: &Actor) -> Option<Grants> {
        let mut grants = Grants::default();
        match actor.kind {
            ActorKind::User => {
                let user = self.user(actor.account, &actor.name).filter(|user| user.user_id == actor.id)?;
                self.add(&mut grants, actor.account, &*user, PolicySource::User)?;
                for name in &user.groups {
                    let group = self.groups.get(&keys::group(actor.account, name))?;
                    self.add(&mut grants, actor.account, &*group, PolicySource::Group)?;
                }
                grants.tags.clone_from(&user.tags);
            }
            ActorKind::Role => {
                let role = self.role(actor.account, &actor.name).filter(|role| role.role_id == actor.id)?;
                self.add(&mut grants, actor.account, &*role, PolicySource::Role)?;
                grants.tags.clone_from(&role.tags);
            }
        }
        Some(grants)
    }

    /// What the policies of a group are, which its members have beside their own.
    pub fn group_grants(&self, account: AccountId, name: &str) -> Option<Grants> {
        let mut grants = Grants::default();
        let group = self.groups.get(&keys::group(account, name))?;
        self.add(&mut grants, account, &*group, PolicySource::Group)?;
        Some(grants)
    }

    /// Adds an identity's inline and attached policies.
    fn add(
        &self,
        grants: &mut Grants,
        account: AccountId,
        identity: &impl Identity,
        source: PolicySource,
    ) -> Option<()> {
        for (name, document) in identity.policies() {
            let name = match source {
                PolicySource::Group => format!("{}/{name}", identity.name()),
                _ => name.clone(),
            };
            grants.policies.push(GrantedPolicy { name, document: document.clone(), source });
        }
        for name in identity.attached() {
            let policy = self.managed_policies.get(&keys::managed_policy(account, name))?;
            let (name, document) = (name.clone(), policy.document()?.to_owned());
            grants.policies.push(GrantedPolicy { name, document, source: PolicySource::Managed });
        }
        Some(())
    }

    /// The last uses of access keys.
    pub fn uses(&self) -> &KeyUses {
        &self.uses
    }

    /// Waits until every change up to `revision` is in here.
    pub async fn catch_up(&self, revision: Revision) -> Result<(), MetadataError> {
        self.users.following.reach(revision).await?;
        self.groups.following.reach(revision).await?;
        self.roles.following.reach(revision).await?;
        self.managed_policies.following.reach(revision).await?;
        self.access_keys.following.reach(revision).await
    }

    /// Changes whenever an identity, policy or key changed: open connections then look up theirs again. What changed can
    /// be seen before the number does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How often something has changed: what was looked up before a question is still so if this is what it was then.
    pub fn version(&self) -> u64 {
        *self.changes.borrow()
    }
}

impl<R: Record + Send + Sync + 'static> Kept<R> {
    async fn start(
        store: &SharedStore,
        prefix: &str,
        changes: &watch::Sender<u64>,
    ) -> Result<Self, MetadataError> {
        let records = Arc::new(DashMap::new());
        let sink = keep(Arc::clone(&records), changes.clone());
        let following = Following::start(Arc::clone(store), prefix.to_owned(), sink).await?;
        Ok(Self { records, following })
    }

    fn get(&self, key: &str) -> Option<Arc<R>> {
        Some(Arc::clone(&*self.records.get(key)?))
    }
}

/// A sink that keeps the decoded records of a prefix by key.
fn keep<R: Record + Send + Sync + 'static>(
    kept: Arc<DashMap<String, Arc<R>>>,
    changes: watch::Sender<u64>,
) -> impl FnMut(News) + Send + 'static {
    move |news| {
        let changed = match news {
            News::All(entries, _) => {
                let present: HashSet<&String> = entries.iter().map(|entry| &entry.key).collect();
                kept.retain(|key, _| present.contains(key));
                for entry in &entries {
                    put(&kept, entry);
                }
                true
            }
            News::Some(changes) => {
                let changed = !changes.events.is_empty();
                for event in changes.events {
                    match event.value {
                        Some(value) => {
                            put(&kept, &Entry { key: event.key, value, modified: event.revision });
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

fn put<R: Record>(kept: &DashMap<String, Arc<R>>, entry: &Entry) {
    match attempt::decode(entry) {
        Ok(record) => drop(kept.insert(entry.key.clone(), Arc::new(record))),
        // What cannot be read grants nothing: an unreadable user or key is as good as deleted.
        Err(error) => {
            tracing::error!(key = entry.key, %error, "principal not readable");
            kept.remove(&entry.key);
        }
    }
}
