//! A gateway's settings for reaching storage nodes.

use serde::Deserialize;

const MIB: u64 = 1 << 20;

/// How a gateway reaches storage nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// Connections to each storage node, 4. A client connection always uses the same one. Higher: more sockets, smaller batches.
    /// Lower: fewer cores encrypt.
    pub connections_per_node: u32,
    /// Unanswered append bytes of one cluster at one node, 32 MiB. Higher: one tenant holds more memory here and there. Lower: its
    /// producers wait sooner.
    pub unanswered_bytes_per_cluster_max: u64,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self { connections_per_node: 4, unanswered_bytes_per_cluster_max: 32 * MIB }
    }
}

/// A combination of settings that would hang or harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteConfigError {
    /// Not even one connection, or more than any node wants.
    #[error("`connections_per_node` must be between 1 and 64")]
    Connections,
    /// Permits are counted in 32 bits.
    #[error("`unanswered_bytes_per_cluster_max` must be between 1 and 1 GiB")]
    Bytes,
}

impl RemoteConfig {
    /// Rejects what would hang or harm.
    pub fn validate(&self) -> Result<(), RemoteConfigError> {
        if !(1..=64).contains(&self.connections_per_node) {
            return Err(RemoteConfigError::Connections);
        }
        if !(1..=1024 * MIB).contains(&self.unanswered_bytes_per_cluster_max) {
            return Err(RemoteConfigError::Bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bounds_are_checked() {
        let default = RemoteConfig::default();
        assert_eq!(default.validate(), Ok(()));
        let none = RemoteConfig { connections_per_node: 0, ..default.clone() };
        assert_eq!(none.validate(), Err(RemoteConfigError::Connections));
        let huge = RemoteConfig { unanswered_bytes_per_cluster_max: 2048 * MIB, ..default };
        assert_eq!(huge.validate(), Err(RemoteConfigError::Bytes));
    }
}
