//! The object store as this project uses it: whole puts under unique names, range reads, deletes.
//!
//! No conditional writes and no listing decide anything (`storage/PROTOCOL.md` §1, §8), so any S3 server and a local
//! directory serve alike. A put may be repeated at will: its name is its own.

mod cell;
mod copies;
mod error;
#[cfg(any(test, feature = "faults"))]
mod faulty;
mod open;
mod probe;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload};

pub use cell::{CellIdentity, CellRefused};
pub use copies::CopiesConfig;
pub use error::{StoreError, StoreOpenError};
#[cfg(any(test, feature = "faults"))]
pub use faulty::{Fault, FaultyObjects, StoreCall};
pub use open::{Secret, StoreOptions};

use crate::disk::{Disk, DiskError};
use crate::object::ObjectName;
use crate::store::copies::Copies;

/// A handle on the store below one prefix; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: StorePath,
    place: Arc<str>,
    copies: Option<Arc<Copies>>,
}

/// An object that a listing showed. Listings find candidates; they never decide (`storage/PROTOCOL.md` §8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name.
    pub name: ObjectName,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, ms since the Unix epoch.
    pub modified_ms: i64,
}

impl Store {
    /// Opens `file:///absolute/path` (created if missing; every put is synced) or `s3://bucket/prefix`. Asks the store
    /// nothing yet: see [`Store::probe`].
    pub fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreOpenError> {
        open::open(url, options)
    }

    /// Wraps any store; `place` names it in errors.
    pub fn from_objects(inner: Arc<dyn ObjectStore>, prefix: &str, place: &str) -> Self {
        Self { inner, prefix: StorePath::from(prefix), place: place.into(), copies: None }
    }

    /// Keeps local copies of small objects below `dir`: manifests, state and list objects, flush indexes and state
    /// runs, put or read. What is copied is read without the store, also through its outage (`storage/PROTOCOL.md`
    /// §5). Reading and writing a copy blocks for a small file; a copy that fails costs a request, never an error.
    /// Needless before a local directory.
    pub fn with_copies(
        self,
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: CopiesConfig,
    ) -> Result<Self, DiskError> {
        let copies = Some(Arc::new(Copies::open(disk, dir, config)?));
        Ok(Self { copies, ..self })
    }

    /// The store's own name, for people: its URL.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Writes, reads back and deletes a small object; the error says which step failed and why (`storage/PROTOCOL.md`
    /// §6.7).
    pub async fn probe(&self, random: u64) -> Result<(), StoreOpenError> {
        probe::probe(self, random).await
    }

    /// Checks that the store belongs to this cell, or claims an unclaimed one, through `cell.json`
    /// (`storage/PROTOCOL.md` §6.7).
    pub async fn check_cell(&self, cell: &CellIdentity) -> Result<(), CellRefused> {
        cell::check(self, cell).await
    }

    /// Puts an object of the given consecutive parts. Durable on return; repeat it at will after an error.
    pub async fn put(&self, name: &ObjectName, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let payload = parts.iter().cloned().collect::<PutPayload>();
        let put = self.inner.put(&self.path(name), payload).await;
        put.map_err(|error| self.error("put", name.as_str(), &error))?;
        if Copies::takes_whole(name) {
            self.keep_copy(name, "", &parts.concat());
        }
        Ok(())
    }

    /// Reads a whole object.
    pub async fn get(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        let keep = Copies::takes_whole(name);
        if let Some(copy) = keep.then(|| self.copy(name, "")).flatten() {
            return Ok(copy);
        }
        let (bytes, _) = self.fetch(name, GetOptions::default()).await?;
        if keep {
            self.keep_copy(name, "", &bytes);
        }
        Ok(bytes)
    }

    /// Reads exactly `range`; an object that ends inside it is an error.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let expected = range.end.saturating_sub(range.start);
        if expected == 0 {
            return Ok(Bytes::new());
        }
        let bytes = self.get_range_at_most(name, range).await?;
        if bytes.len() as u64 == expected {
            return Ok(bytes);
        }
        let name = name.to_string();
        Err(StoreError::Short { name, place: self.place.to_string(), expected, found: bytes.len() as u64 })
    }

    /// Reads `range` as far as the object goes; it must not begin at or after its end.
    pub async fn get_range_at_most(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        self.fetch(name, options).await.map(|(bytes, _)| bytes)
    }

    /// Reads the last `length` bytes, or all if there are fewer, and the object's size.
    pub async fn get_suffix(&self, name: &ObjectName, length: u64) -> Result<(Bytes, u64), StoreError> {
        let options = GetOptions { range: Some(GetRange::Suffix(length)), ..GetOptions::default() };
        self.fetch(name, options).await
    }

    /// Deletes an object; fine if it does not exist.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.forget_copies(name);
        match self.inner.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("delete", name.as_str(), &error)),
        }
    }

    /// Drops the local copies of an object and of its parts, if there are any.
    pub fn forget_copies(&self, name: &ObjectName) {
        if let Some(copies) = &self.copies {
            copies.forget(name);
        }
    }

    /// Lists the objects whose names begin with the path `prefix`, e.g. `flush`. Foreign names are ignored.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let path = self.prefix.parts().chain(StorePath::from(prefix).parts()).collect::<StorePath>();
        let listed: Vec<_> = self
            .inner
            .list(Some(&path))
            .try_collect()
            .await
            .map_err(|error| self.error("list", prefix, &error))?;
        let own = |location: &StorePath| {
            let below: Vec<String> =
                location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
            ObjectName::parse(&below.join("/")).ok()
        };
        Ok(listed
            .iter()
            .filter_map(|meta| {
                let name = own(&meta.location)?;
                Some(ListedObject {
                    name,
                    bytes: meta.size,
                    modified_ms: meta.last_modified.timestamp_millis(),
                })
            })
            .collect())
    }

    /// The local copy of a part of an object.
    pub(crate) fn copy(&self, name: &ObjectName, part: &str) -> Option<Bytes> {
        self.copies.as_ref()?.load(name, part)
    }

    /// Keeps a local copy of a part of an object.
    pub(crate) fn keep_copy(&self, name: &ObjectName, part: &str, content: &[u8]) {
        if let Some(copies) = &self.copies {
            copies.keep(name, part, content);
        }
    }

    async fn fetch(&self, name: &ObjectName, options: GetOptions) -> Result<(Bytes, u64), StoreError> {
        let refused = |error| self.error("get", name.as_str(), &error);
        let result = self.inner.get_opts(&self.path(name), options).await.map_err(refused)?;
        let size = result.meta.size;
        let bytes = result.bytes().await.map_err(refused)?;
        Ok((bytes, size))
    }

    fn path(&self, name: &ObjectName) -> StorePath {
        let own = StorePath::from(name.as_str());
        self.prefix.parts().chain(own.parts()).collect()
    }

    fn error(&self, operation: &'static str, name: &str, error: &object_store::Error) -> StoreError {
        StoreError::of(operation, name, &self.place, error)
    }
}

#[cfg(test)]
mod tests;
