//! The autoscaler: how many nodes a fleet should have, decided from what its nodes measured.
//!
//! Callers hand over a window of signals and get a decision with its reason in words; below are only the identities
//! of `headgate-metadata`. Deciding is a pure function, so the simulator that replays a recorded trace runs exactly
//! what a live fleet runs.
//! Not here: reading metrics, starting or draining nodes, choosing which slot moves where, clocks of any kind.
//! Start at [`decide::decide`]; what a signal is stands in [`signal`], how it is inferred in [`load`], and
//! [`simulate::simulate`] plays a trace.

pub mod config;
pub mod decide;
pub mod forecast;
pub mod load;
pub mod reason;
pub mod signal;
pub mod simulate;
pub mod state;
pub mod window;
