//! Which gateways clients are told of: those that are registered and accept connections.
//!
//! A lease tells within seconds that a gateway is gone; its closed port tells at once. Clients that are told of a dead gateway
//! wait for it in vain, and ask less and less often, so each gateway looks after the others all the time: the connection of its
//! last look stays open until the next, and ends with the process at the other end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use headgate_gateway::{GatewayAddress, Gateways, LiveGateways, LiveGatewaysTeller};
use headgate_metadata::live::LiveRecords;
use headgate_metadata::record::GatewayRecord;
use headgate_metadata::slot_owners::SlotOwners;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Between two looks at the same gateway.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// The same, when something has happened.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// The shortest time between two looks that clients' questions cause.
const LOOKS_APART: Duration = Duration::from_millis(20);
/// How long it may take to accept.
const ACCEPT_MAX: Duration = Duration::from_millis(300);
/// How long one that lived stays listed as away: Kafka's brokers stay as long, `broker.session.timeout.ms` is 9 s. Higher: admin clients
/// ask one in vain that does not come back. Lower: clients that find it missing stand still for a moment.
const AWAY_LISTED: Duration = Duration::from_secs(10);
/// After so many looks in vain it counts as gone, at once when its port is closed: clients ask where to go in the same moment.
const MISSED_MAX: u32 = 2;

/// Follows the others for ever; the receiver always lists `own`.
pub(super) fn follow(
    own: GatewayRecord,
    records: LiveRecords<GatewayRecord>,
    owners: Arc<SlotOwners>,
    tasks: &mut JoinSet<()>,
) -> LiveGateways {
    let mut zones = BTreeSet::new();
    remember_zones(&mut zones, &records.now(), &owners);
    let mut lately = Lately::default();
    let first = lately.with_away(listed(&own, &records.now(), &BTreeMap::new(), &zones));
    let (teller, live) = LiveGateways::begin(first);
    tasks.spawn(async move {
        let LiveGatewaysTeller { now: told, mut asked, looked: served } = teller;
        let mut missed: BTreeMap<String, u32> = BTreeMap::new();
        let mut changes = records.changes();
        loop {
            let (began, registered) = (Instant::now(), records.now());
            let ticket = *asked.borrow_and_update();
            remember_zones(&mut zones, &registered, &owners);
            let looked = look(&own, &registered, &missed).await;
            let mut open = Vec::with_capacity(looked.len());
            missed.clear();
            for (name, before, connection) in looked {
                missed.insert(name.clone(), before);
                open.extend(connection.map(|connection| (name, connection)));
            }
            tell(&told, lately.with_away(listed(&own, &registered, &missed, &zones)));
            served.send_replace(ticket);
            let in_doubt = missed.values().any(|missed| (1..MISSED_MAX).contains(missed));
            tokio::select! {
                biased;
                // A gateway that comes is listed at once; an error means that this process ends.
                _ = changes.changed() => {}
                // An error means that no listener is left.
                Ok(()) = asked.changed() => sleep_until(began + LOOKS_APART).await,
                () = sleep(if in_doubt { LOOK_SOON } else { LOOK_AGAIN }) => {}
                name = one_ends(&mut open) => {
                    // Its clients have lost their connections too and ask in this moment where to go: it alone is looked at, whom
                    // nobody else holds up. A gateway may also close what it has accepted, as it does with strangers in a flood.
                    let ended: Vec<_> = registered.iter().filter(|record| record.name == name).cloned().collect();
                    for (name, before, _) in look(&own, &ended, &missed).await {
                        missed.insert(name, before);
                    }
                    tell(&told, lately.with_away(listed(&own, &registered, &missed, &zones)));
                    // One that is closed as soon as it is open does not make this loop spin.
                    sleep_until(began + LOOK_SOON).await;
                }
            }
        }
    });
    live
}

/// Looks at each of the others: its name, how often it was looked at in vain, and the connection if it was not.
async fn look(
    own: &GatewayRecord,
    registered: &[GatewayRecord],
    missed: &BTreeMap<String, u32>,
) -> Vec<(String, u32, Option<TcpStream>)> {
    let mut looks = JoinSet::new();
    for record in registered.iter().filter(|record| record.name != own.name).cloned() {
        let before = missed.get(&record.name).copied().unwrap_or_default();
        looks.spawn(async move {
            match timeout(ACCEPT_MAX, TcpStream::connect((&*record.host, record.port))).await {
                Ok(Ok(connection)) => (record.name, 0, Some(connection)),
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    (record.name, MISSED_MAX, None)
                }
                _ => (record.name, before.saturating_add(1), None),
            }
        });
    }
    looks.join_all().await
}

/// Returns when one of the connections has ended, whose it was; nothing is ever sent on them.
async fn one_ends(open: &mut [(String, TcpStream)]) -> String {
    if open.is_empty() {
        return std::future::pending().await;
    }
    let ends = open.iter_mut().map(|(name, connection)| {
        Box::pin(async move {
            let mut nothing = [0_u8; 1];
            drop(connection.read(&mut nothing).await);
            name.clone()
        })
    });
    select_all(ends).await.0
}

/// Gateways by host, and when each was last seen alive.
#[derive(Debug, Default)]
struct Lately(BTreeMap<String, (GatewayAddress, Instant)>);

impl Lately {
    /// Adds those that were alive a moment ago, whether they died or left in order.
    fn with_away(&mut self, now: Gateways) -> Arc<Gateways> {
        let at = Instant::now();
        for gateway in &now.live {
            self.0.insert(gateway.host.clone(), (gateway.clone(), at));
        }
        self.0.retain(|_, (_, seen)| at.duration_since(*seen) < AWAY_LISTED);
        let seen = self.0.values().map(|(gateway, _)| gateway);
        let away =
            seen.filter(|gateway| now.live.iter().all(|live| live.host != gateway.host)).cloned().collect();
        Arc::new(Gateways { away, ..now })
    }
}

fn tell(told: &watch::Sender<Arc<Gateways>>, now: Arc<Gateways>) {
    told.send_if_modified(|told| {
        let changed = *told != now;
        *told = now;
        changed
    });
}

fn listed(
    own: &GatewayRecord,
    registered: &[GatewayRecord],
    missed: &BTreeMap<String, u32>,
    zones: &BTreeSet<String>,
) -> Gateways {
    let answers = |record: &&GatewayRecord| {
        record.name != own.name && missed.get(&record.name).is_none_or(|missed| *missed < MISSED_MAX)
    };
    let others = registered.iter().filter(answers);
    let address =
        |record: &GatewayRecord| GatewayAddress { host: record.host.clone(), zone: record.zone.clone() };
    let mut live: Vec<GatewayAddress> = others.chain([own]).map(address).collect();
    live.sort_unstable_by(|left, right| left.host.cmp(&right.host));
    Gateways { live, away: Vec::new(), zones: zones.clone() }
}

/// The fleet's zones are those of its gateways and of its storage nodes. One that was seen stays: the ids of brokers hang on it.
fn remember_zones(zones: &mut BTreeSet<String>, gateways: &[GatewayRecord], owners: &SlotOwners) {
    zones.extend(gateways.iter().map(|gateway| gateway.zone.clone()));
    zones.extend(owners.nodes().iter().map(|node| node.zone.clone()));
}

#[cfg(test)]
mod tests {
    use headgate_metadata::embedded::EmbeddedStore;
    use headgate_metadata::id::Incarnation;
    use headgate_metadata::keys;
    use headgate_metadata::record::Record as _;
    use headgate_metadata::store::{SharedStore, Transaction, Write};

    use super::*;

    fn record(name: &str, port: u16) -> GatewayRecord {
        let (incarnation, zone) = (Incarnation::new(1), "a".to_owned());
        GatewayRecord { name: name.to_owned(), incarnation, zone, host: "127.0.0.1".to_owned(), port }
    }

    #[tokio::test]
    async fn who_does_not_accept_is_missed_and_listed_no_more_and_comes_back() {
        let own = record("own", 1);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let registered = [own.clone(), record("other", address.port())];
        let mut missed = looked(&own, &registered, &BTreeMap::new()).await;
        assert_eq!(listed(&own, &registered, &missed, &BTreeSet::new()).live.len(), 2);
        drop(listener);
        missed = looked(&own, &registered, &missed).await;
        assert_eq!(listed(&own, &registered, &missed, &BTreeSet::new()).live.len(), 1, "a closed port");
        let _again = tokio::net::TcpListener::bind(address).await.expect("the port is still free");
        missed = looked(&own, &registered, &missed).await;
        assert_eq!(listed(&own, &registered, &missed, &BTreeSet::new()).live.len(), 2);
    }

    async fn looked(
        own: &GatewayRecord,
        registered: &[GatewayRecord],
        missed: &BTreeMap<String, u32>,
    ) -> BTreeMap<String, u32> {
        let looked = look(own, registered, missed).await;
        looked.into_iter().map(|(name, missed, _)| (name, missed)).collect()
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_noticed_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut open = vec![("other".to_owned(), TcpStream::connect(address).await.expect("it listens"))];
        let (accepted, _) = listener.accept().await.expect("one came");
        assert!(timeout(LOOK_SOON, one_ends(&mut open)).await.is_err(), "nothing has ended");
        drop(accepted);
        assert_eq!(one_ends(&mut open).await, "other");
    }

    async fn until(live: &mut LiveGateways, count: usize) {
        while live.now().live.len() != count {
            assert!(live.changed().await, "it is followed");
        }
    }

    /// In a flood a gateway closes what it has accepted; it lives all the same.
    #[tokio::test]
    async fn who_closes_what_it_accepts_stays_listed_until_its_port_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let other = record("other", listener.local_addr().expect("bound").port());
        let flooded = tokio::spawn(async move {
            let mut closed = 0;
            while closed < 8 {
                drop(listener.accept().await.expect("one comes"));
                closed += 1;
            }
            listener
        });
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let registered = Write::Put(format!("{}other", keys::GATEWAYS), other.encode());
        store.commit(Transaction::new().then(registered)).await.expect("memory does not fail");
        let records = LiveRecords::start(Arc::clone(&store), keys::GATEWAYS).await.expect("it answers");
        let owners = SlotOwners::start(store).await.expect("it answers");
        let mut tasks = JoinSet::new();
        let mut live = follow(record("own", 1), records, owners, &mut tasks);
        until(&mut live, 2).await;
        let listener = tokio::select! {
            biased;
            () = until(&mut live, 1) => panic!("it is listed no more"),
            listener = flooded => listener.expect("no panic"),
        };
        drop(listener);
        until(&mut live, 1).await;
    }

    #[test]
    fn the_own_gateway_is_listed_whatever_the_metadata_store_says() {
        assert_eq!(listed(&record("own", 1), &[], &BTreeMap::new(), &BTreeSet::new()).live.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_lived_a_moment_ago_is_away_for_ten_seconds() {
        let gateways = |hosts: &[&str]| {
            let address = |host: &&str| GatewayAddress { host: (*host).to_owned(), zone: "a".to_owned() };
            Gateways { live: hosts.iter().map(address).collect(), away: Vec::new(), zones: BTreeSet::new() }
        };
        let mut lately = Lately::default();
        assert_eq!(lately.with_away(gateways(&["h1", "h2"])).away, []);
        let away = lately.with_away(gateways(&["h1"]));
        assert_eq!((away.live.len(), &*away.away[0].host), (1, "h2"));
        assert_eq!(lately.with_away(gateways(&["h1", "h2"])).away, [], "it is back");
        tokio::time::advance(AWAY_LISTED).await;
        assert_eq!(lately.with_away(gateways(&["h1"])).away, []);
    }
}
