//! Metering: from durable usage counters and the metadata journal to a bill that anyone can recompute.
//!
//! Callers are operators' commands and the control API; below are the log's formats and the metadata store. All but
//! [`read`] is arithmetic on integers over what was read: the same inputs give the same bytes.
//! Not here: counting (the committed log does that), choosing prices (they are data).
//! Start at [`bill::Bill::compute`], and at [`read::bill`] for where its inputs come from; the formulas stand in
//! `metering/BILLING.md`.

pub mod amount;
pub mod bill;
pub mod hours;
pub mod money;
pub mod period;
pub mod price;
pub mod rate;
pub mod read;
pub mod render;
pub mod usage;
