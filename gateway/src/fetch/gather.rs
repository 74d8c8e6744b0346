//! Reading, waiting once for more, and reading again.

use std::time::Duration;

use headgate_metadata::id::Offset;
use headgate_storage_client::{Caller, Isolation, PartitionAddress, PartitionRead, ReadOutcome, ReadRequest};
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::target::Target;
use crate::budget::InflightBytes;
use crate::quota::BytesOut;
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

/// What was read, and the memory it stands for.
pub(crate) type Gathered = (Vec<ReadOutcome>, InflightBytes);

/// Reads all targets that can be read, `first` of it being set aside already; outcomes are in the order of those. The error says
/// when the client should come again: the cluster has used up its quota meanwhile.
pub(crate) async fn gather(
    session: &Session,
    caller: &Caller,
    targets: &[Target],
    wait: Wait,
    first: BytesOut,
) -> Result<Gathered, Duration> {
    let deadline = Instant::now() + wait.time_max.min(WAIT_MAX);
    let partitions: Vec<PartitionRead> = targets
        .iter()
        .filter_map(|target| match target {
            Target::Read(read) => Some(*read),
            Target::Failed(_) => None,
        })
        .collect();
    let failed = partitions.len() < targets.len();
    let request = ReadRequest { partitions, bytes_max: wait.bytes_max, isolation: wait.isolation };
    // What may be read at once is enough, if the client wants to wait for more than that.
    let bytes_min = wait.bytes_min.min(first.bytes());
    let (gathered, out) = read(session, caller, &request, first).await;
    let answer_now = failed || wait.time_max.is_zero() || request.partitions.is_empty();
    if answer_now || suffices(&gathered.0, bytes_min) {
        out.settle(records_bytes(&gathered.0));
        return Ok(gathered);
    }
    drop((gathered, out));
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
    let out = session.quota().reserve_out(wait.bytes_max).await?;
    let (gathered, out) = read(session, caller, &request, out).await;
    out.settle(records_bytes(&gathered.0));
    Ok(gathered)
}

/// Room is taken before the owners are asked, and what was not needed given back.
async fn read(
    session: &Session,
    caller: &Caller,
    request: &ReadRequest,
    out: BytesOut,
) -> (Gathered, BytesOut) {
    let room = u32::try_from(out.bytes()).unwrap_or(u32::MAX);
    let mut reserved = session.lane.clone().reserve_up_to(room).await;
    let request = ReadRequest { bytes_max: out.bytes().min(reserved.bytes()), ..request.clone() };
    let outcomes = session.shared.parts.storage.read(caller, &request).await;
    debug_assert_eq!(outcomes.len(), request.partitions.len(), "one outcome per partition");
    reserved.shrink(records_bytes(&outcomes));
    ((outcomes, reserved), out)
}

fn records_bytes(outcomes: &[ReadOutcome]) -> u64 {
    outcomes.iter().flatten().map(|success| success.records_bytes).sum()
}

/// Enough bytes came, or something the client should know at once.
fn suffices(outcomes: &[ReadOutcome], bytes_min: u64) -> bool {
    outcomes.iter().any(Result::is_err) || records_bytes(outcomes) >= bytes_min
}
