//! Reads manifests, and the objects they name, from the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use headgate_metadata::id::{PartitionKey, SlotId};

use crate::codec::FormatError;
use crate::manifest::{ListRef, Manifest, RunRef, decode_list, decode_state};
use crate::object::{ObjectError, ObjectName, StateKey};
use crate::store::Store;

/// Reads a slot's manifest. One request.
pub async fn load_manifest(store: &Store, name: &ObjectName, slot: SlotId) -> Result<Manifest, ObjectError> {
    let raw = store.get(name).await?;
    let manifest = Manifest::decode(&raw).map_err(|error| corrupt(name, error))?;
    if manifest.slot == slot {
        return Ok(manifest);
    }
    let error = FormatError::Impossible { field: "slot", value: manifest.slot.to_string() };
    Err(corrupt(name, error))
}

/// Reads the state object a manifest names; empty if it names none. At most one request.
pub async fn load_state(
    store: &Store,
    manifest: &Manifest,
) -> Result<BTreeMap<StateKey, Bytes>, ObjectError> {
    let Some(object) = &manifest.state_object else { return Ok(BTreeMap::new()) };
    let raw = store.get(&object.name).await?;
    decode_state(&raw, manifest.slot).map_err(|error| corrupt(&object.name, error))
}

/// Reads the runs of a list object. One request.
pub async fn load_list(
    store: &Store,
    partition: &PartitionKey,
    list: &ListRef,
) -> Result<Vec<RunRef>, ObjectError> {
    let raw = store.get(&list.object).await?;
    let (_, found, runs) = decode_list(&raw).map_err(|error| corrupt(&list.object, error))?;
    if found == *partition {
        return Ok(runs);
    }
    Err(corrupt(&list.object, FormatError::Impossible { field: "partition", value: found.to_string() }))
}

fn corrupt(name: &ObjectName, error: FormatError) -> ObjectError {
    ObjectError::Corrupt { name: name.clone(), error }
}
