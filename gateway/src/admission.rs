//! Who may open a connection: limits on source addresses and on connections that have not authenticated
//! (`gateway/PROTOCOL.md` §6, §9).
//!
//! Only the source address and the node are charged here: a stranger who opens sockets with another cluster's name must not
//! lock that cluster out.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::GatewayConfig;
use crate::metrics::TurnedAway;

/// How long a connection that is turned away is held unread, so that a client that retries at once does no harm.
pub(crate) const TURNED_AWAY_HOLD: Duration = Duration::from_secs(1);
/// A burst is this many seconds' worth of connections.
const BURST_SECONDS: u32 = 10;
/// One name and source have at most one in so many of the handshakes under way.
const HANDSHAKE_LANE_PART: u32 = 4;

/// Connections that were turned away and are held for a moment, at most: beyond, holding them would cost the descriptors that
/// those who may come in need, so they are closed at once.
const TURNED_AWAY_MAX: usize = 4_000;

/// Admits connections.
pub(crate) struct Admission {
    turned_away: Arc<Semaphore>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
    unauthenticated: Arc<Semaphore>,
    sources: Arc<DashMap<IpAddr, u32>>,
    per_source_max: u32,
    handshakes: Arc<Semaphore>,
    /// The part of one name and source in the queue for handshakes.
    handshake_lanes: DashMap<(Option<String>, IpAddr), Weak<Semaphore>>,
    handshakes_per_lane: usize,
}

/// A turn at the key work of a TLS handshake.
#[derive(Debug)]
pub(crate) struct HandshakeTurn {
    _lane: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

/// A connection that was admitted and has not authenticated. Dropping it makes room for the next.
#[derive(Debug)]
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
    source: IpAddr,
    sources: Arc<DashMap<IpAddr, u32>>,
}

impl Admission {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let nonzero = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        let per_second = config.connections_per_source_per_second;
        let quota = Quota::per_second(nonzero(per_second))
            .allow_burst(nonzero(per_second.saturating_mul(BURST_SECONDS)));
        Self {
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            rate: RateLimiter::keyed(quota),
            unauthenticated: Arc::new(Semaphore::new(config.unauthenticated_connections_max as usize)),
            sources: Arc::default(),
            per_source_max: config.unauthenticated_connections_per_source_max,
            handshakes: Arc::new(Semaphore::new(config.handshakes_concurrent_max as usize)),
            handshake_lanes: DashMap::new(),
            handshakes_per_lane: (config.handshakes_concurrent_max / HANDSHAKE_LANE_PART).max(1) as usize,
        }
    }

    /// Admits a connection from `source`, or says which limit stands against it.
    pub(crate) fn admit(&self, source: IpAddr) -> Result<Admitted, TurnedAway> {
        let source = network_of(source);
        self.rate.check_key(&source).map_err(|_| TurnedAway::SourceRate)?;
        let permit =
            Arc::clone(&self.unauthenticated).try_acquire_owned().map_err(|_| TurnedAway::Unauthenticated)?;
        let mut open = self.sources.entry(source).or_insert(0);
        if *open >= self.per_source_max {
            return Err(TurnedAway::Source);
        }
        *open += 1;
        drop(open);
        Ok(Admitted { _permit: permit, source, sources: Arc::clone(&self.sources) })
    }

    /// A place for a connection that is turned away and held; `None` when too many are, and it is closed at once.
    pub(crate) fn hold_turned_away(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }

    /// Waits for a turn at the key work of a TLS handshake. One name and source have only a part of the turns, held or
    /// waited for, so that whoever floods one of them is not in everybody's way.
    pub(crate) async fn handshake_turn(&self, sni: Option<&str>, source: IpAddr) -> HandshakeTurn {
        const OPEN: &str = "the semaphores of handshakes are never closed";
        let lane = Arc::clone(&self.handshake_lane(sni, source)).acquire_owned().await.expect(OPEN);
        let turn = Arc::clone(&self.handshakes).acquire_owned().await.expect(OPEN);
        HandshakeTurn { _lane: lane, _turn: turn }
    }

    fn handshake_lane(&self, sni: Option<&str>, source: IpAddr) -> Arc<Semaphore> {
        let key = (sni.map(str::to_owned), network_of(source));
        let mut entry = self.handshake_lanes.entry(key).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let lane = Arc::new(Semaphore::new(self.handshakes_per_lane));
            *entry = Arc::downgrade(&lane);
            lane
        })
    }

    /// Forgets sources that have been quiet.
    pub(crate) fn forget_quiet(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
        self.handshake_lanes.retain(|_, lane| lane.strong_count() > 0);
    }
}

/// One subscriber has a whole /64 of IPv6 addresses.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(mut open) = self.sources.get_mut(&self.source) {
            *open -= 1;
        }
        self.sources.remove_if(&self.source, |_, open| *open == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(all: u32, per_source: u32) -> Admission {
        Admission::new(&GatewayConfig {
            unauthenticated_connections_max: all,
            unauthenticated_connections_per_source_max: per_source,
            connections_per_source_per_second: 1,
            ..GatewayConfig::default()
        })
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn one_source_cannot_take_all_places() {
        let admission = admission(3, 2);
        let _held = (admission.admit(source(1)), admission.admit(source(1)));
        assert_eq!(admission.admit(source(1)).err(), Some(TurnedAway::Source));
        let _other = admission.admit(source(2)).expect("another source has room");
        assert_eq!(admission.admit(source(3)).err(), Some(TurnedAway::Unauthenticated));
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_authenticated_or_gone() {
        let admission = admission(1, 1);
        drop(admission.admit(source(1)).expect("room"));
        assert!(admission.sources.is_empty());
        assert!(admission.admit(source(1)).is_ok());
    }

    #[test]
    fn new_connections_beyond_the_burst_are_turned_away_by_source() {
        let admission = admission(100, 100);
        for _ in 0..BURST_SECONDS {
            assert!(admission.admit(source(1)).is_ok());
        }
        assert_eq!(admission.admit(source(1)).err(), Some(TurnedAway::SourceRate));
        assert!(admission.admit(source(2)).is_ok());
    }

    #[test]
    fn only_so_many_connections_are_held_that_were_turned_away() {
        let admission = admission(1, 1);
        let mut held: Vec<_> = (0..TURNED_AWAY_MAX).map(|_| admission.hold_turned_away()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(admission.hold_turned_away().is_none());
        held.pop();
        assert!(admission.hold_turned_away().is_some());
    }

    #[tokio::test]
    async fn a_flood_of_one_name_and_source_leaves_turns_for_others() {
        let admission =
            Admission::new(&GatewayConfig { handshakes_concurrent_max: 4, ..GatewayConfig::default() });
        let _held = admission.handshake_turn(Some("b"), source(1)).await;
        let mut flood = Box::pin(admission.handshake_turn(Some("b"), source(1)));
        assert!(futures_util::poll!(&mut flood).is_pending(), "its part is taken");
        drop(admission.handshake_turn(Some("a"), source(1)).await);
        drop(admission.handshake_turn(Some("b"), source(2)).await);
    }

    #[test]
    fn an_address_counts_the_same_in_both_families() {
        let admission = admission(10, 1);
        let _held = admission.admit(source(1));
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
        assert_eq!(admission.admit(mapped).err(), Some(TurnedAway::Source));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let admission = admission(10, 1);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let _held = admission.admit(address("2001:db8::1"));
        assert_eq!(admission.admit(address("2001:db8::2")).err(), Some(TurnedAway::Source));
        assert!(admission.admit(address("2001:db8:0:1::1")).is_ok());
    }
}
