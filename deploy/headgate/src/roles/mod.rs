//! The roles of a cell, one process each: `headgate storage`, `headgate gateway`, `headgate metering`.

pub(crate) mod cell;
mod drain;
mod observe;
pub(crate) mod settings;
pub(crate) mod storage;

use std::time::Duration;

/// How long a process is listed after it was last heard of (`storage/PROTOCOL.md` §10).
const LEASE_TTL: Duration = Duration::from_secs(5);
