//! `produce`: several producers write one topic at a fixed rate or as fast as possible.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::Conclusion;
use crate::client::cluster::Cluster;
use crate::client::producer::{Producer, ProducerOutcome, ProducerSettings, Progress};
use crate::clock;
use crate::endpoint::{Endpoint, EndpointArguments};
use crate::journal::JournalWriter;
use crate::latency::{Latencies, LatencySummary};
use crate::pacing::Load;
use crate::report::{MEGABYTE, per_second, print_lines, progress_line, write_json};
use crate::value::VALUE_BYTES_MIN;

/// Idempotent brokers remember the last five batches of a producer (KIP-98).
const IN_FLIGHT_IDEMPOTENT_MAX: usize = 5;

/// Acknowledgements asked for; only the durable kind can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Acks {
    All,
}

/// Compression of batches; the checker must be able to look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    None,
}

/// Arguments of `produce`.
#[derive(Args)]
pub(crate) struct ProduceArguments {
    #[command(flatten)]
    endpoint: EndpointArguments,
    /// Topic to write; created when missing.
    #[arg(long)]
    topic: String,
    /// Partitions of a topic that has to be created.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Producers, each with its own connection and producer id.
    #[arg(long, default_value_t = 1)]
    producers: u32,
    /// Records over all producers; without --records and --seconds, 100000.
    #[arg(long)]
    records: Option<u64>,
    /// Stop issuing records after so many seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Size of each record's value in bytes.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Largest batch in bytes.
    #[arg(long, default_value_t = 16 << 10)]
    batch_bytes: usize,
    /// How long a paced batch waits for more records, in milliseconds.
    #[arg(long, default_value_t = 5)]
    linger_ms: u64,
    /// Records per second over all producers, in an open loop: latencies count from the moment a record was due.
    /// Without it, as fast as the broker takes them.
    #[arg(long)]
    rate: Option<f64>,
    /// Acknowledgements to wait for.
    #[arg(long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// Whether retries are deduplicated by the broker (KIP-98).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    idempotent: bool,
    /// Goes on sending when told to hold back, as no client should: to see that it gains nothing.
    #[arg(long)]
    ignore_throttle: bool,
    /// Compression of batches.
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// Requests on their way per connection; default 5, or 1 without idempotence (more would reorder on retry).
    #[arg(long)]
    in_flight: Option<usize>,
    /// Give up when a batch is not acknowledged after so many seconds of retrying.
    #[arg(long, default_value_t = 120.0)]
    timeout_seconds: f64,
    /// Appends each acknowledged batch to this file, for `verify`.
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Writes the result as JSON to this file (`-` for standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct ProduceResult {
    topic: String,
    run: String,
    producers: u32,
    record_bytes: usize,
    batch_bytes: usize,
    rate_asked: Option<f64>,
    idempotent: bool,
    elapsed_seconds: f64,
    acknowledged_records: u64,
    acknowledged_bytes: u64,
    records_per_second: f64,
    megabytes_per_second: f64,
    unsettled_records: u64,
    refused_records: u64,
    retries: u64,
    reconnects: u64,
    retried_errors: BTreeMap<String, u64>,
    failures: Vec<String>,
    latency: LatencySummary,
}

pub(super) async fn run(arguments: ProduceArguments) -> anyhow::Result<Conclusion> {
    let endpoint = arguments.endpoint.resolve()?;
    let settings = arguments.settings()?;
    let load = arguments.load()?;
    let journal = match &arguments.journal {
        Some(path) => Some(Arc::new(JournalWriter::open(path, &arguments.topic, settings.run)?)),
        None => None,
    };
    Cluster::open_or_create(&endpoint, &arguments.topic, arguments.partitions).await?;
    let producers = open_producers(&endpoint, &arguments, &settings, journal).await?;
    let progress = producers.first().map(|(_, progress)| progress.clone()).unwrap_or_default();

    let start = clock::now();
    let mut tasks = JoinSet::new();
    for (number, (producer, _)) in (0..).zip(producers) {
        tasks.spawn(producer.run(load.schedule(number, start)));
    }
    let outcomes = wait(tasks, &progress, start).await?;
    let result = summarize(&arguments, &settings, &progress, &outcomes, clock::since(start));
    print_result(&result);
    write_json(arguments.json.as_deref(), &result)?;
    Ok(Conclusion::of(result.failures.is_empty()))
}

impl ProduceArguments {
    fn settings(&self) -> anyhow::Result<ProducerSettings> {
        ensure!(self.record_bytes >= VALUE_BYTES_MIN, "--record-bytes must be at least {VALUE_BYTES_MIN}");
        ensure!(self.batch_bytes <= 16 << 20, "--batch-bytes must be at most 16 MiB");
        ensure!(self.producers > 0, "--producers must be at least 1");
        ensure!(
            !self.topic.is_empty() && !self.topic.contains(char::is_whitespace),
            "--topic is not a topic name"
        );
        let in_flight_max =
            self.in_flight.unwrap_or(if self.idempotent { IN_FLIGHT_IDEMPOTENT_MAX } else { 1 });
        ensure!(in_flight_max > 0, "--in-flight must be at least 1");
        ensure!(
            !self.idempotent || in_flight_max <= IN_FLIGHT_IDEMPOTENT_MAX,
            "--in-flight is at most {IN_FLIGHT_IDEMPOTENT_MAX} for idempotent producers"
        );
        Ok(ProducerSettings {
            topic: self.topic.clone(),
            run: rand::random(),
            producer: 0,
            record_bytes: self.record_bytes,
            batch_bytes: self.batch_bytes,
            linger: Duration::from_millis(self.linger_ms),
            idempotent: self.idempotent,
            in_flight_max,
            ignores_throttle: self.ignore_throttle,
            settle_time_max: seconds("--timeout-seconds", self.timeout_seconds)?,
        })
    }

    fn load(&self) -> anyhow::Result<Load> {
        let duration = self.seconds.map(|value| seconds("--seconds", value)).transpose()?;
        let records = self.records.or(if duration.is_none() { Some(100_000) } else { None });
        ensure!(self.rate.is_none_or(|rate| rate > 0.0 && rate <= 1e9), "--rate must be between 0 and 1e9");
        Ok(Load { producers: self.producers, records, duration, rate: self.rate })
    }
}

/// A number of seconds from the command line.
pub(super) fn seconds(name: &str, value: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value).with_context(|| format!("{name} {value} is not a time"))
}

async fn open_producers(
    endpoint: &Endpoint,
    arguments: &ProduceArguments,
    settings: &ProducerSettings,
    journal: Option<Arc<JournalWriter>>,
) -> anyhow::Result<Vec<(Producer, Arc<Progress>)>> {
    let progress = Arc::new(Progress::default());
    let mut producers = Vec::new();
    for number in 0..arguments.producers {
        let settings = ProducerSettings { producer: number, ..settings.clone() };
        let producer = Producer::open(endpoint, settings, journal.clone(), progress.clone()).await?;
        producers.push((producer, progress.clone()));
    }
    Ok(producers)
}

async fn wait(
    mut tasks: JoinSet<ProducerOutcome>,
    progress: &Progress,
    start: Instant,
) -> anyhow::Result<Vec<ProducerOutcome>> {
    let line = progress_line();
    let mut outcomes = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    // One listener for the whole run: one made anew in every round would miss a signal between two rounds.
    let mut interrupts = signal(SignalKind::interrupt()).context("no signals can be received")?;
    loop {
        tokio::select! {
            biased;
            joined = tasks.join_next() => match joined {
                Some(outcome) => outcomes.push(outcome.context("a producer's task ended early")?),
                None => break,
            },
            Some(()) = interrupts.recv() => {
                let again = progress.stopped.swap(true, Ordering::Relaxed);
                ensure!(
                    !again,
                    "interrupted twice; batches on their way were not waited for. {}",
                    shown(progress, start)
                );
            }
            _ = tick.tick() => line.set_message(shown(progress, start)),
        }
    }
    line.finish_and_clear();
    Ok(outcomes)
}

fn shown(progress: &Progress, start: Instant) -> String {
    let records = progress.acknowledged_records.load(Ordering::Relaxed);
    let bytes = progress.acknowledged_bytes.load(Ordering::Relaxed);
    format!(
        "{records} records acknowledged, {:.1} MB/s, {} retries, {} reconnects",
        per_second(bytes as f64 / MEGABYTE, clock::since(start)),
        progress.retries.load(Ordering::Relaxed),
        progress.reconnects.load(Ordering::Relaxed),
    )
}

fn summarize(
    arguments: &ProduceArguments,
    settings: &ProducerSettings,
    progress: &Progress,
    outcomes: &[ProducerOutcome],
    elapsed: Duration,
) -> ProduceResult {
    let mut latencies = Latencies::default();
    let mut retried_errors: BTreeMap<String, u64> = BTreeMap::new();
    for outcome in outcomes {
        latencies.merge(&outcome.latencies);
        for (error, count) in &outcome.retried_errors {
            *retried_errors.entry(error.clone()).or_default() += count;
        }
    }
    let acknowledged_records = progress.acknowledged_records.load(Ordering::Relaxed);
    let acknowledged_bytes = progress.acknowledged_bytes.load(Ordering::Relaxed);
    ProduceResult {
        topic: arguments.topic.clone(),
        run: format!("{:016x}", settings.run),
        producers: arguments.producers,
        record_bytes: arguments.record_bytes,
        batch_bytes: arguments.batch_bytes,
        rate_asked: arguments.rate,
        idempotent: arguments.idempotent,
        elapsed_seconds: elapsed.as_secs_f64(),
        acknowledged_records,
        acknowledged_bytes,
        records_per_second: per_second(acknowledged_records as f64, elapsed),
        megabytes_per_second: per_second(acknowledged_bytes as f64 / MEGABYTE, elapsed),
        unsettled_records: outcomes.iter().map(|outcome| outcome.unsettled_records).sum(),
        refused_records: outcomes.iter().map(|outcome| outcome.refused_records).sum(),
        retries: progress.retries.load(Ordering::Relaxed),
        reconnects: progress.reconnects.load(Ordering::Relaxed),
        retried_errors,
        failures: outcomes
            .iter()
            .filter_map(|outcome| outcome.failure.as_ref())
            .map(|error| format!("{error:#}"))
            .collect(),
        latency: latencies.summary(),
    }
}

fn print_result(result: &ProduceResult) {
    let mut lines = vec![
        format!(
            "acknowledged  {} records in {:.2} s: {:.0} records/s, {:.2} MB/s",
            result.acknowledged_records,
            result.elapsed_seconds,
            result.records_per_second,
            result.megabytes_per_second,
        ),
        format!("latency       {}", result.latency),
        format!("retries       {}, reconnects {}", result.retries, result.reconnects),
    ];
    for (error, count) in &result.retried_errors {
        lines.push(format!("  overcome {count} x {error}"));
    }
    if result.unsettled_records > 0 || result.refused_records > 0 {
        lines.push(format!(
            "not acknowledged  {} records unsettled, {} refused",
            result.unsettled_records, result.refused_records
        ));
    }
    for failure in &result.failures {
        lines.push(format!("FAILED        {failure}"));
    }
    print_lines(&lines);
}
