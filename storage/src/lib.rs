//! The storage node: it owns slots and keeps their data.
//!
//! Callers are gateways through [`headgate_storage_client::Storage`]; below are files and objects (`headgate-log`) and the
//! cell's metadata. Not here: Kafka's messages and error codes, who may do what, prices.
//! Start at [`Node`]; the way of an append is `node/storage.rs → sequencer.rs → sequencer/order.rs → partition.rs`, that of
//! a read `node/storage.rs → read.rs → partition/find.rs → cold.rs`.

mod batches;
mod chain;
mod claim;
pub mod clock;
mod cold;
pub mod config;
mod decode;
mod fatal;
mod flush_plan;
mod flusher;
mod gate;
pub mod group;
mod housekeeping;
mod metrics;
mod node;
mod objects;
mod offsets;
mod open;
mod operation;
mod pace;
mod partition;
mod producer_ids;
mod producer_state;
mod queue;
pub mod quota;
mod random;
mod read;
mod recovery;
mod revision_guard;
mod room;
mod seal;
mod sequencer;
mod slot;
pub mod slot_time;
mod slots;
mod spawn;
mod start_error;
pub mod state_log;
mod tail;
mod topics;
mod usage;
mod waiting;

pub use fatal::Fatal;
pub use flusher::FlushFault;
pub use metrics::Metrics;
pub use node::{Node, NodeParts};
pub use random::Random;
pub use room::{FreeSpace, system_free_space};
pub use start_error::StartError;
pub use usage::{ClusterUsage, PartitionUsage};
