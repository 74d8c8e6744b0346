//! The settings of the control API.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use headgate_metadata::id::AccountId;
use serde::{Deserialize, Deserializer};

/// Numbers and names an operator turns. Durations are read as milliseconds, under names that say so.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// The AWS region name this cell answers for: part of every ARN and of every accepted signature.
    #[serde(skip)]
    pub region: String,
    /// The number of slots of the cell, from which a new cluster gets its set.
    #[serde(skip)]
    pub cell_slots: u16,
    /// The listener ports that clusters are given; `None` where clusters are reached by name.
    #[serde(skip)]
    pub cluster_ports: Option<RangeInclusive<u16>>,
    /// The account whose users may set quotas, of clusters of all accounts; `None` = nobody may.
    pub operator_account: Option<AccountId>,
    /// The longest request body. Default 1 MiB; higher: a stranger can make the process hold more memory; lower: big
    /// policies are refused.
    pub request_bytes_max: usize,
    /// Bytes of request bodies held at once. Default 64 MiB; higher: strangers can make the process hold more memory;
    /// lower: big requests of different callers wait for each other.
    pub in_flight_bytes_max: usize,
    /// Connections at once. Default 1,024; higher: more descriptors and memory for strangers; lower: tools wait.
    pub connections_max: usize,
    /// Requests per second from one source address, counted before anything is verified. Default 500.
    /// Higher: a stranger costs more CPU; lower: many tools behind one address slow each other.
    pub source_requests_per_second: NonZeroU32,
    /// Requests per second of one principal. Default 200. Higher: one caller can keep the metadata store busier; lower:
    /// automation waits and retries.
    pub principal_requests_per_second: NonZeroU32,
    /// How long a request's head and body may take to arrive, each. Default 10 s.
    /// Higher: slow sockets are held longer; lower: bad links fail.
    #[serde(rename = "receive_ms_max", deserialize_with = "milliseconds")]
    pub receive_max: Duration,
    /// How long connections get to finish when the server stops. Default 10 s.
    #[serde(rename = "drain_ms_max", deserialize_with = "milliseconds")]
    pub drain_max: Duration,
    /// How long a new cluster may take to become reachable before it is `FAILED`. Default 60 s.
    /// Higher: a cluster that will never work looks as if it might; lower: a busy process fails clusters that would work.
    #[serde(rename = "cluster_creation_ms_max", deserialize_with = "milliseconds")]
    pub cluster_creation_max: Duration,
    /// How long a deleted cluster stays `DELETING` before its topics, groups and data are removed. Default 30 s. Higher: its
    /// name, port and data are held longer; lower: less time for every gateway to end its connections first.
    #[serde(rename = "cluster_removal_delay_ms", deserialize_with = "milliseconds")]
    pub cluster_removal_delay: Duration,
    /// How long credentials of a role last at most, whatever was asked for and the role allows. Default 12 h, the longest
    /// that can be asked for. Higher: no use; lower: a stolen credential is worth less, and clients authenticate more often.
    #[serde(rename = "role_session_ms_max", deserialize_with = "milliseconds")]
    pub role_session_max: Duration,
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidControlConfig {
    /// ARNs need a region.
    #[error("the region is empty")]
    NoRegion,
    /// A cluster needs as many slots as its set has.
    #[error("the cell has {cell_slots} slots, a cluster needs {needed}")]
    TooFewSlots {
        /// What the cell has.
        cell_slots: u16,
        /// What a cluster needs.
        needed: u16,
    },
    /// Nothing could be sent or connected.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// A request that may be sent could never be read.
    #[error("request_bytes_max is {request}, more than in_flight_bytes_max, {in_flight}")]
    RequestBeyondInFlight {
        /// The longest request.
        request: usize,
        /// What all together may hold.
        in_flight: usize,
    },
    /// The port range holds no port.
    #[error("the range of cluster ports is empty")]
    NoPorts,
    /// A listener that others can reach needs TLS.
    #[error("the control API listens on {0}, which is not a loopback address, without TLS")]
    PlaintextOffLoopback(IpAddr),
}

impl Default for ControlConfig {
    /// The defaults for no cell: region and slots are still to be said.
    fn default() -> Self {
        let per_second = |rate: u32| NonZeroU32::new(rate).expect("the defaults are not zero");
        Self {
            region: String::new(),
            cell_slots: 0,
            cluster_ports: None,
            operator_account: None,
            request_bytes_max: 1 << 20,
            in_flight_bytes_max: 64 << 20,
            connections_max: 1_024,
            source_requests_per_second: per_second(500),
            principal_requests_per_second: per_second(200),
            receive_max: Duration::from_secs(10),
            drain_max: Duration::from_secs(10),
            cluster_creation_max: Duration::from_mins(1),
            cluster_removal_delay: Duration::from_secs(30),
            role_session_max: Duration::from_hours(12),
        }
    }
}

impl ControlConfig {
    /// The defaults for a cell.
    pub fn new(region: impl Into<String>, cell_slots: u16) -> Self {
        Self { region: region.into(), cell_slots, ..Self::default() }
    }

    /// Rejects settings that cannot work.
    pub fn validate(&self) -> Result<(), InvalidControlConfig> {
        let needed = headgate_storage_client::routing::SLOT_SET_SIZE;
        if self.region.is_empty() {
            return Err(InvalidControlConfig::NoRegion);
        }
        if self.cell_slots < needed {
            return Err(InvalidControlConfig::TooFewSlots { cell_slots: self.cell_slots, needed });
        }
        if self.request_bytes_max == 0 {
            return Err(InvalidControlConfig::Zero("request_bytes_max"));
        }
        let (request, in_flight) = (self.request_bytes_max, self.in_flight_bytes_max);
        if request > in_flight {
            return Err(InvalidControlConfig::RequestBeyondInFlight { request, in_flight });
        }
        if self.connections_max == 0 {
            return Err(InvalidControlConfig::Zero("connections_max"));
        }
        if self.receive_max.is_zero() {
            return Err(InvalidControlConfig::Zero("receive_max"));
        }
        if self.role_session_max.is_zero() {
            return Err(InvalidControlConfig::Zero("role_session_max"));
        }
        if self.cluster_ports.as_ref().is_some_and(RangeInclusive::is_empty) {
            return Err(InvalidControlConfig::NoPorts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ControlConfig::new("us-east-1", 64).validate(), Ok(()));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refused = |change: &dyn Fn(&mut ControlConfig)| {
            let mut config = ControlConfig::new("us-east-1", 64);
            change(&mut config);
            config.validate().expect_err("it cannot work")
        };
        assert_eq!(refused(&|config| config.region.clear()), InvalidControlConfig::NoRegion);
        let few = InvalidControlConfig::TooFewSlots { cell_slots: 4, needed: 8 };
        assert_eq!(refused(&|config| config.cell_slots = 4), few);
        let zero = InvalidControlConfig::Zero("request_bytes_max");
        assert_eq!(refused(&|config| config.request_bytes_max = 0), zero);
        let beyond = InvalidControlConfig::RequestBeyondInFlight { request: 1 << 20, in_flight: 7 };
        assert_eq!(refused(&|config| config.in_flight_bytes_max = 7), beyond);
        assert_eq!(
            refused(&|config| config.connections_max = 0),
            InvalidControlConfig::Zero("connections_max")
        );
        assert_eq!(
            refused(&|config| config.receive_max = Duration::ZERO),
            InvalidControlConfig::Zero("receive_max")
        );
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is what is refused")]
        let ports = refused(&|config| config.cluster_ports = Some(2..=1));
        assert_eq!(ports, InvalidControlConfig::NoPorts);
    }
}
