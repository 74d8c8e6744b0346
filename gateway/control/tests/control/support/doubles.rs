//! What stands in for the parts of a process that the control API only calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use headgate_control::{
    BillQuery, BillSource, BillSourceError, Bootstrap, NewTopic, Requester, TopicRefusal, TopicRefused,
    TopicUpdate, Topics,
};
use headgate_metadata::id::{BrokerId, TimestampMs, TopicId};
use headgate_metadata::record::{ClusterRecord, TopicRecord};
use headgate_metadata::store::SharedStore;
use headgate_metadata::topics::{self, AlterConfigsError, CreateTopicError};
use headgate_metering::bill::{Bill, BillInput};
use headgate_metering::price::PriceBook;

use super::START_MS;

/// Bills of a cell in which nothing was used.
pub(super) struct EmptyBills;

#[async_trait]
impl BillSource for EmptyBills {
    async fn bill(&self, query: BillQuery) -> Result<Bill, BillSourceError> {
        let prices = PriceBook::default();
        let input = BillInput {
            period: query.period,
            as_of: TimestampMs::new(START_MS as u64),
            prices: &prices,
            clusters: &[],
            owners: &BTreeMap::new(),
            slots: &[],
            only: query.cluster,
        };
        Bill::compute(&input).map_err(|error| BillSourceError::Broken { reason: error.to_string() })
    }
}

/// Clusters that can be reached when the test says so.
pub(super) struct Reachable(pub(super) Arc<AtomicBool>);

#[async_trait]
impl Bootstrap for Reachable {
    fn brokers(&self, cluster: &ClusterRecord) -> String {
        format!("localhost:{}", cluster.port.unwrap_or(9098))
    }

    fn broker_ids(&self, _cluster: &ClusterRecord) -> Vec<BrokerId> {
        vec![BrokerId::new(1)]
    }

    async fn reachable(&self, _cluster: &ClusterRecord) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Topics without any rule but those of the records themselves; one name is refused.
pub(super) struct PlainTopics(pub(super) SharedStore);

/// A topic name that is against a rule.
pub(crate) const RULED_OUT: &str = "ruled-out";

fn refused(kind: TopicRefusal, text: &str) -> TopicRefused {
    TopicRefused { kind, text: text.to_owned() }
}

#[async_trait]
impl Topics for PlainTopics {
    async fn create(&self, requester: Requester<'_>, topic: NewTopic) -> Result<TopicRecord, TopicRefused> {
        if topic.name == RULED_OUT {
            return Err(refused(TopicRefusal::Invalid, "the name is against a rule"));
        }
        let record = TopicRecord {
            id: TopicId::from_random(rand::random()),
            name: topic.name,
            partitions: topic.partitions,
            slots: 1,
            created: TimestampMs::new(START_MS as u64),
            configs: topic.configs,
        };
        match topics::create(&*self.0, requester.cluster.id, &record).await {
            Ok(_) => Ok(record),
            Err(CreateTopicError::Exists { .. }) => Err(refused(TopicRefusal::Exists, "it is there")),
            Err(error) => Err(refused(TopicRefusal::Unavailable, &error.to_string())),
        }
    }

    async fn update(
        &self,
        requester: Requester<'_>,
        update: TopicUpdate,
    ) -> Result<TopicRecord, TopicRefused> {
        let (cluster, now) = (requester.cluster.id, TimestampMs::new(START_MS as u64));
        if let Some(partitions) = update.partitions {
            let grown = topics::grow(&*self.0, cluster, &update.name, partitions, now).await;
            grown.map_err(|error| refused(TopicRefusal::Invalid, &error.to_string()))?;
        }
        let altered = topics::alter_configs(&*self.0, cluster, &update.name, |configs| {
            configs.extend(update.configs.clone());
            Ok::<(), std::convert::Infallible>(())
        });
        match altered.await {
            Ok((record, _)) => Ok(record),
            Err(AlterConfigsError::Unknown) => Err(refused(TopicRefusal::Unknown, "no such topic")),
            Err(error) => Err(refused(TopicRefusal::Unavailable, &error.to_string())),
        }
    }

    async fn delete(&self, requester: Requester<'_>, name: &str) -> Result<TopicRecord, TopicRefused> {
        let unknown = || refused(TopicRefusal::Unknown, "no such topic");
        let (cluster, now) = (requester.cluster.id, TimestampMs::new(START_MS as u64));
        let record = topics::load(&*self.0, cluster, name).await.ok().flatten().ok_or_else(unknown)?;
        topics::delete(&*self.0, cluster, name, record.id, now).await.map_err(|_| unknown())?;
        Ok(record)
    }
}
