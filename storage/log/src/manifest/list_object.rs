//! List objects: the older runs of a partition that has more than a manifest should carry.
//!
//! ```text
//! envelope (envelope.rs) "HGRUNLST" version 1, then: [8] cluster, [16] topic, u32 partition, names, runs (run_codec.rs)
//! ```

use bytes::Bytes;
use headgate_metadata::id::{PartitionKey, SlotEpoch, SlotId};

use crate::codec::{Encode, FormatError};
use crate::envelope::Envelope;
use crate::manifest::run_codec::{NameTable, decode_names, decode_runs, encode_runs};
use crate::manifest::{ListRef, Manifest, PartitionManifest, RunRef};
use crate::object::{ObjectName, list_name};

/// How many runs of a partition stand in the manifest itself; beyond, the older half moves into a list object.
pub const RUNS_INLINE_MAX: usize = 1_000;

const ENVELOPE: Envelope = Envelope { magic: b"HGRUNLST", version: 1, what: "run list" };

/// The stored form of a list object.
pub fn encode_list(slot: SlotId, partition: &PartitionKey, runs: &[RunRef]) -> Bytes {
    let mut raw = ENVELOPE.begin(slot);
    raw.put_partition_key(partition);
    let names = NameTable::of(runs.iter().map(|run| &run.object));
    names.encode(&mut raw);
    encode_runs(&mut raw, runs, &names);
    Envelope::seal(raw)
}

/// Reads a list object; any wrong byte is an error.
pub fn decode_list(raw: &[u8]) -> Result<(SlotId, PartitionKey, Vec<RunRef>), FormatError> {
    let (slot, mut fields) = ENVELOPE.open(raw)?;
    let partition = fields.partition_key()?;
    let names = decode_names(&mut fields)?;
    let runs = decode_runs(&mut fields, &names)?;
    fields.end("a run list")?;
    Ok((slot, partition, runs))
}

/// Moves the older half of every overlong run list out; the recent half, which is read most, stays.
pub(super) fn spill(
    manifest: &mut Manifest,
    epoch: SlotEpoch,
    mut next_random: impl FnMut() -> u64,
) -> Vec<(ObjectName, Bytes)> {
    let slot = manifest.slot;
    let mut objects = Vec::new();
    for (key, partition) in &mut manifest.partitions {
        if partition.runs.len() > RUNS_INLINE_MAX {
            let name = list_name(slot, epoch, next_random());
            objects.push((name.clone(), spill_one(slot, key, partition, name)));
        }
    }
    objects
}

fn spill_one(
    slot: SlotId,
    key: &PartitionKey,
    partition: &mut PartitionManifest,
    object: ObjectName,
) -> Bytes {
    let older: Vec<RunRef> = partition.runs.drain(..RUNS_INLINE_MAX / 2).collect();
    partition.lists.push(ListRef {
        object,
        base_offset: older[0].base_offset,
        next_offset: older[older.len() - 1].next_offset,
        run_count: older.len() as u32,
        max_timestamp: older.iter().map(|run| run.max_timestamp).max().unwrap_or(-1),
        bytes: older.iter().map(RunRef::bytes).sum(),
    });
    encode_list(slot, key, &older)
}
