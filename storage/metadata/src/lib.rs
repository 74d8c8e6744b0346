//! The cell's metadata: who exists, who owns what, and which objects count.
//!
//! Callers are every other crate; nothing of the project is below. Two things live here: the identities and
//! quantities everybody speaks in ([`id`]), and the records of the cell with the store that keeps them.
//! Not here: record data, Kafka messages, who may do what (`headgate-iam` evaluates; here the policies only stand).
//! Start at [`store::MetadataStore`]; what is kept is drawn in [`record`].

mod attempt;
pub mod audit;
pub mod catalog;
pub mod client_quota;
pub mod client_quotas;
pub mod cluster_policies;
pub mod clusters;
pub mod counters;
pub mod embedded;
pub mod etcd;
mod follow;
pub mod groups;
pub mod guarded;
mod history;
pub mod id;
pub mod identities;
pub mod journal;
pub mod key_uses;
pub mod keys;
mod lease;
mod limits;
pub mod live;
pub mod managed_policies;
pub mod principals;
pub mod quota;
pub mod quotas;
pub mod record;
#[cfg(any(test, feature = "simulation"))]
pub mod simulated;
pub mod slot_owners;
mod spawn;
pub mod store;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod users;
