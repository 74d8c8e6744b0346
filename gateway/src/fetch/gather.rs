//! Reading, waiting once for more, and reading again.

use std::time::Duration;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::Offset;
use headgate_storage_client::{Caller, Isolation, PartitionAddress, ReadOutcome, ReadRequest};
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::session::Wanted;
use super::target::{Target, resolve};
use crate::budget::InflightBytes;
use crate::error_code;
use crate::quota::BytesOut;
use crate::refusal::Refusal;
use crate::session::Session;

/// The longest a Fetch waits, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// What a client waits for, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) bytes_min: u64,
    pub(crate) bytes_max: u64,
    pub(crate) time_max: Duration,
    pub(crate) isolation: Isolation,
}

/// What was read of the partitions asked for.
pub(crate) struct Gathered {
    /// In the order they were asked for.
    pub(crate) targets: Vec<Target>,
    /// Of the targets that can be read, in their order.
    pub(crate) outcomes: Vec<ReadOutcome>,
    /// The memory of what came.
    pub(crate) reserved: InflightBytes,
}

/// Reads what may be read, `first` of it being set aside already. If too little came it waits, and then looks anew at what may be
/// read: rights may have gone. The error says when the client should come again: the cluster has used up its quota meanwhile.
pub(crate) async fn gather(
    session: &Session,
    caller: &Caller,
    view: &ClusterView,
    wanted: &[Wanted],
    wait: Wait,
    first: BytesOut,
) -> Result<Gathered, Duration> {
    let deadline = Instant::now() + wait.time_max.min(WAIT_MAX);
    let targets = resolve(session, view, wanted);
    let request = request_of(&targets, wait);
    // What may be read at once is enough, if the client wants to wait for more than that.
    let bytes_min = wait.bytes_min.min(first.bytes());
    let (outcomes, reserved) = read(session, caller, &request, &first).await;
    let failed = request.partitions.len() < targets.len();
    let answer_now = failed || wait.time_max.is_zero() || request.partitions.is_empty();
    if answer_now || suffices(&outcomes, bytes_min) {
        first.settle(records_bytes(&outcomes));
        return Ok(Gathered { targets, outcomes, reserved });
    }
    drop((outcomes, reserved, first));
    await_data(session, caller, &request, bytes_min, deadline).await;
    let again = session.quota().reserve_out(wait.bytes_max).await?;
    let targets = match session.view().await {
        Ok(view) => resolve(session, &view, wanted),
        // The earlier view serves as long as no other can be had; rights do not depend on it alone.
        Err(Refusal::MetadataUnavailable) => resolve(session, view, wanted),
        Err(refusal) => vec![Target::Failed(error_code::of_refusal(refusal)); wanted.len()],
    };
    let (outcomes, reserved) = read(session, caller, &request_of(&targets, wait), &again).await;
    again.settle(records_bytes(&outcomes));
    Ok(Gathered { targets, outcomes, reserved })
}

fn request_of(targets: &[Target], wait: Wait) -> ReadRequest {
    let read = |target: &Target| match target {
        Target::Read(read) => Some(*read),
        Target::Failed(_) => None,
    };
    let partitions = targets.iter().filter_map(read).collect();
    ReadRequest { partitions, bytes_max: wait.bytes_max, isolation: wait.isolation }
}

/// Waits until enough is there, or waiting has no point any more.
async fn await_data(
    session: &Session,
    caller: &Caller,
    request: &ReadRequest,
    bytes_min: u64,
    deadline: Instant,
) {
    let from: Vec<(PartitionAddress, Offset)> =
        request.partitions.iter().map(|read| (read.partition, read.offset)).collect();
    let patience = deadline.saturating_duration_since(Instant::now());
    let waiting = Caller { patience, ..caller.clone() };
    select! {
        biased;
        () = session.shared.parts.storage.await_data(&waiting, &from, bytes_min) => {}
        () = session.pointless() => {}
        () = sleep_until(deadline) => {}
    }
}

/// Room is taken before the owners are asked, and what was not needed given back.
async fn read(
    session: &Session,
    caller: &Caller,
    request: &ReadRequest,
    out: &BytesOut,
) -> (Vec<ReadOutcome>, InflightBytes) {
    let room = u32::try_from(out.bytes()).unwrap_or(u32::MAX);
    let mut reserved = session.lane.clone().reserve_up_to(room).await;
    let request = ReadRequest { bytes_max: out.bytes().min(reserved.bytes()), ..request.clone() };
    let outcomes = session.shared.parts.storage.read(caller, &request).await;
    debug_assert_eq!(outcomes.len(), request.partitions.len(), "one outcome per partition");
    reserved.shrink(records_bytes(&outcomes));
    (outcomes, reserved)
}

fn records_bytes(outcomes: &[ReadOutcome]) -> u64 {
    outcomes.iter().flatten().map(|success| success.records_bytes).sum()
}

/// Enough bytes came, or something the client should know at once.
fn suffices(outcomes: &[ReadOutcome], bytes_min: u64) -> bool {
    outcomes.iter().any(Result::is_err) || records_bytes(outcomes) >= bytes_min
}
