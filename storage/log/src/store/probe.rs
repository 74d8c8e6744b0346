//! The start-up probe: write, read back, delete.

use bytes::Bytes;

use crate::object::ObjectName;
use crate::store::{Store, StoreError, StoreOpenError};

const CONTENT: &[u8] = b"headgate start-up probe; safe to delete\n";

pub(super) async fn probe(store: &Store, random: u64) -> Result<(), StoreOpenError> {
    let broken = |step: &'static str, reason: String, away: bool| StoreOpenError::Probe {
        place: store.place().to_owned(),
        step,
        reason,
        away,
    };
    let failed = |step: &'static str, error: &StoreError| {
        broken(step, advice(error), matches!(error, StoreError::Unavailable { .. }))
    };
    let name = ObjectName::parse(&format!("probe/{random:016x}")).expect("hexadecimal digits make a name");
    let put = store.put(&name, vec![Bytes::from_static(CONTENT)]).await;
    put.map_err(|error| failed("writing", &error))?;
    let read = store.get(&name).await.map_err(|error| failed("reading back", &error))?;
    if read != CONTENT {
        return Err(broken("reading back", format!("{} other bytes came back", read.len()), false));
    }
    store.delete(&name).await.map_err(|error| failed("deleting", &error))
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
