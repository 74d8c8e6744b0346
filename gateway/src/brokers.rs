//! The brokers that answers list (`gateway/PROTOCOL.md` §1): names of the cluster where it was dialled by one, else the
//! addresses of gateways: that which was dialled, and in a fleet those of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_metadata::id::{BrokerId, ClusterId};
use headgate_storage_client::routing;
use tokio::sync::watch;

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
    /// The fleet's zones, whether a gateway lives there now or not.
    pub zones: BTreeSet<String>,
}

impl Gateways {
    /// The brokers that clients of a cluster are told of, by id.
    ///
    /// Broker *i* is a gateway of zone *i*, round the fleet's zones, so that a broker keeps its id while others come and go: a client
    /// that finds another address behind an id gives its connection up. A gateway of another zone stands in where none lives. An
    /// id whose gateway has another id already is not listed: librdkafka before 2.10 merges ids that share an address.
    pub fn brokers(&self, cluster: ClusterId) -> BTreeMap<BrokerId, &GatewayAddress> {
        let of_live = self.live.iter().map(|gateway| &gateway.zone);
        let zones: Vec<&String> = of_live.chain(&self.zones).collect::<BTreeSet<_>>().into_iter().collect();
        let mut brokers: BTreeMap<BrokerId, &GatewayAddress> = BTreeMap::new();
        let mut without = Vec::new();
        for (index, id) in BROKER_IDS.into_iter().enumerate() {
            let is_home = |gateway: &&GatewayAddress| gateway.zone == *zones[index % zones.len()];
            match chosen(cluster, id, self.live.iter().filter(is_home)) {
                Some(gateway) if brokers.values().any(|listed| listed.host == gateway.host) => {}
                Some(gateway) => drop(brokers.insert(id, gateway)),
                None => without.push(id),
            }
        }
        // The last id first: when the home of another has died, those that stand in already stay what they are.
        while let Some(id) = without.pop() {
            let is_free =
                |gateway: &&GatewayAddress| brokers.values().all(|listed| listed.host != gateway.host);
            if let Some(gateway) = chosen(cluster, id, self.live.iter().filter(is_free)) {
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

/// The gateways as they come and go.
pub type LiveGateways = watch::Receiver<Arc<Gateways>>;

/// A broker as an answer lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedBroker {
    pub(crate) id: BrokerId,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// Its zone, where that is known.
    pub(crate) rack: Option<Arc<str>>,
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
            ListedBroker { id, host: names.broker(cluster, id).into(), port: own.port, rack }
        };
        let listed = BROKER_IDS.into_iter().enumerate().map(named).collect();
        Self::Fixed(Arc::new(Brokers { listed, dialled }))
    }

    /// The brokers now; one answer uses what one call returns.
    pub(crate) fn now(&self) -> Arc<Brokers> {
        match self {
            Self::Fixed(brokers) => Arc::clone(brokers),
            Self::Fleet { gateways, cluster, own } => {
                let gateways = Arc::clone(&gateways.borrow());
                Arc::new(Brokers::by_address(*cluster, own, &gateways))
            }
        }
    }
}

/// The brokers of an answer; there is at least one.
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
            ListedBroker { id, host, port: own.port, rack }
        };
        let mut listed: Vec<ListedBroker> = gateways.brokers(cluster).into_iter().map(listed).collect();
        if listed.is_empty() {
            listed.push(own.clone());
        }
        let dialled = listed.iter().find(|broker| broker.host == own.host).map(|broker| broker.id);
        Self { listed, dialled }
    }

    /// All of them.
    pub(crate) fn listed(&self) -> &[ListedBroker] {
        &self.listed
    }

    /// The broker that the client is talking to, as far as it has told.
    pub(crate) fn controller(&self) -> BrokerId {
        self.dialled.unwrap_or(self.listed[0].id)
    }

    /// The broker that coordinates a group.
    pub(crate) fn of_group(&self, cluster: ClusterId, group: &str) -> &ListedBroker {
        let indexes: Vec<usize> = (0..self.listed.len()).collect();
        &self.listed[routing::broker_of_group(cluster, group, &indexes)]
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
        ListedBroker { id: BROKER_IDS[0], host: host.into(), port: 9098, rack: None }
    }

    /// What a gateway lists to whoever dials its address, when these live.
    fn in_fleet(host: &str, live: &[(&str, &str)]) -> Arc<Brokers> {
        in_zones(host, live, &[])
    }

    /// The same in a fleet that has these zones too.
    fn in_zones(host: &str, live: &[(&str, &str)], zones: &[&str]) -> Arc<Brokers> {
        let address = |(host, zone): &(&str, &str)| GatewayAddress {
            host: (*host).to_owned(),
            zone: (*zone).to_owned(),
        };
        let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let gateways = Gateways { live: live.iter().map(address).collect(), zones };
        let (_told, gateways) = watch::channel(Arc::new(gateways));
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
}
