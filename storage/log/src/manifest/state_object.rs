//! State objects: a slot's state as of some manifest, so that not every manifest repeats it.
//!
//! ```text
//! envelope (envelope.rs) "HGSTATE1" version 1, then: u32 count, entry …, by kind, cluster, key
//! entry = u8 kind, [8] cluster, u32 key length, key, u32 value length, value
//! ```

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use headgate_metadata::id::SlotId;

use crate::codec::{Decoder, Encode, FormatError};
use crate::envelope::Envelope;
use crate::manifest::{Manifest, StateObject};
use crate::object::{ObjectName, StateKey};

/// A delta smaller than this is never worth an object of its own.
const DELTA_BYTES_MIN: u64 = 64 << 10;

const ENTRY_BYTES_MIN: usize = 17;
const ENVELOPE: Envelope = Envelope { magic: b"HGSTATE1", version: 1, what: "state object" };

/// The stored form of a slot's state.
pub fn encode_state(slot: SlotId, state: &BTreeMap<StateKey, Bytes>) -> Bytes {
    let mut raw = ENVELOPE.begin(slot);
    raw.put_u32_le(state.len() as u32);
    for (key, value) in state {
        encode_key(&mut raw, key);
        raw.put_bytes_with_length(value);
    }
    Envelope::seal(raw)
}

/// Reads the state of `slot`; any wrong byte is an error.
pub fn decode_state(raw: &[u8], slot: SlotId) -> Result<BTreeMap<StateKey, Bytes>, FormatError> {
    let (found, mut fields) = ENVELOPE.open(raw)?;
    if found != slot {
        return Err(FormatError::Impossible { field: "slot", value: found.to_string() });
    }
    let count = fields.count(ENTRY_BYTES_MIN, "state count")?;
    let mut state = BTreeMap::new();
    for _ in 0..count {
        let key = decode_key(&mut fields)?;
        state.insert(key, fields.bytes("state value")?);
    }
    fields.end("a state object")?;
    Ok(state)
}

pub(super) fn encode_key(raw: &mut Vec<u8>, key: &StateKey) {
    raw.put_u8(key.kind);
    raw.put_slice(key.cluster.as_bytes());
    raw.put_bytes_with_length(&key.key);
}

pub(super) fn decode_key(fields: &mut Decoder<'_>) -> Result<StateKey, FormatError> {
    let kind = fields.u8("state kind")?;
    let cluster = fields.cluster()?;
    Ok(StateKey { kind, cluster, key: fields.bytes("state key")? })
}

pub(super) fn rewrite_due(manifest: &Manifest) -> bool {
    let sizes = manifest.state_delta.iter();
    let delta: usize = sizes.map(|(key, value)| key.key.len() + value.as_ref().map_or(0, Bytes::len)).sum();
    let base = manifest.state_object.as_ref().map_or(0, |object| object.bytes);
    delta as u64 > DELTA_BYTES_MIN.max(base / 4)
}

pub(super) fn replace(manifest: &mut Manifest, base: BTreeMap<StateKey, Bytes>, name: ObjectName) -> Bytes {
    let state = merged(base, &std::mem::take(&mut manifest.state_delta));
    let raw = encode_state(manifest.slot, &state);
    let object = StateObject { name, bytes: raw.len() as u64 };
    let former = manifest.state_object.replace(object);
    manifest.garbage.extend(former.map(|object| object.name));
    raw
}

pub(super) fn merged(
    base: BTreeMap<StateKey, Bytes>,
    delta: &BTreeMap<StateKey, Option<Bytes>>,
) -> BTreeMap<StateKey, Bytes> {
    let mut state = base;
    for (key, value) in delta {
        match value {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
    }
    state
}
