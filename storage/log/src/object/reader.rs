//! Reads flush objects from the store: footer, index, runs, state runs.

use std::ops::Range;

use bytes::Bytes;

use crate::checksum::crc32c;
use crate::codec::{FormatError, verify};
use crate::object::{
    FOOTER_BYTES, FlushIndex, FlushRun, Footer, ObjectName, StateEntry, StateRun, index_codec, state_run,
};
use crate::store::{Store, StoreError};

/// How much of an object's end is read at first: footer and most indexes.
const TAIL_BYTES: u64 = 64 << 10;

/// The part of an object that a copy of its index is named by; its content: object size (u64), index block, footer.
const INDEX_PART: &str = "index";

/// Why an object was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The store did not give it. `NotFound`: reload the manifest and retry (`storage/PROTOCOL.md` §8).
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its bytes are not what was written: heal from another copy, or refuse and say where.
    #[error("object `{name}` is corrupt: {error}")]
    Corrupt {
        /// The object.
        name: ObjectName,
        /// What is wrong.
        error: FormatError,
    },
}

/// Reads one flush object.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    store: Store,
    name: ObjectName,
}

impl ObjectReader {
    /// A reader of the object; nothing is requested yet.
    pub fn new(store: Store, name: ObjectName) -> Self {
        Self { store, name }
    }

    /// Reads and verifies footer and index, or their local copy: one request, or two if the index is larger than 64
    /// KiB.
    pub async fn index(&self) -> Result<FlushIndex, ObjectError> {
        if let Some(copy) = self.store.copy(&self.name, INDEX_PART)
            && let Some((size, end)) = copy.split_first_chunk::<8>()
            && let Ok(index) = decode_end(end, u64::from_le_bytes(*size))
        {
            return Ok(index);
        }
        self.stored_index().await
    }

    /// Reads and verifies footer and index from the store itself, whatever is copied: what a flusher does before it
    /// commits the object (`storage/PROTOCOL.md` §6.5).
    pub async fn stored_index(&self) -> Result<FlushIndex, ObjectError> {
        let (tail, object_bytes) = self.store.get_suffix(&self.name, TAIL_BYTES).await?;
        let footer = decode_footer(&tail, object_bytes).map_err(|error| self.corrupt(error))?;
        let tail_at = object_bytes - tail.len() as u64;
        let end = if footer.index_offset >= tail_at {
            tail.slice((footer.index_offset - tail_at) as usize..)
        } else {
            self.range(footer.index_offset..object_bytes).await?
        };
        let index = decode_end(&end, object_bytes).map_err(|error| self.corrupt(error))?;
        self.store.keep_copy(&self.name, INDEX_PART, &[&object_bytes.to_le_bytes()[..], &end].concat());
        Ok(index)
    }

    /// Reads a whole run and verifies its checksum. One request.
    pub async fn run(&self, run: &FlushRun) -> Result<Bytes, ObjectError> {
        self.check_key(run.key_id)?;
        let bytes = self.range(run.object_range.clone()).await?;
        verify("a run", run.checksum, crc32c(&bytes)).map_err(|error| self.corrupt(error))?;
        Ok(bytes)
    }

    /// Reads and verifies a state run, or its local copy; the entries come in WAL order. At most one request.
    pub async fn state_run(&self, run: &StateRun) -> Result<Vec<StateEntry>, ObjectError> {
        self.check_key(run.key_id)?;
        let part = format!("state-{}", run.object_range.start);
        let copied = self.store.copy(&self.name, &part).and_then(|copy| decode_state_run(&copy, run).ok());
        if let Some(entries) = copied {
            return Ok(entries);
        }
        let bytes = self.range(run.object_range.clone()).await?;
        let entries = decode_state_run(&bytes, run).map_err(|error| self.corrupt(error))?;
        self.store.keep_copy(&self.name, &part, &bytes);
        Ok(entries)
    }

    /// Reads bytes of the object, unverified: batches carry their own sums. One request.
    pub async fn range(&self, range: Range<u64>) -> Result<Bytes, ObjectError> {
        Ok(self.store.get_range(&self.name, range).await?)
    }

    fn check_key(&self, key: headgate_metadata::id::KeyId) -> Result<(), ObjectError> {
        if key.get() == 0 { Ok(()) } else { Err(self.corrupt(FormatError::Encrypted { key })) }
    }

    fn corrupt(&self, error: FormatError) -> ObjectError {
        ObjectError::Corrupt { name: self.name.clone(), error }
    }
}

fn decode_footer(end: &[u8], object_bytes: u64) -> Result<Footer, FormatError> {
    let raw = end.last_chunk::<FOOTER_BYTES>().ok_or(FormatError::CutOff { field: "footer" })?;
    Footer::decode(raw, object_bytes)
}

/// Reads index block and footer, which end an object of `object_bytes`.
fn decode_end(end: &[u8], object_bytes: u64) -> Result<FlushIndex, FormatError> {
    let footer = decode_footer(end, object_bytes)?;
    let block = &end[..end.len() - FOOTER_BYTES];
    verify("the index block", footer.index_checksum, crc32c(block))?;
    index_codec::decode(block, &footer)
}

fn decode_state_run(bytes: &[u8], run: &StateRun) -> Result<Vec<StateEntry>, FormatError> {
    verify("a state run", run.checksum, crc32c(bytes))?;
    state_run::decode(bytes, run.entry_count)
}
