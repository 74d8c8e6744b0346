//! `consume`: reads a topic as fast as it comes and measures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::Conclusion;
use super::produce::seconds;
use crate::batch::RecordBatch;
use crate::client::fetcher::{FetchLimits, FetchOutcome, Fetcher};
use crate::clock;
use crate::endpoint::{Endpoint, EndpointArguments};
use crate::latency::{Latencies, LatencySummary};
use crate::report::{MEGABYTE, per_second, print_lines, progress_line, write_json};
use crate::value::Value;

/// Arguments of `consume`.
#[derive(Args)]
pub(crate) struct ConsumeArguments {
    #[command(flatten)]
    endpoint: EndpointArguments,
    /// Topic to read.
    #[arg(long)]
    topic: String,
    /// Consumers, each with its own connection and share of the partitions.
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    /// Offset to start at in every partition; the log start without it.
    #[arg(long)]
    from: Option<i64>,
    /// Stop after so many records.
    #[arg(long)]
    records: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Stop at the end each partition has when reading begins (the default when nothing else ends the run).
    #[arg(long)]
    until_end: bool,
    /// Leave out records of open and aborted transactions.
    #[arg(long)]
    read_committed: bool,
    /// Most bytes of one fetch.
    #[arg(long, default_value_t = 50 << 20)]
    fetch_max_bytes: i32,
    /// Most bytes of one partition in one fetch.
    #[arg(long, default_value_t = 1 << 20)]
    partition_max_bytes: i32,
    /// Bytes a fetch waits for.
    #[arg(long, default_value_t = 1)]
    min_bytes: i32,
    /// How long a fetch waits, in milliseconds.
    #[arg(long, default_value_t = 500)]
    max_wait_ms: u64,
    /// How long an unreachable server is tried again, in seconds.
    #[arg(long, default_value_t = 60.0)]
    timeout_seconds: f64,
    /// Writes the result as JSON to this file (`-` for standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct ConsumeResult {
    topic: String,
    consumers: usize,
    elapsed_seconds: f64,
    records: u64,
    bytes: u64,
    records_per_second: f64,
    megabytes_per_second: f64,
    fetches: u64,
    retries: u64,
    bad_crc: u64,
    malformed: u64,
    /// From sending a fetch to its answer, those that brought nothing included.
    fetch_latency: LatencySummary,
    /// From the moment a record was due at its producer to the moment it was read; meaningful only beside a running
    /// `produce` on the same machine.
    end_to_end_latency: LatencySummary,
}

/// Shared by the consumers of a run.
#[derive(Default)]
struct Shared {
    records: AtomicU64,
    bytes: AtomicU64,
    /// Ctrl-C: what is being fetched is counted, and the result is printed.
    stopped: AtomicBool,
}

/// When a consumer stops, beside the end of its partitions.
#[derive(Clone, Copy)]
struct Limits {
    records: u64,
    deadline: Option<Instant>,
}

#[derive(Default)]
struct Tallies {
    fetches: u64,
    retries: u64,
    bad_crc: u64,
    malformed: u64,
    fetch_latency: Latencies,
    end_to_end_latency: Latencies,
}

struct Consumer {
    fetcher: Fetcher,
    positions: BTreeMap<i32, i64>,
    ends: Option<Vec<i64>>,
    limits: Limits,
    shared: Arc<Shared>,
    tallies: Tallies,
}

pub(super) async fn run(arguments: ConsumeArguments) -> anyhow::Result<Conclusion> {
    ensure!(arguments.consumers > 0, "--consumers must be at least 1");
    let endpoint = arguments.endpoint.resolve()?;
    let shared = Arc::new(Shared::default());
    let consumers = open_consumers(&endpoint, &arguments, &shared).await?;
    let consumer_count = consumers.len();
    let start = clock::now();
    let mut tasks = JoinSet::new();
    for consumer in consumers {
        tasks.spawn(consumer.run());
    }
    let tallies = wait(tasks, &shared, start).await?;
    let elapsed = clock::since(start);
    let records = shared.records.load(Ordering::Relaxed);
    let bytes = shared.bytes.load(Ordering::Relaxed);
    let result = ConsumeResult {
        topic: arguments.topic,
        consumers: consumer_count,
        elapsed_seconds: elapsed.as_secs_f64(),
        records,
        bytes,
        records_per_second: per_second(records as f64, elapsed),
        megabytes_per_second: per_second(bytes as f64 / MEGABYTE, elapsed),
        fetches: tallies.fetches,
        retries: tallies.retries,
        bad_crc: tallies.bad_crc,
        malformed: tallies.malformed,
        fetch_latency: tallies.fetch_latency.summary(),
        end_to_end_latency: tallies.end_to_end_latency.summary(),
    };
    print_result(&result);
    write_json(arguments.json.as_deref(), &result)?;
    Ok(Conclusion::of(result.bad_crc == 0 && result.malformed == 0))
}

async fn open_consumers(
    endpoint: &Endpoint,
    arguments: &ConsumeArguments,
    shared: &Arc<Shared>,
) -> anyhow::Result<Vec<Consumer>> {
    let fetch_limits = FetchLimits {
        bytes_max: arguments.fetch_max_bytes,
        partition_bytes_max: arguments.partition_max_bytes,
        bytes_min: arguments.min_bytes,
        wait_max: Duration::from_millis(arguments.max_wait_ms),
        isolation_level: i8::from(arguments.read_committed),
    };
    let patience = seconds("--timeout-seconds", arguments.timeout_seconds)?;
    let mut first = Fetcher::open(endpoint, &arguments.topic, fetch_limits, patience).await?;
    let starts = first.log_starts().await?;
    let endless = !arguments.until_end && (arguments.records.is_some() || arguments.seconds.is_some());
    let ends = if endless { None } else { Some(first.log_ends().await?) };
    let duration = arguments.seconds.map(|value| seconds("--seconds", value)).transpose()?;
    let limits = Limits {
        records: arguments.records.unwrap_or(u64::MAX),
        deadline: duration.map(|duration| clock::now() + duration),
    };
    let count = arguments.consumers.min(starts.len().max(1));
    let mut consumers = Vec::new();
    for number in 0..count {
        let positions = (0..)
            .zip(&starts)
            .skip(number)
            .step_by(count)
            .map(|(partition, start)| (partition, arguments.from.unwrap_or(*start).max(*start)))
            .collect();
        let fetcher = Fetcher::open(endpoint, &arguments.topic, fetch_limits, patience).await?;
        let (ends, shared) = (ends.clone(), shared.clone());
        consumers.push(Consumer { fetcher, positions, ends, limits, shared, tallies: Tallies::default() });
    }
    Ok(consumers)
}

impl Consumer {
    async fn run(mut self) -> anyhow::Result<Tallies> {
        loop {
            if let Some(ends) = &self.ends {
                self.positions.retain(|partition, offset| {
                    ends.get(*partition as usize).is_some_and(|end| *offset < *end)
                });
            }
            if self.positions.is_empty() || self.is_over() {
                break;
            }
            let sent = clock::now();
            let fetched = self.fetcher.fetch(&self.positions).await?;
            self.tallies.fetches += 1;
            self.tallies.fetch_latency.observe(clock::since(sent));
            for answer in fetched {
                match answer.outcome {
                    FetchOutcome::Records(records) => self.observe(answer.partition, records),
                    FetchOutcome::OutOfRange => self.seek_to_log_start(answer.partition).await?,
                }
            }
        }
        self.tallies.retries = self.fetcher.retries;
        Ok(self.tallies)
    }

    fn is_over(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
            || self.shared.records.load(Ordering::Relaxed) >= self.limits.records
            || self.limits.deadline.is_some_and(|deadline| deadline <= clock::now())
    }

    async fn seek_to_log_start(&mut self, partition: i32) -> anyhow::Result<()> {
        let starts = self.fetcher.log_starts().await?;
        let start = *starts.get(partition as usize).context("a partition disappeared")?;
        ensure!(
            self.positions.get(&partition).is_some_and(|offset| *offset < start),
            "--from is above the end of partition {partition}"
        );
        self.positions.insert(partition, start);
        Ok(())
    }

    fn observe(&mut self, partition: i32, mut records: Bytes) {
        let Some(position) = self.positions.get_mut(&partition) else { return };
        loop {
            let batch = match RecordBatch::split_first(&mut records) {
                Ok(Some(batch)) => batch,
                Ok(None) => return,
                Err(_) => {
                    self.tallies.malformed += 1;
                    // Nothing behind the defect can be found; the partition is given up.
                    self.positions.remove(&partition);
                    return;
                }
            };
            if batch.next_offset() <= *position {
                continue;
            }
            *position = batch.next_offset();
            observe_batch(&batch, &self.shared, &mut self.tallies);
        }
    }
}

fn observe_batch(batch: &RecordBatch, shared: &Shared, tallies: &mut Tallies) {
    tallies.bad_crc += u64::from(!batch.crc_is_right());
    if batch.is_control() {
        return;
    }
    shared.records.fetch_add(u64::try_from(batch.record_count).unwrap_or(0), Ordering::Relaxed);
    shared.bytes.fetch_add(batch.stored_bytes(), Ordering::Relaxed);
    if batch.is_compressed() {
        return;
    }
    let now = clock::unix_micros();
    let walked = batch.for_each_record(|_, bytes| {
        if let Some(value) = Value::parse(bytes) {
            let micros = u64::try_from(now - value.sent_micros).unwrap_or(0);
            tallies.end_to_end_latency.observe(Duration::from_micros(micros));
        }
    });
    tallies.malformed += u64::from(walked.is_err());
}

async fn wait(
    mut tasks: JoinSet<anyhow::Result<Tallies>>,
    shared: &Shared,
    start: Instant,
) -> anyhow::Result<Tallies> {
    let line = progress_line();
    let mut sum = Tallies::default();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    // One listener for the whole run: one made anew in every round would miss a signal between two rounds.
    let mut interrupts = signal(SignalKind::interrupt()).context("no signals can be received")?;
    loop {
        tokio::select! {
            biased;
            joined = tasks.join_next() => match joined {
                Some(tallies) => sum.merge(&tallies.context("a consumer's task ended early")??),
                None => break,
            },
            Some(()) = interrupts.recv() => {
                let again = shared.stopped.swap(true, Ordering::Relaxed);
                ensure!(!again, "interrupted twice; a fetch on its way was not waited for");
            }
            _ = tick.tick() => {
                let records = shared.records.load(Ordering::Relaxed);
                let bytes = shared.bytes.load(Ordering::Relaxed);
                let rate = per_second(bytes as f64 / MEGABYTE, clock::since(start));
                line.set_message(format!("{records} records read, {rate:.1} MB/s"));
            }
        }
    }
    line.finish_and_clear();
    Ok(sum)
}

impl Tallies {
    fn merge(&mut self, other: &Self) {
        self.fetches += other.fetches;
        self.retries += other.retries;
        self.bad_crc += other.bad_crc;
        self.malformed += other.malformed;
        self.fetch_latency.merge(&other.fetch_latency);
        self.end_to_end_latency.merge(&other.end_to_end_latency);
    }
}

fn print_result(result: &ConsumeResult) {
    print_lines(&[
        format!(
            "read          {} records in {:.2} s: {:.0} records/s, {:.2} MB/s",
            result.records, result.elapsed_seconds, result.records_per_second, result.megabytes_per_second,
        ),
        format!("fetch         {}", result.fetch_latency),
        format!("end to end    {}", result.end_to_end_latency),
        format!(
            "fetches       {}, retries {}, bad crc {}, malformed {}",
            result.fetches, result.retries, result.bad_crc, result.malformed
        ),
    ]);
}
