//! The brokers that answers list (`gateway/PROTOCOL.md` §1): names of the cluster where it was dialled by one, else the
//! address that was dialled.

use std::sync::Arc;

use headgate_metadata::id::{BrokerId, ClusterId};
use headgate_storage_client::routing;

use crate::which_cluster::{DialledAs, HostNames, Reached};

/// The ids of a cluster's brokers; replicas and ISR always read all of them.
pub const BROKER_IDS: [BrokerId; 3] = [BrokerId::new(1), BrokerId::new(2), BrokerId::new(3)];

/// A broker as an answer lists it.
#[derive(Debug, Clone)]
pub(crate) struct ListedBroker {
    pub(crate) id: BrokerId,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

/// The brokers of a connection's answers; there is at least one.
#[derive(Debug)]
pub(crate) struct Brokers {
    listed: Vec<ListedBroker>,
    /// The one that was dialled, where its name was.
    dialled: Option<BrokerId>,
}

impl Brokers {
    /// `address` is this listener's own. In direct mode one gateway is one address, and so one broker.
    pub(crate) fn of(names: &HostNames, reached: Reached, address: ListedBroker) -> Self {
        let dialled = match reached.dialled_as {
            DialledAs::Address => return Self { listed: vec![address], dialled: None },
            DialledAs::Bootstrap => None,
            DialledAs::Broker(broker) => Some(broker).filter(|broker| BROKER_IDS.contains(broker)),
        };
        let named = |id: BrokerId| ListedBroker {
            id,
            host: names.broker(reached.cluster, id).into(),
            port: address.port,
        };
        Self { listed: BROKER_IDS.map(named).to_vec(), dialled }
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

    fn brokers(dialled_as: DialledAs) -> Brokers {
        let names = HostNames { suffix: "c1.example".into(), local: Vec::new() };
        let address = ListedBroker { id: BrokerId::new(1), host: "localhost".into(), port: 9098 };
        Brokers::of(&names, Reached { cluster: cluster(), dialled_as }, address)
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
}
