//! The bytes of the storage node: WAL chunks, flush objects, manifests, and the object store they end in.
//!
//! Callers are the storage node (sequencer, flusher, recovery) and metering, which reads manifests; below are files,
//! the object store and the cell's identities. Every format is drawn in its module, little-endian, versioned and
//! self-checking, and pinned by a golden-byte test (`storage/PROTOCOL.md` §2, §6, §7, §14). Not here: who may write,
//! what is committed, which object counts (the node and the metadata store decide), and Kafka's record format, of
//! which only the place of a batch's checksum is known (see [`batch_frame`]). Start at [`wal::WalWriter`] for the way
//! in, [`object::build_flush`] and [`manifest::fold`] for the way down.

pub mod backoff;
pub mod batch_frame;
pub mod block_cache;
pub mod checksum;
pub mod codec;
pub mod disk;
mod envelope;
#[cfg(test)]
mod fixture;
pub mod manifest;
pub mod object;
pub mod state_record;
pub mod store;
pub mod usage;
pub mod wal;
