//! Metering: from durable usage counters and the metadata journal to a bill that anyone can recompute.
//!
//! Callers hand over what was read (usage marks, live counters, journal records); below are only the identities and
//! records of `headgate-metadata`. Everything here is arithmetic on integers: the same inputs give the same bytes.
//! Not here: counting (the committed log does that), reading manifests, choosing prices (they are data).
//! Start at [`bill::Bill::compute`]; the formulas stand in `metering/BILLING.md`.

pub mod amount;
pub mod bill;
pub mod hours;
pub mod money;
pub mod period;
pub mod price;
pub mod rate;
pub mod render;
pub mod usage;
