//! The stored form of runs in manifests and list objects. Names stand once, in a table before the runs.
//!
//! ```text
//! names = u32 count, (u32 length, UTF-8) …
//! runs  = u32 count, run …
//! run   = u32 name index, u64 object range start, u64 object range end, u32 CRC-32C, u32 key id, u64 base offset,
//!         u64 next offset, i64 base timestamp, i64 max timestamp, u64 billable bytes, u64 max slot time, u32 slot epoch
//! ```

use std::collections::BTreeMap;

use bytes::BufMut;
use headgate_metadata::id::ByteCount;

use crate::codec::{Decoder, Encode, FormatError};
use crate::manifest::RunRef;
use crate::object::ObjectName;

const NAME_BYTES_MIN: usize = 5;
const RUN_BYTES: usize = 80;

/// The numbers of object names in one stored thing.
#[derive(Default)]
pub(super) struct NameTable<'a> {
    numbers: BTreeMap<&'a ObjectName, u32>,
}

impl<'a> NameTable<'a> {
    pub(super) fn of(names: impl IntoIterator<Item = &'a ObjectName>) -> Self {
        let mut numbers: BTreeMap<_, u32> = names.into_iter().map(|name| (name, 0)).collect();
        for (number, slot) in numbers.values_mut().enumerate() {
            *slot = number as u32;
        }
        Self { numbers }
    }

    pub(super) fn encode(&self, raw: &mut Vec<u8>) {
        raw.put_u32_le(self.numbers.len() as u32);
        for name in self.numbers.keys() {
            raw.put_bytes_with_length(name.as_str().as_bytes());
        }
    }

    fn number(&self, name: &ObjectName) -> u32 {
        *self.numbers.get(name).expect("the table was made of the names of these very runs")
    }
}

pub(super) fn decode_names(fields: &mut Decoder<'_>) -> Result<Vec<ObjectName>, FormatError> {
    let count = fields.count(NAME_BYTES_MIN, "name count")?;
    (0..count).map(|_| decode_name(fields)).collect()
}

pub(super) fn decode_name(fields: &mut Decoder<'_>) -> Result<ObjectName, FormatError> {
    let text = fields.text("object name")?;
    ObjectName::parse(&text)
        .map_err(|error| FormatError::Impossible { field: "object name", value: error.text })
}

pub(super) fn encode_runs(raw: &mut Vec<u8>, runs: &[RunRef], names: &NameTable<'_>) {
    raw.put_u32_le(runs.len() as u32);
    for run in runs {
        raw.put_u32_le(names.number(&run.object));
        raw.put_u64_le(run.object_range.start);
        raw.put_u64_le(run.object_range.end);
        raw.put_u32_le(run.checksum);
        raw.put_u32_le(run.key_id.get());
        raw.put_u64_le(run.base_offset.get());
        raw.put_u64_le(run.next_offset.get());
        raw.put_i64_le(run.base_timestamp);
        raw.put_i64_le(run.max_timestamp);
        raw.put_u64_le(run.billable_bytes.get());
        raw.put_u64_le(run.max_slot_time.get());
        raw.put_u32_le(run.slot_epoch.get());
    }
}

/// Reads runs and checks that their offsets follow each other.
pub(super) fn decode_runs(
    fields: &mut Decoder<'_>,
    names: &[ObjectName],
) -> Result<Vec<RunRef>, FormatError> {
    let count = fields.count(RUN_BYTES, "run count")?;
    let runs = (0..count).map(|_| decode_run(fields, names)).collect::<Result<Vec<_>, _>>()?;
    let follow = |pair: &[RunRef]| pair[0].next_offset == pair[1].base_offset;
    match runs.windows(2).find(|pair| !follow(pair)) {
        None => Ok(runs),
        Some(pair) => Err(FormatError::Impossible {
            field: "base offset of a run",
            value: pair[1].base_offset.to_string(),
        }),
    }
}

fn decode_run(fields: &mut Decoder<'_>, names: &[ObjectName]) -> Result<RunRef, FormatError> {
    let number = fields.u32("name index")?;
    let impossible = |field, value: String| FormatError::Impossible { field, value };
    let object = names.get(number as usize).ok_or_else(|| impossible("name index", number.to_string()))?;
    let (start, end) = (fields.u64("object range start")?, fields.u64("object range end")?);
    if start > end {
        return Err(impossible("object range", format!("{start}..{end}")));
    }
    let run = RunRef {
        object: object.clone(),
        object_range: start..end,
        checksum: fields.u32("run checksum")?,
        key_id: fields.key_id()?,
        base_offset: fields.offset("base offset")?,
        next_offset: fields.offset("next offset")?,
        base_timestamp: fields.i64("base timestamp")?,
        max_timestamp: fields.i64("max timestamp")?,
        billable_bytes: ByteCount::new(fields.u64("billable bytes")?),
        max_slot_time: fields.time("max slot time")?,
        slot_epoch: fields.slot_epoch()?,
    };
    if run.base_offset < run.next_offset {
        return Ok(run);
    }
    Err(impossible("next offset", run.next_offset.to_string()))
}
