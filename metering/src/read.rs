//! Reading usage and bills from what is stored: metadata, objects and the WAL's unflushed rest.
//!
//! [`slot_usages`] replays without a running process and without writing anything: each slot's manifest, the flush indexes
//! above it, and an index of what is not flushed yet, folded by the log's own fold (`storage/PROTOCOL.md` §6.3, §7). So the
//! figures are those a process would come to at its next start. [`bill_from`] makes the bill, of these or of a running
//! process's counters: both go through [`slot_usage`], so both give the same bytes.

mod bill;
mod cell;
mod error;
mod stretch;
mod usage;

pub use bill::{BillRequest, bill, bill_from, find_cluster};
pub use error::{ReadBillError, ReadUsageError};
pub use usage::{slot_usage, slot_usages};
