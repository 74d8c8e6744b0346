//! What the autoscaler remembers between two decisions; everything else it derives from the window.

use headgate_metadata::id::TimestampMs;
use serde::{Deserialize, Serialize};

/// The outcome of earlier decisions. A caller that restarts with only `desired` known loses no more than cooldowns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalerState {
    /// How many nodes were asked for last.
    pub desired: u32,
    /// When nodes were last added, for whatever reason.
    pub grown_at: Option<TimestampMs>,
    /// When nodes were last removed.
    pub shrunk_at: Option<TimestampMs>,
    /// When the emergency rule last acted.
    pub emergency_at: Option<TimestampMs>,
}

impl ScalerState {
    /// The state of a fleet that has `desired` nodes and no history.
    pub const fn new(desired: u32) -> Self {
        Self { desired, grown_at: None, shrunk_at: None, emergency_at: None }
    }

    /// When the number of nodes last changed in either direction.
    pub fn changed_at(&self) -> Option<TimestampMs> {
        self.grown_at.max(self.shrunk_at)
    }
}
