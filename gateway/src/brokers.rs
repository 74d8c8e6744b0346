//! The brokers that answers list (`gateway/PROTOCOL.md` §1): names of the cluster where it was dialled by one, else the
//! addresses of gateways: that which was dialled, and in a fleet those of the others.

use std::collections::BTreeSet;
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

/// The live gateways of a fleet, this one included.
pub type LiveGateways = watch::Receiver<Arc<[GatewayAddress]>>;

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
    /// Broker *i* is a gateway of zone *i*, round the zones. An id whose gateway has a lower id already is not listed:
    /// librdkafka before 2.10 merges ids that share an address.
    fn by_address(cluster: ClusterId, own: &ListedBroker, gateways: &[GatewayAddress]) -> Self {
        let zones: Vec<&str> =
            gateways.iter().map(|gateway| &*gateway.zone).collect::<BTreeSet<_>>().into_iter().collect();
        let mut listed: Vec<ListedBroker> = Vec::with_capacity(BROKER_IDS.len());
        for (index, id) in BROKER_IDS.into_iter().enumerate() {
            // Without zones nobody lives as far as is known, but for this gateway, which answers.
            let Some(zone) = zones.get(index % zones.len().max(1)) else { break };
            let of_zone = gateways.iter().filter(|gateway| gateway.zone == *zone);
            let hosts: Vec<&str> = of_zone.map(|gateway| &*gateway.host).collect();
            let host = routing::gateway_of_broker(cluster, id, &hosts);
            if listed.iter().all(|broker| &*broker.host != host) {
                let rack = Some((*zone).into());
                listed.push(ListedBroker { id, host: host.into(), port: own.port, rack });
            }
        }
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
        let address = |(host, zone): &(&str, &str)| GatewayAddress {
            host: (*host).to_owned(),
            zone: (*zone).to_owned(),
        };
        let (_told, gateways) = watch::channel(live.iter().map(address).collect());
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
