//! Who leads which partition of one topic, and a connection to each leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::connection::{Connection, Permanent, check_error};
use crate::clock;
use crate::endpoint::{Endpoint, HostPort};

/// The timestamp that asks ListOffsets for the log start offset.
pub(crate) const EARLIEST: i64 = -2;
/// The timestamp that asks ListOffsets for the end of the log: the high watermark, or the last stable offset.
pub(crate) const LATEST: i64 = -1;

/// One topic's view of a cluster.
pub(crate) struct Cluster {
    pub(crate) endpoint: Endpoint,
    topic: TopicName,
    brokers: BTreeMap<i32, HostPort>,
    leaders: Vec<Option<i32>>,
    connections: BTreeMap<i32, Connection>,
}

/// What a producer is known by (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl Cluster {
    /// Looks the topic up. A topic that does not exist is an error.
    pub(crate) async fn open(endpoint: &Endpoint, topic: &str) -> anyhow::Result<Self> {
        let mut cluster = Self {
            endpoint: endpoint.clone(),
            topic: TopicName(StrBytes::from_string(topic.to_owned())),
            brokers: BTreeMap::new(),
            leaders: Vec::new(),
            connections: BTreeMap::new(),
        };
        cluster.refresh().await?;
        Ok(cluster)
    }

    /// Looks the topic up and creates it when it is missing, then waits until every partition has a leader.
    pub(crate) async fn open_or_create(
        endpoint: &Endpoint,
        topic: &str,
        partitions: i32,
    ) -> anyhow::Result<Self> {
        let deadline = clock::now() + Duration::from_secs(30);
        create_topic(endpoint, topic, partitions).await?;
        let mut pause = Duration::ZERO;
        loop {
            let opened = Self::open(endpoint, topic).await;
            match opened {
                Ok(cluster) if cluster.leaders.iter().all(Option::is_some) => return Ok(cluster),
                Err(error) if Permanent::is_cause_of(&error) => return Err(error),
                opened if clock::now() >= deadline => {
                    return opened.and_then(|_| bail!("topic `{topic}` has partitions without a leader"));
                }
                _ => {}
            }
            pause = clock::next_backoff(pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// How many partitions the topic has.
    pub(crate) fn partition_count(&self) -> i32 {
        self.leaders.len() as i32
    }

    /// The topic as requests name it.
    pub(crate) fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The broker that leads a partition, if one is known.
    pub(crate) fn leader(&self, partition: i32) -> Option<i32> {
        self.leaders.get(usize::try_from(partition).ok()?).copied().flatten()
    }

    /// Asks anew who leads what. Connections are kept.
    pub(crate) async fn refresh(&mut self) -> anyhow::Result<()> {
        let mut connection = Connection::open_bootstrap(&self.endpoint).await?;
        let name = Some(self.topic.clone());
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(name)]))
            .with_allow_auto_topic_creation(false);
        let answer = connection.call(&request).await?;
        self.brokers = answer
            .brokers
            .iter()
            .map(|broker| {
                let port = u16::try_from(broker.port).context("a broker has no valid port")?;
                Ok((broker.node_id.0, HostPort { host: broker.host.to_string(), port }))
            })
            .collect::<anyhow::Result<_>>()?;
        let topic = answer.topics.first().context("the broker did not answer for the topic")?;
        check_error("Metadata", topic.error_code).with_context(|| format!("topic `{}`", self.topic.0))?;
        self.leaders = leaders(topic)?;
        Ok(())
    }

    /// Opens a connection to a broker; the caller owns it.
    pub(crate) async fn connect(&self, broker: i32) -> anyhow::Result<Connection> {
        let address = self.brokers.get(&broker).with_context(|| format!("broker {broker} is not listed"))?;
        Connection::open(address, &self.endpoint.security).await
    }

    /// A kept connection to a broker.
    pub(crate) async fn connection(&mut self, broker: i32) -> anyhow::Result<&mut Connection> {
        if !self.connections.contains_key(&broker) {
            let connection = self.connect(broker).await?;
            self.connections.insert(broker, connection);
        }
        self.connections.get_mut(&broker).context("the connection was just kept")
    }

    /// Drops every kept connection: after an error nobody knows what else will arrive on them.
    pub(crate) fn disconnect(&mut self) {
        self.connections.clear();
    }

    /// Asks for a producer id.
    pub(crate) async fn init_producer(&self) -> anyhow::Result<ProducerIdentity> {
        let mut connection = Connection::open_bootstrap(&self.endpoint).await?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = connection.call(&request).await?;
        check_error("InitProducerId", answer.error_code)?;
        Ok(ProducerIdentity { id: answer.producer_id.0, epoch: answer.producer_epoch })
    }

    /// The offsets of all partitions at [`EARLIEST`] or [`LATEST`].
    pub(crate) async fn offsets(&mut self, timestamp: i64, isolation_level: i8) -> anyhow::Result<Vec<i64>> {
        let mut offsets = vec![None; self.leaders.len()];
        for (leader, partitions) in self.partitions_by_leader()? {
            let asked = partitions
                .iter()
                .map(|partition| {
                    ListOffsetsPartition::default()
                        .with_partition_index(*partition)
                        .with_current_leader_epoch(-1)
                        .with_timestamp(timestamp)
                })
                .collect();
            let topic = ListOffsetsTopic::default().with_name(self.topic.clone()).with_partitions(asked);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation_level)
                .with_topics(vec![topic]);
            let answer = self.connection(leader).await?.call(&request).await?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                check_error("ListOffsets", partition.error_code)?;
                let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
                if let Some(offset) = offsets.get_mut(index) {
                    *offset = Some(partition.offset);
                }
            }
        }
        offsets.into_iter().collect::<Option<Vec<_>>>().context("ListOffsets left a partition out")
    }

    fn partitions_by_leader(&self) -> anyhow::Result<BTreeMap<i32, Vec<i32>>> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in 0..self.partition_count() {
            let leader =
                self.leader(partition).with_context(|| format!("partition {partition} has no leader"))?;
            by_leader.entry(leader).or_default().push(partition);
        }
        Ok(by_leader)
    }
}

fn leaders(topic: &MetadataResponseTopic) -> anyhow::Result<Vec<Option<i32>>> {
    let mut leaders = vec![None; topic.partitions.len()];
    for partition in &topic.partitions {
        let slot = usize::try_from(partition.partition_index).ok().and_then(|index| leaders.get_mut(index));
        let slot = slot.with_context(|| {
            format!("partition {} of {}", partition.partition_index, topic.partitions.len())
        })?;
        *slot = (partition.leader_id.0 >= 0).then_some(partition.leader_id.0);
    }
    Ok(leaders)
}

async fn create_topic(endpoint: &Endpoint, topic: &str, partitions: i32) -> anyhow::Result<()> {
    ensure!(partitions > 0, "a topic needs at least one partition");
    let mut connection = Connection::open_bootstrap(endpoint).await?;
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let topics = vec![
        CreatableTopic::default().with_name(name).with_num_partitions(partitions).with_replication_factor(-1),
    ];
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000);
    let answer = connection.call(&request).await?;
    let result = answer.topics.first().context("the broker did not answer for the topic")?;
    match result.error_code.err() {
        None | Some(ResponseError::TopicAlreadyExists) => Ok(()),
        Some(error) => bail!(
            "cannot create topic `{topic}`: {error:?}: {}",
            result.error_message.as_deref().unwrap_or("no reason given")
        ),
    }
}

/// Calls `attempt` until it succeeds, the deadline passes, or another try cannot help; between two tries the server may
/// be restarting. The reason for waiting is told once.
pub(crate) async fn retry_until<T>(
    deadline: Instant,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut pause = Duration::ZERO;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if clock::now() >= deadline || Permanent::is_cause_of(&error) => return Err(error),
            Err(error) if pause.is_zero() => eprintln!("trying again: {error:#}"),
            Err(_) => {}
        }
        pause = clock::next_backoff(pause);
        tokio::time::sleep(pause).await;
    }
}
