//! `verify`: reads every partition from its log start to its end and holds it to the journals.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::Conclusion;
use super::produce::seconds;
use crate::batch::RecordBatch;
use crate::checker::{Coverage, Findings, check};
use crate::client::fetcher::{FetchLimits, FetchOutcome, Fetcher};
use crate::clock;
use crate::endpoint::EndpointArguments;
use crate::journal::Journal;
use crate::partition_scan::PartitionScan;
use crate::report::{print_lines, progress_line, write_json};

/// Arguments of `verify`.
#[derive(Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    endpoint: EndpointArguments,
    /// Topic to read.
    #[arg(long)]
    topic: String,
    /// Journals of the runs that wrote the topic; repeatable.
    #[arg(long, num_args = 1..)]
    journal: Vec<PathBuf>,
    /// Holes between offsets are normal in compacted topics; with this they are only counted.
    #[arg(long)]
    allow_gaps: bool,
    /// How long an unreachable server is tried again, in seconds.
    #[arg(long, default_value_t = 60.0)]
    timeout_seconds: f64,
    /// Writes the result as JSON to this file (`-` for standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct VerifyResult {
    topic: String,
    clean: bool,
    elapsed_seconds: f64,
    coverage: Coverage,
    findings: Findings,
    /// Σ(12 + batchLength) over the data batches of all partitions.
    bytes_in: u64,
    partitions: Vec<PartitionResult>,
}

#[derive(Serialize)]
struct PartitionResult {
    partition: i32,
    log_start_offset: i64,
    next_offset: i64,
    batches: u64,
    control_batches: u64,
    records: u64,
    foreign_records: u64,
    opaque_batches: u64,
    bytes_in: u64,
}

pub(super) async fn run(arguments: VerifyArguments) -> anyhow::Result<Conclusion> {
    let endpoint = arguments.endpoint.resolve()?;
    let mut journal = Journal::default();
    for path in &arguments.journal {
        journal.load(path, &arguments.topic)?;
    }
    let patience = seconds("--timeout-seconds", arguments.timeout_seconds)?;
    let limits = FetchLimits {
        partition_bytes_max: 4 << 20,
        wait_max: Duration::from_millis(200),
        ..FetchLimits::default()
    };
    let mut fetcher = Fetcher::open(&endpoint, &arguments.topic, limits, patience).await?;
    let start = clock::now();
    let logs = read_all(&mut fetcher, patience).await?;

    let mut verdict = check(&journal, &logs);
    if arguments.allow_gaps {
        verdict.findings.gaps = crate::partition_scan::Tally::default();
    }
    let result = VerifyResult {
        topic: arguments.topic,
        clean: verdict.findings.is_clean(),
        elapsed_seconds: clock::since(start).as_secs_f64(),
        coverage: verdict.coverage,
        findings: verdict.findings,
        bytes_in: logs.iter().map(|log| log.bytes_in).sum(),
        partitions: logs.iter().map(partition_result).collect(),
    };
    print_result(&result);
    write_json(arguments.json.as_deref(), &result)?;
    Ok(Conclusion::of(result.clean))
}

/// Reads until every partition has reached the end it had when reading began.
async fn read_all(fetcher: &mut Fetcher, patience: Duration) -> anyhow::Result<Vec<PartitionScan>> {
    let starts = fetcher.log_starts().await?;
    let ends = fetcher.log_ends().await?;
    let mut scans: Vec<PartitionScan> =
        (0..).zip(&starts).map(|(partition, start)| PartitionScan::starting_at(partition, *start)).collect();
    let line = progress_line();
    let mut last_progress = clock::now();
    loop {
        let positions: BTreeMap<i32, i64> = scans
            .iter()
            .zip(&ends)
            .filter(|(scan, end)| scan.next_offset < **end && !scan.unreadable)
            .map(|(scan, _)| (scan.partition, scan.next_offset))
            .collect();
        if positions.is_empty() {
            break;
        }
        let mut advanced = false;
        for fetched in fetcher.fetch(&positions).await? {
            let scan = usize::try_from(fetched.partition).ok().and_then(|index| scans.get_mut(index));
            let scan = scan.context("the broker answered for a partition nobody asked for")?;
            let before = scan.next_offset;
            match fetched.outcome {
                FetchOutcome::Records(records) => observe_records(scan, records),
                FetchOutcome::OutOfRange => {
                    let starts = fetcher.log_starts().await?;
                    scan.trimmed_to(*starts.get(scan.partition as usize).context("a partition disappeared")?);
                }
            }
            advanced |= scan.next_offset > before;
        }
        if advanced {
            last_progress = clock::now();
        }
        ensure!(
            clock::since(last_progress) < patience,
            "no record for {patience:?} at {positions:?}, though the ends are {ends:?}"
        );
        let records: u64 = scans.iter().map(|scan| scan.records).sum();
        line.set_message(format!("{records} records read, {} partitions to go", positions.len()));
    }
    line.finish_and_clear();
    Ok(scans)
}

fn observe_records(scan: &mut PartitionScan, mut records: Bytes) {
    loop {
        match RecordBatch::split_first(&mut records) {
            Ok(Some(batch)) => scan.observe(&batch),
            Ok(None) => return,
            Err(defect) => return scan.observe_defect(&defect),
        }
    }
}

fn partition_result(scan: &PartitionScan) -> PartitionResult {
    PartitionResult {
        partition: scan.partition,
        log_start_offset: scan.log_start,
        next_offset: scan.next_offset,
        batches: scan.batches,
        control_batches: scan.control_batches,
        records: scan.records,
        foreign_records: scan.foreign_records,
        opaque_batches: scan.opaque_batches,
        bytes_in: scan.bytes_in,
    }
}

fn print_result(result: &VerifyResult) {
    let coverage = &result.coverage;
    let mut lines = vec![
        format!(
            "acknowledged  {} records ({} below the log start)",
            coverage.acknowledged, coverage.below_log_start
        ),
        format!(
            "readable      {} records ({} without an acknowledgement)",
            coverage.readable, coverage.readable_unacknowledged
        ),
    ];
    for partition in &result.partitions {
        lines.push(format!(
            "partition {:<4}offsets {}..{}  {} batches  {} records  bytes_in {}",
            partition.partition,
            partition.log_start_offset,
            partition.next_offset,
            partition.batches,
            partition.records,
            partition.bytes_in,
        ));
    }
    for (name, tally) in result.findings.kinds() {
        lines.push(format!("{name:<21} {}", tally.count));
        for sample in &tally.samples {
            lines.push(format!("    {sample}"));
        }
    }
    lines.push(if result.clean { "CLEAN" } else { "FINDINGS" }.to_owned());
    print_lines(&lines);
}
