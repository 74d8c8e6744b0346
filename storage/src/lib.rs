//! The storage node: it owns slots and keeps their data.
//!
//! Callers are gateways through [`headgate_storage_client::Storage`]; below are files and objects (`headgate-log`) and the
//! cell's metadata. Not here: Kafka's messages and error codes, who may do what, prices.
//! Start at [`Node`]; the way of an append is `node/storage.rs → sequencer.rs → sequencer/order.rs → partition.rs`, that of
//! a read `node/storage.rs → read.rs → partition/find.rs → cold.rs`.

mod alone;
mod batches;
mod bell;
mod cell_watch;
mod chain;
mod claim;
pub mod clock;
mod clocks;
mod cold;
mod compaction;
pub mod config;
mod decode;
mod ensemble;
mod fatal;
mod fleet;
mod flush_plan;
mod flusher;
mod gate;
pub mod group;
mod housekeeping;
mod metrics;
mod mirrors;
mod moving;
mod node;
mod objects;
mod offsets;
mod open;
mod opener;
mod operation;
mod outbox;
mod pace;
mod partition;
pub mod peer;
pub mod planted;
mod producer_ids;
mod producer_state;
mod queue;
pub mod quota;
mod random;
mod read;
mod readiness;
pub mod rebuild;
mod recoverer;
mod recovery;
mod relief;
mod rendezvous;
mod revision_guard;
mod room;
mod seal;
mod sequencer;
mod serve;
mod slot;
pub mod slot_time;
mod slots;
mod spawn;
mod start_error;
pub mod state_log;
mod steward;
mod tail;
mod topics;
pub mod usage;
mod waiting;

pub use clocks::Clocks;
pub use fatal::Fatal;
pub use fleet::{Fleet, Member};
pub use flusher::FlushFault;
pub use metrics::Metrics;
pub use mirrors::{MirrorParts, Mirrors};
pub use node::{Node, NodeParts};
pub use random::Random;
pub use room::{FreeSpace, system_free_space};
pub use serve::{ProcessService, StorageService};
pub use start_error::StartError;
pub use usage::{ClusterUsage, PartitionUsage};
