//! Reading, deciding and committing under compares, again and again until nobody came between, but not for ever.

use crate::id::Revision;
use crate::record::Record;
use crate::store::{Entry, MetadataError, MetadataStore, Outcome, Transaction};

/// How often an operation is decided anew when another writer came between. Each attempt that fails means that another
/// writer succeeded, so that this many is only reached on a key that many processes fight for.
pub(crate) const ATTEMPTS_MAX: u32 = 32;

/// One value of a snapshot, decoded, with the revision it was put at.
#[derive(Debug)]
pub(crate) struct Found<R> {
    pub(crate) record: R,
    pub(crate) modified: Revision,
}

/// Decodes the only entry of a select by key.
pub(crate) fn found<R: Record>(entries: &[Entry]) -> Result<Option<Found<R>>, MetadataError> {
    entries.first().map(|entry| Ok(Found { record: decode(entry)?, modified: entry.modified })).transpose()
}

/// Decodes an entry's value; the error names the key.
pub(crate) fn decode<R: Record>(entry: &Entry) -> Result<R, MetadataError> {
    R::decode(&entry.value).map_err(|error| match error {
        MetadataError::Invalid { reason } => {
            MetadataError::Invalid { reason: format!("`{}`: {reason}", entry.key) }
        }
        other => other,
    })
}

/// Commits; `None` when another writer came between.
pub(crate) async fn commit(
    store: &dyn MetadataStore,
    transaction: Transaction,
) -> Result<Option<Revision>, MetadataError> {
    match store.commit(transaction).await? {
        Outcome::Committed(revision) => Ok(Some(revision)),
        Outcome::Refused(_) => Ok(None),
    }
}

/// The error after the last attempt.
pub(crate) fn contended(key: String) -> MetadataError {
    MetadataError::Contended { key }
}
