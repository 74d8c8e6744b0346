//! How clusters are reached in `dev`: `demo` on the IAM listener, every other cluster on a port of its own, because Java
//! sends no SNI for `localhost` or an IP address; where no port is left, or a domain is given, by their names on the IAM
//! listener (`gateway/PROTOCOL.md` §2).

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use headgate_control::Bootstrap;
use headgate_gateway::{BROKER_IDS, HostNames};
use headgate_metadata::id::{BrokerId, ClusterId};
use headgate_metadata::record::ClusterRecord;

use super::settings::DevSettings;
use crate::front::port_opened;

/// Bootstrap strings of the advertised host and each cluster's port, or of the clusters' names.
pub(crate) struct DevBootstrap {
    host: String,
    iam_port: u16,
    local: Vec<IpAddr>,
    demo: ClusterId,
    names: HostNames,
    /// Whether all clusters are reached by name.
    named: bool,
}

impl DevBootstrap {
    pub(crate) fn new(settings: &DevSettings, demo: ClusterId, names: HostNames) -> anyhow::Result<Self> {
        Ok(Self {
            host: settings.advertised_host.clone(),
            iam_port: settings.listen_iam.port,
            local: settings.listen_iam.addresses()?.iter().map(SocketAddr::ip).collect(),
            demo,
            names,
            named: settings.named_domain.is_some(),
        })
    }

    /// The port of its own by which a cluster is reached, if that is how.
    fn own_port(&self, cluster: &ClusterRecord) -> Option<u16> {
        match cluster.port {
            _ if self.named => None,
            None if cluster.id == self.demo => Some(self.iam_port),
            port => port,
        }
    }
}

#[async_trait]
impl Bootstrap for DevBootstrap {
    fn brokers(&self, cluster: &ClusterRecord) -> String {
        match self.own_port(cluster) {
            Some(port) => format!("{}:{port}", self.host),
            None => format!("{}:{}", self.names.bootstrap(cluster.id), self.iam_port),
        }
    }

    fn broker_ids(&self, cluster: &ClusterRecord) -> Vec<BrokerId> {
        match self.own_port(cluster) {
            // One process is one address, and so one broker (`gateway/PROTOCOL.md` §1).
            Some(_) => vec![BROKER_IDS[0]],
            None => BROKER_IDS.to_vec(),
        }
    }

    async fn reachable(&self, cluster: &ClusterRecord) -> bool {
        // The listener that all share is open as long as the process is.
        let (Some(port), Some(address)) = (self.own_port(cluster), self.local.first()) else { return true };
        port_opened(SocketAddr::new(*address, port)).await
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{AccountId, SlotId, TimestampMs};
    use headgate_metadata::record::{ClusterLife, ClusterState};

    use super::super::settings::DevFlags;
    use super::*;

    fn cluster(bits: u64, port: Option<u16>) -> ClusterRecord {
        ClusterRecord {
            id: ClusterId::from_random(bits),
            name: format!("c{bits}"),
            arn_uuid: "u-s1".into(),
            account: AccountId::checked(1).expect("an account"),
            created: TimestampMs::new(0),
            state: ClusterState::Active,
            slot_set: vec![SlotId::new(0)],
            auto_create_topics: false,
            port,
            tags: [].into(),
            life: ClusterLife::default(),
        }
    }

    fn bootstrap(flags: DevFlags) -> DevBootstrap {
        let settings = flags.decide().expect("valid");
        let names = HostNames {
            suffix: "c1.kafka-serverless.us-east-1.example".into(),
            local: Vec::new(),
            zones: None,
        };
        DevBootstrap::new(&settings, ClusterId::from_random(1), names).expect("valid addresses")
    }

    #[test]
    fn a_cluster_without_a_port_of_its_own_is_reached_by_its_name() {
        let bootstrap = bootstrap(DevFlags::default());
        let named = cluster(2, None);
        let by_name = format!("boot-{}.c1.kafka-serverless.us-east-1.example:9098", named.id);
        assert_eq!((bootstrap.brokers(&named), bootstrap.broker_ids(&named).len()), (by_name, 3));
        for (cluster, by_port) in
            [(cluster(2, Some(9101)), "localhost:9101"), (cluster(1, None), "localhost:9098")]
        {
            assert_eq!(bootstrap.brokers(&cluster), by_port);
            assert_eq!(bootstrap.broker_ids(&cluster), [BrokerId::new(1)]);
        }
    }

    #[test]
    fn with_a_domain_every_cluster_is_reached_by_its_name() {
        let bootstrap = bootstrap(DevFlags { named_domain: Some("example".into()), ..DevFlags::default() });
        for cluster in [cluster(1, None), cluster(2, None), cluster(3, Some(9101))] {
            let by_name = format!("boot-{}.c1.kafka-serverless.us-east-1.example:9098", cluster.id);
            assert_eq!((bootstrap.brokers(&cluster), bootstrap.broker_ids(&cluster).len()), (by_name, 3));
        }
    }
}
