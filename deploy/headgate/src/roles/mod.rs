//! The roles of a cell, one process each: `headgate storage`, `headgate gateway`, `headgate metering`.

mod calls;
pub(crate) mod cell;
mod drain;
pub(crate) mod gateway;
mod live_gateways;
pub(crate) mod metering;
pub(crate) mod settings;
pub(crate) mod storage;
mod zone_traffic;

use std::time::Duration;

/// How long a process is listed after it was last heard of (`storage/PROTOCOL.md` §10).
const LEASE_TTL: Duration = Duration::from_secs(5);
/// How long callers get to leave when a process stops.
const LEAVE_MAX: Duration = Duration::from_secs(5);
