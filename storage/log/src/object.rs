//! Flush objects: committed bytes of one WAL, rewritten sorted by slot, cluster, topic and partition
//! (`storage/PROTOCOL.md` §6.1, §6.2).
//!
//! ```text
//! object = run … run, state run … state run, index block (index.rs), footer (footer.rs)
//! run    = contiguous batches of one partition under one slot epoch, byte for byte as they are served
//! ```
//!
//! Invariants: an object says by itself what it holds (WAL, start, end); its index is enough to fold a manifest,
//! together with its state runs; every byte of it is covered by a CRC-32C that its index or footer holds.

mod compacted;
mod flush;
mod footer;
mod index;
mod index_codec;
mod name;
mod reader;
mod run_builder;
mod state_run;

pub use compacted::{CompactedBatch, CompactedRun, build_compacted};
pub use flush::{FlushError, FlushObject, build_flush};
pub use footer::{FOOTER_BYTES, Footer};
pub(crate) use index_codec::{decode_sequenced, encode_sequenced};
pub(crate) use run_builder::remember;

pub use index::{
    AbortedInRun, FlushIndex, FlushRun, ProducerInRun, SPARSE_INDEX_BYTES, SequencedBatch, SparseEntry,
    StateRun,
};
pub use name::{ObjectName, compacted_name, flush_name, list_name, manifest_name, state_name};
pub use reader::{ObjectError, ObjectReader};
pub use state_run::{StateEntry, StateKey};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
