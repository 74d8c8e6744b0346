//! The cell's metadata: who exists, who owns what, and which objects count.
//!
//! Callers are every other crate; nothing of the project is below. Two things live here: the identities and
//! quantities everybody speaks in ([`id`]), and the records of the cell with the store that keeps them.
//! Not here: record data, Kafka messages, who may do what (`headgate-iam` evaluates; here the policies only stand).
//! Start at [`store::MetadataStore`]; what is kept is drawn in [`record`].

mod attempt;
pub mod audit;
pub mod catalog;
pub mod clusters;
pub mod counters;
pub mod embedded;
mod follow;
pub mod id;
pub mod journal;
pub mod keys;
pub mod principals;
pub mod quota;
pub mod quotas;
pub mod record;
pub mod store;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod users;
