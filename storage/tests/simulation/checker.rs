//! Compares what clients were told with what the log holds at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_storage::Node;
use headgate_storage_client::{PartitionAddress, ReadError};
use tokio::time::sleep;

use crate::history::PartitionHistory;
use crate::support::{decode, try_read, try_read_all};
use crate::world::World;

/// How often the final read of a partition is tried.
const ATTEMPTS: usize = 100;

/// The error names the first violation.
pub(crate) async fn check(world: &World) -> Result<(), String> {
    // A store that went back in time does not know what was done on the strength of what it has forgotten.
    if let Some(violation) = world.removals.violation().filter(|_| !world.options.restored) {
        return Err(violation);
    }
    let partitions = world.history.partitions.lock().expect("no panic under the lock").clone();
    for (key, (slot, history)) in partitions {
        let at = PartitionAddress { key, slot };
        let records = read(world, at).await?;
        check_usage(world, at).await?;
        check_partition(&records, &history)
            .map_err(|violation| format!("partition {}: {violation}", at.key))?;
    }
    let groups = world.history.groups.lock().expect("no panic under the lock").clone();
    match groups.into_values().find_map(|history| history.violations.into_iter().next()) {
        Some(violation) => Err(violation),
        None => Ok(()),
    }
}

/// The bytes that are billed are the bytes of the log: a retry, a crash or a replay never counts twice.
async fn check_usage(world: &World, at: PartitionAddress) -> Result<(), String> {
    let Some(node) = world.owning_node(at.slot).await else { return Ok(()) };
    let Ok(stored) = try_read_bytes(&node, at).await else { return Ok(()) };
    let usage = node.usage_snapshot(at.key.cluster);
    let counted = usage
        .partitions
        .iter()
        .find(|usage| usage.partition == at)
        .map_or(0, |usage| usage.counters.bytes_in.get());
    if counted != stored {
        return Err(format!("partition {}: {counted} bytes are counted, the log holds {stored}", at.key));
    }
    Ok(())
}

/// The bytes of all batches from the first on.
async fn try_read_bytes(node: &Node, at: PartitionAddress) -> Result<u64, ReadError> {
    let (mut next, mut bytes) = (0, 0);
    loop {
        let batches = try_read(node, at, next).await?;
        let Some((last, _)) = decode(&batches).pop() else { return Ok(bytes) };
        bytes += batches.len() as u64;
        next = last + 1;
    }
}

async fn read(world: &World, at: PartitionAddress) -> Result<Vec<(u64, String)>, String> {
    let mut last = String::from("no owner");
    for _ in 0..ATTEMPTS {
        if let Some(node) = world.owning_node(at.slot).await {
            match try_read_all(&node, at, 0).await {
                Ok(records) => return Ok(records),
                Err(error) => last = error.to_string(),
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("partition {} cannot be read: {last}", at.key))
}

fn check_partition(records: &[(u64, String)], history: &PartitionHistory) -> Result<(), String> {
    if let Some(violation) = history.violations.first() {
        return Err(violation.clone());
    }
    for (expected, (offset, _)) in records.iter().enumerate() {
        if *offset != expected as u64 {
            return Err(format!("offset {expected} is missing, {offset} follows"));
        }
    }
    for (value, offset) in &history.sent {
        let Some(offset) = offset else { continue };
        match records.get(*offset as usize) {
            Some((_, found)) if found == value => {}
            Some(_) => return Err(format!("the record acknowledged at {offset} is another one")),
            None => return Err(format!("the record acknowledged at {offset} is lost")),
        }
    }
    for (offset, value) in &history.seen {
        if records.get(*offset as usize).map(|(_, found)| found) != Some(value) {
            return Err(format!("a reader saw a record at {offset} that is not there any more"));
        }
    }
    if (records.len() as u64) < history.high_watermark {
        return Err(format!("the high watermark was {} and is {}", history.high_watermark, records.len()));
    }
    let places: BTreeMap<&str, usize> =
        history.sent.iter().enumerate().map(|(place, (value, _))| (value.as_str(), place)).collect();
    let mut last = None;
    for (offset, value) in records {
        let place = places.get(value.as_str());
        let Some(place) = place else { return Err(format!("nobody sent the record at {offset}")) };
        if last.is_some_and(|last| *place <= last) {
            return Err(format!("the record at {offset} stands twice or out of order"));
        }
        last = Some(*place);
    }
    if history.idempotent && last.map_or(0, |last| last + 1) != records.len() {
        return Err("a record of an idempotent producer was left out".to_owned());
    }
    Ok(())
}
