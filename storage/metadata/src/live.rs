//! The records of a prefix as they stand now, in key order: for few records that many look at, such as the live gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::follow::{Following, News};
use crate::record::Record;
use crate::store::{MetadataError, SharedStore};

/// The records of one prefix, kept fresh by a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct LiveRecords<R> {
    records: watch::Receiver<Arc<[R]>>,
    _following: Following,
}

impl<R: Record + Send + Sync + 'static> LiveRecords<R> {
    /// Reads the prefix and follows it from now on. Must be called in a tokio runtime.
    pub async fn start(store: SharedStore, prefix: &str) -> Result<Self, MetadataError> {
        let (told, records) = watch::channel(Arc::from([]));
        let mut encoded = BTreeMap::new();
        let sink = move |news| {
            match news {
                News::All(entries, _) => {
                    encoded = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
                }
                News::Some(changes) if changes.events.is_empty() => return,
                News::Some(changes) => {
                    for event in changes.events {
                        match event.value {
                            Some(value) => drop(encoded.insert(event.key, value)),
                            None => drop(encoded.remove(&event.key)),
                        }
                    }
                }
            }
            let decoded = encoded.iter().filter_map(|(key, value)| match R::decode(value) {
                Ok(record) => Some(record),
                Err(error) => {
                    tracing::error!(%key, %error, "record not readable");
                    None
                }
            });
            told.send_replace(decoded.collect());
        };
        let following = Following::start(store, prefix.to_owned(), sink).await?;
        Ok(Self { records, _following: following })
    }

    /// The records now.
    pub fn now(&self) -> Arc<[R]> {
        Arc::clone(&self.records.borrow())
    }

    /// Changes with them.
    pub fn changes(&self) -> watch::Receiver<Arc<[R]>> {
        self.records.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::embedded::EmbeddedStore;
    use crate::keys;
    use crate::record::MeteringRecord;
    use crate::store::MetadataStore as _;

    #[tokio::test]
    async fn a_record_comes_and_goes_with_its_lease() {
        let store = Arc::new(EmbeddedStore::in_memory());
        let live: LiveRecords<MeteringRecord> =
            LiveRecords::start(Arc::clone(&store) as _, keys::METERING).await.expect("the store answers");
        assert!(live.now().is_empty());
        let record = MeteringRecord { name: "m".into(), address: "h:1".into() };
        let ttl = Duration::from_secs(5);
        let lease = store.keep(&keys::metering("m"), record.encode(), ttl).await.expect("the store answers");
        let mut changes = live.changes();
        changes.wait_for(|records| **records == [record.clone()]).await.expect("it is followed");
        lease.release().await;
        changes.wait_for(|records| records.is_empty()).await.expect("it is followed");
    }
}
