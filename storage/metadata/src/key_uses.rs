//! When access keys were last used: noted in memory at each use, stored now and then, so that a use costs no transaction.

use dashmap::DashMap;

use crate::attempt;
use crate::keys;
use crate::record::{KeyUseRecord, Record};
use crate::store::{Compare, MetadataError, MetadataStore, Transaction, Write};

/// The uses that are not stored yet: one for each key at most.
#[derive(Debug, Default)]
pub struct KeyUses(DashMap<String, KeyUseRecord>);

impl KeyUses {
    /// Notes a use.
    pub fn observe(&self, access_key_id: &str, used: KeyUseRecord) {
        match self.0.get_mut(access_key_id) {
            Some(mut noted) if noted.at <= used.at => *noted = used,
            Some(_) => {}
            None => drop(self.0.insert(access_key_id.to_owned(), used)),
        }
    }

    /// Stores what was noted since the last time. What cannot be stored stays noted.
    pub async fn store(&self, store: &dyn MetadataStore) -> Result<(), MetadataError> {
        let noted: Vec<_> = self.0.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        for (access_key_id, used) in noted {
            // A key that was deleted meanwhile leaves nothing behind.
            let transaction = Transaction::new()
                .when(Compare::Present(keys::access_key(&access_key_id)))
                .then(Write::Put(keys::key_use(&access_key_id), used.encode()));
            attempt::commit(store, transaction).await?;
            self.0.remove_if(&access_key_id, |_, newest| *newest == used);
        }
        Ok(())
    }

    /// The last use: the one that was noted here, or the one that was stored.
    pub async fn last(
        &self,
        store: &dyn MetadataStore,
        access_key_id: &str,
    ) -> Result<Option<KeyUseRecord>, MetadataError> {
        let noted = self.0.get(access_key_id).map(|noted| noted.clone());
        let entry = store.get(&keys::key_use(access_key_id)).await?;
        let stored = attempt::found::<KeyUseRecord>(entry.as_slice())?.map(|found| found.record);
        Ok([noted, stored].into_iter().flatten().max_by_key(|used| used.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedStore;
    use crate::testing::{access_key, account, at, user};
    use crate::users;

    fn used(ms: u64) -> KeyUseRecord {
        KeyUseRecord { at: at(ms), service: "kafka".into(), region: "eu-west-1".into() }
    }

    async fn store_with_key() -> EmbeddedStore {
        let store = EmbeddedStore::in_memory();
        users::create(&store, &user("ann")).await.expect("created");
        users::create_key(&store, &access_key("AKIA1", "ann")).await.expect("created");
        store
    }

    #[tokio::test]
    async fn the_latest_use_is_told_whether_it_is_stored_or_not() {
        let store = store_with_key().await;
        let uses = KeyUses::default();
        assert_eq!(uses.last(&store, "AKIA1").await.expect("readable"), None);
        uses.observe("AKIA1", used(2));
        uses.observe("AKIA1", used(1));
        assert_eq!(uses.last(&store, "AKIA1").await.expect("readable"), Some(used(2)));
        uses.store(&store).await.expect("stored");
        let restarted = KeyUses::default();
        assert_eq!(restarted.last(&store, "AKIA1").await.expect("readable"), Some(used(2)));
        restarted.observe("AKIA1", used(3));
        assert_eq!(restarted.last(&store, "AKIA1").await.expect("readable"), Some(used(3)));
    }

    #[tokio::test]
    async fn a_key_that_was_deleted_leaves_nothing_behind() {
        let store = store_with_key().await;
        let uses = KeyUses::default();
        uses.observe("AKIA1", used(1));
        uses.store(&store).await.expect("stored");
        uses.observe("AKIA1", used(2));
        users::delete_key(&store, account(), "AKIA1").await.expect("deleted");
        uses.store(&store).await.expect("nothing to store");
        assert_eq!(uses.last(&store, "AKIA1").await.expect("readable"), None);
        assert!(store.get("key-use/AKIA1").await.expect("readable").is_none());
    }
}
