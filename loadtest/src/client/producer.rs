//! One producer: batches, pipelining, retries with unchanged sequences, reconnection.
//!
//! A single task owns everything; answers come in as events. Reading order: [`Producer::run`] → `fill` →
//! `send_ready` → `handle_event` (in [`answers`]).
//!
//! Invariant: a batch leaves its queue only by an answer about that very batch, so whatever happens to connections,
//! every batch is acknowledged, refused, or reported as unsettled at the end.

mod accumulator;
mod answers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use tokio::sync::mpsc;

use super::cluster::{Cluster, retry_until};
use super::partition_queue::PartitionQueue;
use super::pipeline::{BatchKey, Pipeline, PipelineEvent};
use crate::clock;
use crate::endpoint::Endpoint;
use crate::journal::JournalWriter;
use crate::latency::Latencies;
use crate::pacing::Schedule;
use accumulator::Accumulator;

/// Answers that may wait for the producer's task; more stay in the sockets.
const EVENTS_MAX: usize = 64;
/// A request holds at most one batch of each partition and about so many bytes, as Kafka's `max.request.size`.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// How long the broker may wait for durability before it answers REQUEST_TIMED_OUT.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
/// How long an answer may take before the connection is given up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(35);

/// Different errors counted apart; the rest share one count.
const ERROR_NAMES_MAX: usize = 40;

/// What a producer is to do.
#[derive(Clone, Debug)]
pub(crate) struct ProducerSettings {
    pub(crate) topic: String,
    pub(crate) run: u64,
    pub(crate) producer: u32,
    pub(crate) record_bytes: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) idempotent: bool,
    /// Requests on their way per connection; at most 5 for idempotent producers.
    pub(crate) in_flight_max: usize,
    /// Whether to go on sending when told to hold back, as no client should.
    pub(crate) ignores_throttle: bool,
    /// How long one batch may stay unsettled before the producer gives up.
    pub(crate) settle_time_max: Duration,
}

/// Counters shared by all producers of a run, for the progress line.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) acknowledged_records: AtomicU64,
    pub(crate) acknowledged_bytes: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    /// Set to end the run early: nothing new is issued, what is queued is still settled.
    pub(crate) stopped: AtomicBool,
}

/// What became of one producer.
#[derive(Debug)]
pub(crate) struct ProducerOutcome {
    pub(crate) latencies: Latencies,
    pub(crate) unsettled_records: u64,
    pub(crate) refused_records: u64,
    /// Why it stopped early, if it did.
    pub(crate) failure: Option<anyhow::Error>,
    /// Errors that were overcome by sending again, by name.
    pub(crate) retried_errors: BTreeMap<String, u64>,
}

/// One producer at work.
pub(crate) struct Producer {
    settings: ProducerSettings,
    cluster: Cluster,
    accumulator: Accumulator,
    queues: Vec<PartitionQueue>,
    pipelines: BTreeMap<i32, Pipeline>,
    pipelines_started: u64,
    events_sender: mpsc::Sender<PipelineEvent>,
    events: mpsc::Receiver<PipelineEvent>,
    /// Set while the cluster has to be looked at again before anything is sent.
    refresh_at: Option<Instant>,
    refresh_pause: Duration,
    journal: Option<Arc<JournalWriter>>,
    progress: Arc<Progress>,
    outcome: ProducerOutcome,
}

impl Producer {
    /// Connects and, if idempotent, gets a producer id; keeps trying while the broker is away.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        settings: ProducerSettings,
        journal: Option<Arc<JournalWriter>>,
        progress: Arc<Progress>,
    ) -> anyhow::Result<Self> {
        let deadline = clock::now() + settings.settle_time_max;
        let cluster = retry_until(deadline, async || Cluster::open(endpoint, &settings.topic).await).await?;
        let identity = if settings.idempotent {
            Some(retry_until(deadline, async || cluster.init_producer().await).await?)
        } else {
            None
        };
        let (events_sender, events) = mpsc::channel(EVENTS_MAX);
        let partitions = cluster.partition_count();
        Ok(Self {
            accumulator: Accumulator::new(&settings, identity, partitions),
            queues: (0..partitions).map(|_| PartitionQueue::default()).collect(),
            settings,
            cluster,
            pipelines: BTreeMap::new(),
            pipelines_started: 0,
            events_sender,
            events,
            refresh_at: None,
            refresh_pause: Duration::ZERO,
            journal,
            progress,
            outcome: ProducerOutcome {
                latencies: Latencies::default(),
                unsettled_records: 0,
                refused_records: 0,
                failure: None,
                retried_errors: BTreeMap::new(),
            },
        })
    }

    /// Produces all that the schedule asks for and waits until every batch is settled, or until one cannot be.
    pub(crate) async fn run(mut self, mut schedule: Schedule) -> ProducerOutcome {
        if let Err(error) = self.run_to_end(&mut schedule).await {
            self.outcome.failure = Some(error);
        }
        let queued: u64 = self.queues.iter().map(PartitionQueue::unsettled_records).sum();
        self.outcome.unsettled_records = queued + self.accumulator.open_records();
        self.outcome
    }

    async fn run_to_end(&mut self, schedule: &mut Schedule) -> anyhow::Result<()> {
        loop {
            if self.progress.stopped.load(Ordering::Relaxed) {
                schedule.finish();
            }
            let wake_for_records =
                self.accumulator.fill(schedule, &mut self.queues, self.settings.in_flight_max);
            self.give_up_overdue()?;
            self.send_ready().await;
            if self.accumulator.is_finished() && self.queues.iter().all(|queue| queue.len() == 0) {
                return Ok(());
            }
            let wake = self.next_wake(wake_for_records);
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.handle_event(event)?,
                () = clock::sleep_until(wake) => {}
            }
            while let Ok(event) = self.events.try_recv() {
                self.handle_event(event)?;
            }
        }
    }

    fn give_up_overdue(&mut self) -> anyhow::Result<()> {
        let now = clock::now();
        let oldest = self.queues.iter().filter_map(PartitionQueue::oldest_queued_at).min();
        if oldest.is_some_and(|queued_at| queued_at + self.settings.settle_time_max <= now) {
            bail!("a batch was not settled within {:?}", self.settings.settle_time_max);
        }
        let silent: Vec<i32> = self
            .pipelines
            .iter()
            .filter(|(_, pipeline)| {
                pipeline.oldest_sent_at().is_some_and(|sent| sent + ANSWER_TIME_MAX <= now)
            })
            .map(|(broker, _)| *broker)
            .collect();
        for broker in silent {
            self.give_up_pipeline(broker, "no answer in time");
        }
        Ok(())
    }

    /// Sends whatever may be sent now. Failures are not errors here: they lead to a refresh and another try.
    async fn send_ready(&mut self) {
        if self.refresh_at.is_some_and(|due| due > clock::now()) {
            return;
        }
        if self.refresh_at.is_some() {
            if let Err(error) = self.cluster.refresh().await {
                self.refresh_later(&format!("refresh: {error}"));
                return;
            }
            self.refresh_at = None;
        }
        for (broker, partitions) in self.partitions_by_leader() {
            if let Err(error) = self.send_to(broker, &partitions).await {
                self.give_up_pipeline(broker, &format!("{error:#}"));
            }
        }
    }

    /// Partitions with unsettled batches by leader; those without a leader wait for a refresh.
    fn partitions_by_leader(&mut self) -> BTreeMap<i32, Vec<i32>> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in 0..self.cluster.partition_count() {
            if self.queues.get(partition as usize).is_none_or(|queue| queue.len() == 0) {
                continue;
            }
            match self.cluster.leader(partition) {
                Some(leader) => by_leader.entry(leader).or_default().push(partition),
                None => self.refresh_later("a partition has no leader"),
            }
        }
        by_leader
    }

    async fn send_to(&mut self, broker: i32, partitions: &[i32]) -> anyhow::Result<()> {
        loop {
            let now = clock::now();
            if let Some(pipeline) = self.pipelines.get(&broker) {
                let drained = pipeline.in_flight_count() == 0;
                if pipeline.login_is_over(now) {
                    // The session ends soon: let what is on its way come back, then log in on a fresh connection.
                    if !drained {
                        return Ok(());
                    }
                    self.pipelines.remove(&broker);
                } else if pipeline.in_flight_count() >= self.settings.in_flight_max
                    || pipeline.muted_until.is_some_and(|until| until > now)
                {
                    return Ok(());
                }
            }
            let Some((request, batches)) = self.next_request(partitions) else { return Ok(()) };
            if !self.pipelines.contains_key(&broker) {
                match self.cluster.connect(broker).await {
                    Ok(connection) => {
                        self.pipelines_started += 1;
                        let pipeline =
                            Pipeline::start(connection, self.pipelines_started, self.events_sender.clone());
                        self.pipelines.insert(broker, pipeline);
                    }
                    Err(error) => {
                        for key in batches {
                            self.retry(key, false);
                        }
                        return Err(error);
                    }
                }
            }
            let pipeline = self.pipelines.get_mut(&broker).context("the pipeline was just started")?;
            pipeline.send(&request, batches, ANSWER_TIME_MAX).await?;
        }
    }

    /// At most one batch of each partition, in turn, up to the size of a request.
    fn next_request(&mut self, partitions: &[i32]) -> Option<(ProduceRequest, Vec<BatchKey>)> {
        let mut data = Vec::new();
        let mut batches = Vec::new();
        let mut bytes = 0;
        for partition in partitions {
            let Some(batch) = self.queues.get_mut(*partition as usize).and_then(PartitionQueue::next_to_send)
            else {
                continue;
            };
            bytes += batch.bytes.len();
            batches.push((*partition, batch.id()));
            data.push(
                PartitionProduceData::default()
                    .with_index(*partition)
                    .with_records(Some(batch.bytes.clone())),
            );
            if bytes + self.settings.batch_bytes > REQUEST_BYTES_MAX {
                break;
            }
        }
        if batches.is_empty() {
            return None;
        }
        let topic =
            TopicProduceData::default().with_name(self.cluster.topic().clone()).with_partition_data(data);
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(PRODUCE_TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        Some((request, batches))
    }

    fn retry(&mut self, (partition, id): BatchKey, maybe_accepted: bool) {
        if let Some(queue) = self.queues.get_mut(partition as usize) {
            queue.retry(id, maybe_accepted);
        }
    }

    fn give_up_pipeline(&mut self, broker: i32, reason: &str) {
        if let Some(mut pipeline) = self.pipelines.remove(&broker) {
            self.progress.reconnects.fetch_add(1, Ordering::Relaxed);
            for key in pipeline.take_unanswered() {
                self.progress.retries.fetch_add(1, Ordering::Relaxed);
                self.retry(key, true);
            }
        }
        self.refresh_later(reason);
    }

    fn note_overcome(&mut self, reason: &str) {
        let errors = &mut self.outcome.retried_errors;
        let is_new = !errors.contains_key(reason);
        let name = if is_new && errors.len() >= ERROR_NAMES_MAX { "others" } else { reason };
        *errors.entry(name.to_owned()).or_default() += 1;
    }

    fn refresh_later(&mut self, reason: &str) {
        self.note_overcome(reason);
        self.refresh_later_quietly();
    }

    fn refresh_later_quietly(&mut self) {
        if self.refresh_at.is_none_or(|due| due <= clock::now()) {
            self.refresh_pause = clock::next_backoff(self.refresh_pause);
            self.refresh_at = Some(clock::now() + self.refresh_pause);
        }
    }

    /// The next moment at which something may have to be done although no answer arrives.
    fn next_wake(&self, wake_for_records: Option<Instant>) -> Instant {
        let pipelines = self.pipelines.values();
        let mutes = pipelines.clone().filter_map(|pipeline| pipeline.muted_until);
        let answers = pipelines.filter_map(Pipeline::oldest_sent_at).map(|sent| sent + ANSWER_TIME_MAX);
        let settled = self.queues.iter().filter_map(PartitionQueue::oldest_queued_at);
        let settled = settled.map(|queued_at| queued_at + self.settings.settle_time_max);
        let now = clock::now();
        mutes
            .filter(|until| *until > now)
            .chain(answers)
            .chain(settled)
            .chain(wake_for_records)
            .chain(self.refresh_at)
            .min()
            .unwrap_or(now + Duration::from_secs(1))
    }
}

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;
