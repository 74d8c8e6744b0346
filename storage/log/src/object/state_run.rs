//! State entries, as state runs of flush objects and state objects of slots hold them.
//!
//! ```text
//! state run = entry …                in WAL order, the last of each key only
//! entry     = u8 kind, u8 has value, [8] cluster, u64 WAL position, u64 slot time, u32 key length, u32 value length,
//!             key, value
//! ```

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{ClusterId, TimestampMs, WalPosition};

use crate::codec::{Decoder, FormatError};

/// The name of a piece of a slot's state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// What it is, see [`crate::state_record`].
    pub kind: u8,
    /// The tenant it belongs to.
    pub cluster: ClusterId,
    /// Its key within kind, cluster and slot.
    pub key: Bytes,
}

/// The last upsert or tombstone of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Its name.
    pub key: StateKey,
    /// Its value; `None` = removed.
    pub value: Option<Bytes>,
    /// The WAL position of its record's header.
    pub position: WalPosition,
    /// The slot time of its record.
    pub slot_time: TimestampMs,
}

pub(super) fn encode<'a>(entries: impl IntoIterator<Item = &'a StateEntry>) -> Vec<u8> {
    let mut raw = Vec::new();
    for entry in entries {
        let value = entry.value.as_deref().unwrap_or_default();
        raw.put_u8(entry.key.kind);
        raw.put_u8(u8::from(entry.value.is_some()));
        raw.put_slice(entry.key.cluster.as_bytes());
        raw.put_u64_le(entry.position.get());
        raw.put_u64_le(entry.slot_time.get());
        raw.put_u32_le(entry.key.key.len() as u32);
        raw.put_u32_le(value.len() as u32);
        raw.put_slice(&entry.key.key);
        raw.put_slice(value);
    }
    raw
}

/// Reads the entries of a state run whose checksum was verified.
pub(super) fn decode(raw: &[u8], entry_count: u32) -> Result<Vec<StateEntry>, FormatError> {
    let mut fields = Decoder::new(raw);
    let mut entries = Vec::new();
    for _ in 0..entry_count {
        let kind = fields.u8("state kind")?;
        let has_value = fields.flag("has value")?;
        let cluster = fields.cluster()?;
        let position = fields.position("position")?;
        let slot_time = fields.time("slot time")?;
        let key_bytes = fields.u32("key length")? as usize;
        let value_bytes = fields.u32("value length")? as usize;
        let key = Bytes::copy_from_slice(fields.slice(key_bytes, "key")?);
        let value = Bytes::copy_from_slice(fields.slice(value_bytes, "value")?);
        let value = has_value.then_some(value);
        entries.push(StateEntry { key: StateKey { kind, cluster, key }, value, position, slot_time });
    }
    fields.end("a state run")?;
    Ok(entries)
}
