//! Reads partitions from given offsets with full fetch requests, one request on its way per leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};

use super::cluster::{Cluster, EARLIEST, LATEST, retry_until};
use super::connection::{Permanent, check_error};
use crate::clock;
use crate::endpoint::Endpoint;

/// How much a fetch may bring and how long it may wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchLimits {
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    pub(crate) bytes_min: i32,
    pub(crate) wait_max: Duration,
    /// 0 reads everything below the high watermark, 1 only what is decided.
    pub(crate) isolation_level: i8,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            bytes_max: 50 << 20,
            partition_bytes_max: 1 << 20,
            bytes_min: 1,
            wait_max: Duration::from_millis(500),
            isolation_level: 0,
        }
    }
}

/// What one fetch brought for one partition.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) partition: i32,
    pub(crate) outcome: FetchOutcome,
}

/// The data, or where to go on without it.
#[derive(Clone, Debug)]
pub(crate) enum FetchOutcome {
    /// Batches from the offset asked for; empty when there is nothing new.
    Records(Bytes),
    /// The offset is below the log start or above the end.
    OutOfRange,
}

/// Follows one topic.
pub(crate) struct Fetcher {
    cluster: Cluster,
    limits: FetchLimits,
    /// How long errors are met with another try.
    patience: Duration,
    pub(crate) retries: u64,
}

impl Fetcher {
    /// Looks the topic up; keeps trying for `patience`, now and at every later error.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        topic: &str,
        limits: FetchLimits,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let cluster =
            retry_until(clock::now() + patience, async || Cluster::open(endpoint, topic).await).await?;
        Ok(Self { cluster, limits, patience, retries: 0 })
    }

    /// The log start offset of every partition.
    pub(crate) async fn log_starts(&mut self) -> anyhow::Result<Vec<i64>> {
        self.offsets(EARLIEST).await
    }

    /// The end of what may be read of every partition.
    pub(crate) async fn log_ends(&mut self) -> anyhow::Result<Vec<i64>> {
        self.offsets(LATEST).await
    }

    async fn offsets(&mut self, timestamp: i64) -> anyhow::Result<Vec<i64>> {
        let deadline = clock::now() + self.patience;
        loop {
            match self.cluster.offsets(timestamp, self.limits.isolation_level).await {
                Ok(offsets) => return Ok(offsets),
                Err(error) => self.recover(error, deadline).await?,
            }
        }
    }

    /// Fetches once from each (partition, offset), all partitions of a leader in one request.
    pub(crate) async fn fetch(&mut self, positions: &BTreeMap<i32, i64>) -> anyhow::Result<Vec<Fetched>> {
        let deadline = clock::now() + self.patience;
        loop {
            match self.fetch_once(positions).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => self.recover(error, deadline).await?,
            }
        }
    }

    /// After an error: drop connections, look again who leads, wait a little.
    async fn recover(&mut self, error: anyhow::Error, deadline: Instant) -> anyhow::Result<()> {
        if clock::now() >= deadline || Permanent::is_cause_of(&error) {
            return Err(error);
        }
        self.retries += 1;
        self.cluster.disconnect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The cause of a failed refresh is the same; the next attempt will meet it again.
        let _ = self.cluster.refresh().await;
        Ok(())
    }

    async fn fetch_once(&mut self, positions: &BTreeMap<i32, i64>) -> anyhow::Result<Vec<Fetched>> {
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, offset) in positions {
            let leader = self
                .cluster
                .leader(*partition)
                .with_context(|| format!("partition {partition} has no leader"))?;
            let asked = FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(*offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(self.limits.partition_bytes_max);
            by_leader.entry(leader).or_default().push(asked);
        }
        // Waiting at one leader would keep data of the others waiting.
        let wait = if by_leader.len() > 1 { Duration::from_millis(20) } else { self.limits.wait_max };
        let mut fetched = Vec::new();
        for (leader, partitions) in by_leader {
            let request = self.request(partitions, wait);
            let answer = self.cluster.connection(leader).await?.call(&request).await?;
            if answer.throttle_time_ms > 0 {
                tokio::time::sleep(Duration::from_millis(answer.throttle_time_ms as u64)).await;
            }
            collect(answer, &mut fetched)?;
        }
        Ok(fetched)
    }

    fn request(&self, partitions: Vec<FetchPartition>, wait: Duration) -> FetchRequest {
        let topic =
            FetchTopic::default().with_topic(self.cluster.topic().clone()).with_partitions(partitions);
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait.as_millis() as i32)
            .with_min_bytes(self.limits.bytes_min)
            .with_max_bytes(self.limits.bytes_max)
            .with_isolation_level(self.limits.isolation_level)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }
}

fn collect(answer: FetchResponse, fetched: &mut Vec<Fetched>) -> anyhow::Result<()> {
    check_error("Fetch", answer.error_code)?;
    for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
        let outcome = match partition.error_code.err() {
            None => FetchOutcome::Records(partition.records.unwrap_or_default()),
            Some(ResponseError::OffsetOutOfRange) => FetchOutcome::OutOfRange,
            Some(error) => bail!("Fetch of partition {} answered {error:?}", partition.partition_index),
        };
        fetched.push(Fetched { partition: partition.partition_index, outcome });
    }
    Ok(())
}
