//! Rates of requests: per source address before anything is verified, per principal behind the signature.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::ControlConfig;
use crate::error::ApiError;

/// A burst lasts this many seconds at the full rate.
const BURST_SECONDS: u32 = 2;
/// Refusals for a rate that are written down, per second; the rest is only counted. A flood would otherwise fill the disk and
/// turn the audit log's other lines out.
const TOLD_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("it is not zero");
/// Callers remembered before those who are quiet are forgotten; it bounds memory against many addresses.
const CALLERS_MAX: usize = 10_000;

pub(crate) struct Limits {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    principals: DefaultKeyedRateLimiter<String>,
    told: DefaultDirectRateLimiter,
}

impl Limits {
    pub(crate) fn new(config: &ControlConfig) -> Self {
        let quota = |rate: NonZeroU32| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_SECONDS).expect("it is not zero"));
            Quota::per_second(rate).allow_burst(burst)
        };
        Self {
            sources: RateLimiter::keyed(quota(config.source_requests_per_second)),
            principals: RateLimiter::keyed(quota(config.principal_requests_per_second)),
            told: RateLimiter::direct(Quota::per_second(TOLD_PER_SECOND)),
        }
    }

    /// Whether a refusal for a rate is to be written down.
    pub(crate) fn is_told(&self) -> bool {
        self.told.check().is_ok()
    }

    pub(crate) fn check_source(&self, source: IpAddr) -> Result<(), ApiError> {
        if self.sources.len() > CALLERS_MAX {
            self.sources.retain_recent();
        }
        self.sources
            .check_key(&network_of(source))
            .map_err(|_| ApiError::throttled("too many requests from this address"))
    }

    pub(crate) fn check_principal(&self, principal: &str) -> Result<(), ApiError> {
        if self.principals.len() > CALLERS_MAX {
            self.principals.retain_recent();
        }
        let checked = self.principals.check_key(&principal.to_owned());
        checked.map_err(|_| ApiError::throttled("too many requests of this principal"))
    }
}

/// One subscriber has a whole /64 of IPv6 addresses.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let mut config = ControlConfig::new("us-east-1", 64);
        config.source_requests_per_second = NonZeroU32::MIN;
        config.principal_requests_per_second = NonZeroU32::MIN;
        Limits::new(&config)
    }

    #[test]
    fn a_caller_over_its_rate_is_throttled_and_others_are_not() {
        let limits = limits();
        let refused = (0..10).filter(|_| limits.check_principal("a").is_err()).count();
        assert!(refused >= 7, "a burst of two passes, and time may give back one");
        assert!(limits.check_principal("b").is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_rate() {
        let network = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
