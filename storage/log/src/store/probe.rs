//! The start-up probe: write, read back, delete.

use bytes::Bytes;

use crate::object::ObjectName;
use crate::store::{Store, StoreError, StoreOpenError};

const CONTENT: &[u8] = b"headgate start-up probe; safe to delete\n";

pub(super) async fn probe(store: &Store, random: u64) -> Result<(), StoreOpenError> {
    let failed = |step: &'static str, reason: String| StoreOpenError::Probe {
        place: store.place().to_owned(),
        step,
        reason,
    };
    let name = ObjectName::parse(&format!("probe/{random:016x}")).expect("hexadecimal digits make a name");
    let put = store.put(&name, vec![Bytes::from_static(CONTENT)]).await;
    put.map_err(|error| failed("writing", advice(&error)))?;
    let read = store.get(&name).await.map_err(|error| failed("reading back", advice(&error)))?;
    if read != CONTENT {
        return Err(failed("reading back", format!("{} other bytes came back", read.len())));
    }
    store.delete(&name).await.map_err(|error| failed("deleting", advice(&error)))
}

/// Adds what to look at to the store's own words.
fn advice(error: &StoreError) -> String {
    match error {
        StoreError::Refused { .. } => {
            format!(
                "{error} (check the bucket's name, the credentials and the permissions to put, get and delete)"
            )
        }
        StoreError::Unavailable { .. } => {
            format!("{error} (check the endpoint, the network and the free space)")
        }
        StoreError::NotFound { .. } | StoreError::Short { .. } => error.to_string(),
    }
}
