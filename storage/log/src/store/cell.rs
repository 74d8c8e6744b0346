//! `cell.json`: which cell a store belongs to (`storage/PROTOCOL.md` §6.7).
//!
//! ```json
//! {"format": 1, "cell": "k3jf9x2a", "slots": 64, "hash": "xxh3-64"}
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::object::ObjectName;
use crate::store::{Store, StoreError};

const NAME: &str = "cell.json";

/// What must agree between the metadata store and the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellIdentity {
    /// The number of the formats this crate writes: [`CellIdentity::FORMAT`].
    pub format: u32,
    /// The cell's random name.
    pub cell: String,
    /// The number of slots.
    pub slots: u16,
    /// Which hash places ids into slots.
    pub hash: String,
}

impl CellIdentity {
    /// The number of the present formats.
    pub const FORMAT: u32 = 1;
}

/// Why the store is not this cell's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellRefused {
    /// It belongs to another cell, or to one of other settings. Use another bucket or prefix, or the right data
    /// directory.
    #[error("object store {place} belongs to {found}, this is {own}")]
    Foreign {
        /// The store.
        place: String,
        /// Whose it is.
        found: String,
        /// Who asked.
        own: String,
    },
    /// Its `cell.json` cannot be read.
    #[error("`cell.json` in {place} is damaged: {reason}")]
    Damaged {
        /// The store.
        place: String,
        /// Why.
        reason: String,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn check(store: &Store, own: &CellIdentity) -> Result<(), CellRefused> {
    let name = ObjectName::parse(NAME).expect("the name is plain");
    let place = || store.place().to_owned();
    let raw = match store.get(&name).await {
        Ok(raw) => raw,
        Err(StoreError::NotFound { .. }) => return claim(store, &name, own).await,
        Err(error) => return Err(error.into()),
    };
    let found: CellIdentity = serde_json::from_slice(&raw)
        .map_err(|error| CellRefused::Damaged { place: place(), reason: error.to_string() })?;
    if found == *own {
        return Ok(());
    }
    Err(CellRefused::Foreign { place: place(), found: describe(&found), own: describe(own) })
}

/// Two cells that claim one empty store at the same moment: the read back shows one of them that it lost.
async fn claim(store: &Store, name: &ObjectName, own: &CellIdentity) -> Result<(), CellRefused> {
    let content = serde_json::to_vec(own).expect("an identity holds nothing that JSON cannot express");
    store.put(name, vec![Bytes::from(content.clone())]).await?;
    let back = store.get(name).await?;
    if back == content {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&back).into_owned();
    Err(CellRefused::Foreign { place: store.place().to_owned(), found, own: describe(own) })
}

fn describe(cell: &CellIdentity) -> String {
    format!("cell {} (format {}, {} slots, hash {})", cell.cell, cell.format, cell.slots, cell.hash)
}
