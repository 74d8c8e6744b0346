//! The coordinator of consumer groups: the classic protocol (JoinGroup, SyncGroup) and committed offsets.
//!
//! A group lives in the slot its id hashes to. [`Group`] is its state machine, without I/O and without a clock of its own;
//! [`Coordinator`] holds the groups of a node, gives them time and takes their changes to the slot's log. Source of the
//! protocol: Apache Kafka's classic group coordinator, KIP-62, KIP-345 (static members), KIP-394 (member ids), KIP-814.
//!
//! Invariants:
//! - Only completed generations, offsets and deletions are logged (`storage/PROTOCOL.md` §12); heartbeats and join phases are not.
//! - State changes when a record is *submitted*; an answer leaves only when the last record it depends on is committed (§2.4).
//! - After a change of owner the members of the last completed generation are restored with their session timers in full (§5).

mod calls;
mod coordinator;
mod deadlines;
mod machine;
mod member;
mod offsets;
mod records;

pub use coordinator::{Coordinator, GroupLimits};
pub use machine::Group;

#[cfg(test)]
mod tests;
