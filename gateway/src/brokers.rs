//! The brokers that answers list (`gateway/PROTOCOL.md` §1): names of the cluster where it was dialled by one, else the
//! addresses of gateways: that which was dialled, and in a fleet those of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{BrokerId, ClusterId};
use headgate_storage_client::routing;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::which_cluster::{DialledAs, HostNames, Reached};

/// The ids of a cluster's brokers; replicas and ISR always read all of them.
pub const BROKER_IDS: [BrokerId; 3] = [BrokerId::new(1), BrokerId::new(2), BrokerId::new(3)];

/// A live gateway of a fleet, as clients reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    /// The host that clients dial. Clusters' own ports are the same on every gateway.
    pub host: String,
    /// Its zone.
    pub zone: String,
}

/// The gateways of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateways {
    /// Those that live, this one included.
    pub live: Vec<GatewayAddress>,
    /// Those that lived a moment ago. They stay listed and lead nothing: a client that finds a broker missing forgets it, and with it
    /// where its partitions go, for up to two seconds (librdkafka 2.10 and later).
    pub away: Vec<GatewayAddress>,
    /// The fleet's zones, whether a gateway lives there now or not.
    pub zones: BTreeSet<String>,
}

impl Gateways {
    /// The brokers that clients of a cluster are told of, by id.
    ///
    /// Broker *i* is a gateway of zone *i*, round the fleet's zones, so that a broker keeps its id while others come and go: a client
    /// that finds another address behind an id gives its connection up. A gateway of another zone stands in where none lives. An
    /// id whose gateway has another id already is not listed: librdkafka before 2.10 merges ids that share an address. An id that nobody
    /// stands in for keeps the address of who is away.
    pub fn brokers(&self, cluster: ClusterId) -> BTreeMap<BrokerId, &GatewayAddress> {
        let of_known = self.live.iter().chain(&self.away).map(|gateway| &gateway.zone);
        let zones: Vec<&String> = of_known.chain(&self.zones).collect::<BTreeSet<_>>().into_iter().collect();
        let mut brokers: BTreeMap<BrokerId, &GatewayAddress> = BTreeMap::new();
        let mut without = Vec::new();
        // Round the zones; without any there is no gateway either.
        for (id, home) in BROKER_IDS.into_iter().zip(zones.iter().copied().cycle()) {
            let is_home = |gateway: &&GatewayAddress| gateway.zone == *home;
            match chosen(cluster, id, self.live.iter().filter(is_home)) {
                Some(gateway) if brokers.values().any(|listed| listed.host == gateway.host) => {}
                Some(gateway) => drop(brokers.insert(id, gateway)),
                None => without.push((id, home)),
            }
        }
        // The last id first: when the home of another has died, those that stand in already stay what they are.
        while let Some((id, home)) = without.pop() {
            let is_free =
                |gateway: &&GatewayAddress| brokers.values().all(|listed| listed.host != gateway.host);
            let of_home = self.away.iter().filter(|gateway| gateway.zone == *home).filter(is_free);
            let stands_in = chosen(cluster, id, self.live.iter().filter(is_free));
            if let Some(gateway) = stands_in.or_else(|| chosen(cluster, id, of_home)) {
                brokers.insert(id, gateway);
            }
        }
        brokers
    }
}

/// Which of the gateways is a broker; `None` if there is none.
fn chosen<'g>(
    cluster: ClusterId,
    id: BrokerId,
    among: impl Iterator<Item = &'g GatewayAddress>,
) -> Option<&'g GatewayAddress> {
    let by_host: BTreeMap<&str, &GatewayAddress> = among.map(|gateway| (&*gateway.host, gateway)).collect();
    let hosts: Vec<&str> = by_host.keys().copied().collect();
    (!hosts.is_empty()).then(|| by_host[routing::gateway_of_broker(cluster, id, &hosts)])
}

/// How long an answer waits at most for a fresh look at the other gateways.
const LOOK_MAX: Duration = Duration::from_millis(30);

/// The gateways as they come and go.
#[derive(Debug, Clone)]
pub struct LiveGateways {
    now: watch::Receiver<Arc<Gateways>>,
    asked: watch::Sender<u64>,
    looked: watch::Receiver<u64>,
}

/// The side of whoever follows them.
#[derive(Debug)]
pub struct LiveGatewaysTeller {
    /// Who lives.
    pub now: watch::Sender<Arc<Gateways>>,
    /// Grows with each answer that waits for a fresh look.
    pub asked: watch::Receiver<u64>,
    /// Up to which of them were served by a look that began after they had asked.
    pub looked: watch::Sender<u64>,
}

impl LiveGateways {
    /// Both sides, beginning with these.
    pub fn begin(first: Arc<Gateways>) -> (LiveGatewaysTeller, Self) {
        let (now_told, now) = watch::channel(first);
        let (ask, asked) = watch::channel(0);
        let (looked_told, looked) = watch::channel(0);
        (LiveGatewaysTeller { now: now_told, asked, looked: looked_told }, Self { now, asked: ask, looked })
    }

    /// Who lives now.
    pub fn now(&self) -> Arc<Gateways> {
        Arc::clone(&self.now.borrow())
    }

    /// Returns when that has changed; `false` = nobody follows them any more. Cancel safe.
    pub async fn changed(&mut self) -> bool {
        self.now.changed().await.is_ok()
    }

    /// Waits until what is known was seen after this call, or for a moment. The client of a gateway that dies loses its connection
    /// and asks where to go before anybody else has noticed, and would be sent there again. Cancel safe.
    pub(crate) async fn fresh(&self) {
        let mut ticket = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            ticket = *asked;
        });
        let mut looked = self.looked.clone();
        // Too late, or nobody looks: what is known then has to do.
        drop(timeout(LOOK_MAX, looked.wait_for(|looked| *looked >= ticket)).await);
    }
}

/// A broker as an answer lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedBroker {
    pub(crate) id: BrokerId,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// Its zone, where that is known.
    pub(crate) rack: Option<Arc<str>>,
    /// Whether it serves now; who is away leads and coordinates nothing.
    pub(crate) is_present: bool,
}

/// Where the brokers of a connection's answers come from.
#[derive(Debug)]
pub(crate) enum BrokerSource {
    /// They never change.
    Fixed(Arc<Brokers>),
    /// They are addresses of live gateways.
    Fleet {
        /// Who lives.
        gateways: LiveGateways,
        /// Whose brokers.
        cluster: ClusterId,
        /// This listener's own address.
        own: ListedBroker,
    },
}

impl BrokerSource {
    /// `own` is this listener's address; `fleet` the live gateways where there is more than one process.
    pub(crate) fn of(
        names: &HostNames,
        reached: Reached,
        own: ListedBroker,
        fleet: Option<&LiveGateways>,
    ) -> Self {
        let cluster = reached.cluster;
        let dialled = match (reached.dialled_as, fleet) {
            (DialledAs::Address, Some(gateways)) => {
                return Self::Fleet { gateways: gateways.clone(), cluster, own };
            }
            (DialledAs::Address, None) => {
                return Self::Fixed(Arc::new(Brokers { listed: vec![own], dialled: None }));
            }
            (DialledAs::Bootstrap, _) => None,
            (DialledAs::Broker(broker), _) => Some(broker).filter(|broker| BROKER_IDS.contains(broker)),
        };
        let named = |(index, id): (usize, BrokerId)| {
            let rack = names.zones.as_ref().map(|zones| Arc::from(zones[index].as_str()));
            ListedBroker {
                id,
                host: names.broker(cluster, id).into(),
                port: own.port,
                rack,
                is_present: true,
            }
        };
        let listed = BROKER_IDS.into_iter().enumerate().map(named).collect();
        Self::Fixed(Arc::new(Brokers { listed, dialled }))
    }

    /// The gateways that they depend on; `None` = they never change.
    pub(crate) fn gateways(&self) -> Option<&LiveGateways> {
        match self {
            Self::Fixed(_) => None,
            Self::Fleet { gateways, .. } => Some(gateways),
        }
    }

    /// The brokers now; one answer uses what one call returns.
    pub(crate) fn now(&self) -> Arc<Brokers> {
        match self {
            Self::Fixed(brokers) => Arc::clone(brokers),
            Self::Fleet { gateways, cluster, own } => {
                Arc::new(Brokers::by_address(*cluster, own, &gateways.now()))
            }
        }
    }
}

/// The brokers of an answer; at least one is present.
#[derive(Debug)]
pub(crate) struct Brokers {
    listed: Vec<ListedBroker>,
    /// The one that was dialled, where that is known.
    dialled: Option<BrokerId>,
}

impl Brokers {
    fn by_address(cluster: ClusterId, own: &ListedBroker, gateways: &Gateways) -> Self {
        let listed = |(id, gateway): (BrokerId, &GatewayAddress)| {
            let (host, rack) = (gateway.host.as_str().into(), Some(gateway.zone.as_str().into()));
            ListedBroker { id, host, port: own.port, rack, is_present: gateways.live.contains(gateway) }
        };
        let mut listed: Vec<ListedBroker> = gateways.brokers(cluster).into_iter().map(listed).collect();
        if !listed.iter().any(|broker| broker.is_present) {
            listed = vec![own.clone()];
        }
        let dialled = listed.iter().find(|broker| broker.host == own.host).map(|broker| broker.id);
        Self { listed, dialled }
    }

    /// All of them.
    pub(crate) fn listed(&self) -> &[ListedBroker] {
        &self.listed
    }

    /// Those that serve now; there is at least one.
    pub(crate) fn present(&self) -> impl Iterator<Item = &ListedBroker> {
        self.listed.iter().filter(|broker| broker.is_present)
    }

    /// The broker that the client is talking to, as far as it has told.
    pub(crate) fn controller(&self) -> BrokerId {
        self.dialled.or_else(|| self.present().next().map(|broker| broker.id)).expect("one is present")
    }

    /// Whether somebody who was told `earlier` would go elsewhere with some of its work if it asked again, and knows where to turn
    /// meanwhile: one that knows a single broker would be without any.
    pub(crate) fn relieve(&self, earlier: &Self) -> bool {
        let served = |id| earlier.present().any(|broker| broker.id == id);
        earlier.listed.len() > 1 && self.present().any(|broker| !served(broker.id))
    }

    /// The broker that coordinates a group.
    pub(crate) fn of_group(&self, cluster: ClusterId, group: &str) -> &ListedBroker {
        let present: Vec<&ListedBroker> = self.present().collect();
        let indexes: Vec<usize> = (0..present.len()).collect();
        present[routing::broker_of_group(cluster, group, &indexes)]
    }

    /// Whether an answer about "the groups of this broker" has this one: admin clients ask every broker listed and append.
    /// Whoever has dialled none by its name is told of all.
    pub(crate) fn answer_for_group(&self, cluster: ClusterId, group: &str) -> bool {
        self.dialled.is_none_or(|dialled| self.of_group(cluster, group).id == dialled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(dialled_as: DialledAs) -> Arc<Brokers> {
        let zones = Some(["a", "b", "c"].map(str::to_owned));
        let names = HostNames { suffix: "c1.example".into(), local: Vec::new(), zones };
        BrokerSource::of(&names, Reached { cluster: cluster(), dialled_as }, own("localhost"), None).now()
    }

    fn own(host: &str) -> ListedBroker {
        ListedBroker { id: BROKER_IDS[0], host: host.into(), port: 9098, rack: None, is_present: true }
    }

    /// What a gateway lists to whoever dials its address, when these live.
    fn in_fleet(host: &str, live: &[(&str, &str)]) -> Arc<Brokers> {
        in_zones(host, live, &[])
    }

    /// The same in a fleet that has these zones too.
    fn in_zones(host: &str, live: &[(&str, &str)], zones: &[&str]) -> Arc<Brokers> {
        with_away(host, live, &[], zones)
    }

    /// The same when these were there a moment ago.
    fn with_away(host: &str, live: &[(&str, &str)], away: &[(&str, &str)], zones: &[&str]) -> Arc<Brokers> {
        let address = |(host, zone): &(&str, &str)| GatewayAddress {
            host: (*host).to_owned(),
            zone: (*zone).to_owned(),
        };
        let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let [live, away] = [live, away].map(|gateways| gateways.iter().map(address).collect());
        let gateways = Gateways { live, away, zones };
        let (_teller, gateways) = LiveGateways::begin(Arc::new(gateways));
        let names = HostNames { suffix: "c1.example".into(), local: Vec::new(), zones: None };
        let reached = Reached { cluster: cluster(), dialled_as: DialledAs::Address };
        BrokerSource::of(&names, reached, own(host), Some(&gateways)).now()
    }

    fn cluster() -> ClusterId {
        "aaaaaaaa".parse().expect("a cluster id")
    }

    fn hosts(brokers: &Brokers) -> Vec<&str> {
        brokers.listed().iter().map(|broker| &*broker.host).collect()
    }

    #[test]
    fn whoever_dials_an_address_is_told_that_address_alone() {
        let direct = brokers(DialledAs::Address);
        assert_eq!((hosts(&direct), direct.controller()), (vec!["localhost"], BROKER_IDS[0]));
    }

    #[test]
    fn whoever_dials_a_name_is_told_three() {
        let named = ["b1-aaaaaaaa.c1.example", "b2-aaaaaaaa.c1.example", "b3-aaaaaaaa.c1.example"];
        for (dialled_as, controller) in [
            (DialledAs::Bootstrap, 0),
            (DialledAs::Broker(BROKER_IDS[1]), 1),
            (DialledAs::Broker(BrokerId::new(9)), 0),
        ] {
            let brokers = brokers(dialled_as);
            assert_eq!(hosts(&brokers), named);
            assert_eq!(brokers.controller(), BROKER_IDS[controller], "{dialled_as:?}");
            assert!(brokers.listed().iter().all(|broker| broker.port == 9098));
            let racks: Vec<_> = brokers.listed().iter().map(|broker| broker.rack.as_deref()).collect();
            assert_eq!(racks, [Some("a"), Some("b"), Some("c")]);
        }
    }

    #[test]
    fn every_group_is_told_of_by_exactly_one_of_the_brokers() {
        let each = BROKER_IDS.map(|broker| brokers(DialledAs::Broker(broker)));
        for group in (0..50).map(|number| format!("g{number}")) {
            assert_eq!(each.iter().filter(|brokers| brokers.answer_for_group(cluster(), &group)).count(), 1);
            for dialled_as in [DialledAs::Address, DialledAs::Bootstrap] {
                assert!(brokers(dialled_as).answer_for_group(cluster(), &group));
            }
        }
    }

    #[test]
    fn in_a_fleet_each_zone_stands_for_a_broker_and_an_address_for_one_id() {
        let two = [("h1", "a"), ("h2", "b")];
        for dialled in ["h1", "h2"] {
            let brokers = in_fleet(dialled, &two);
            assert_eq!(hosts(&brokers), ["h1", "h2"], "all gateways list the same");
            let of = |host: &str| brokers.listed().iter().find(|broker| &*broker.host == host);
            assert_eq!(brokers.controller(), of(dialled).expect("it lives").id);
            assert_eq!(of("h2").expect("it lives").rack.as_deref(), Some("b"));
        }
        assert_eq!(in_fleet("h1", &[("h1", "a"), ("h2", "b"), ("h3", "c"), ("h4", "c")]).listed().len(), 3);
    }

    #[test]
    fn in_a_fleet_a_broker_keeps_its_id_while_others_come_and_go() {
        let id_of = |host: &str, live: &[(&str, &str)]| {
            let brokers = in_zones(host, live, &["a", "b", "c"]);
            brokers.listed().iter().find(|broker| &*broker.host == host).map(|broker| broker.id.get())
        };
        let all = [("h1", "a"), ("h2", "b"), ("h3", "c")];
        for (index, (host, _)) in all.iter().enumerate() {
            let ids =
                [&all[..], &all[index..], &all[..=index], &all[index..=index]].map(|live| id_of(host, live));
            assert_eq!(ids, [Some(index as u32 + 1); 4], "{host}");
        }
        // Where a zone has none, another one stands in, and stays where it is.
        let doubled = [("h1", "a"), ("h2", "b"), ("h4", "b")];
        let brokers = in_zones("h1", &doubled, &["a", "b", "c"]);
        assert_eq!(brokers.listed().len(), 3);
        let third = &brokers.listed()[2];
        assert_eq!(third.rack.as_deref(), Some("b"), "its own zone, not that of the id");
        assert_eq!(id_of(&third.host, &doubled[1..]), Some(3));
    }

    #[test]
    fn in_a_fleet_who_is_gone_is_not_listed_and_who_is_alone_lists_itself() {
        assert_eq!(hosts(&in_fleet("h1", &[("h1", "a")])), ["h1"]);
        assert_eq!(hosts(&in_fleet("h1", &[])), ["h1"]);
    }

    #[test]
    fn in_a_fleet_every_group_is_told_of_by_exactly_one_of_the_brokers() {
        let live = [("h1", "a"), ("h2", "b"), ("h3", "c")];
        let each = ["h1", "h2", "h3"].map(|host| in_fleet(host, &live));
        for group in (0..50).map(|number| format!("g{number}")) {
            assert_eq!(each.iter().filter(|brokers| brokers.answer_for_group(cluster(), &group)).count(), 1);
        }
    }
    /// A client that finds a broker missing forgets it, and stands still for a moment.
    #[test]
    fn in_a_fleet_who_is_away_stays_listed_under_its_id_and_leads_nothing() {
        let both = in_fleet("h1", &[("h1", "a"), ("h2", "b")]);
        let brokers = with_away("h1", &[("h1", "a")], &[("h2", "b")], &[]);
        assert_eq!(hosts(&brokers), ["h1", "h2"]);
        let present: Vec<&ListedBroker> = brokers.present().collect();
        assert_eq!((present.len(), &*present[0].host), (1, "h1"));
        assert!((0..50).all(|number| &*brokers.of_group(cluster(), &format!("g{number}")).host == "h1"));
        assert!(both.relieve(&brokers), "h2 is back, and whoever was told that it was away asks again");
        assert!(!brokers.relieve(&both) && !both.relieve(&both));
        let alone = in_fleet("h1", &[("h1", "a")]);
        assert!(!both.relieve(&alone), "who knows one broker only is left in peace");
        // Where another one stands in, it has the id.
        let stands_in = with_away("h1", &[("h1", "a"), ("h4", "a")], &[("h2", "b")], &[]);
        assert!(stands_in.present().count() == 2 && !hosts(&stands_in).contains(&"h2"));
        assert_eq!(hosts(&with_away("h1", &[], &[("h2", "b")], &[])), ["h1"], "who answers is there");
    }
}
