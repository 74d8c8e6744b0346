//! How clusters are reached in `dev`: `demo` on the IAM listener, every other cluster on a port of its own, because Java
//! sends no SNI for `localhost` or an IP address; where no port is left, or a domain is given, by their names on the IAM
//! listener (`gateway/PROTOCOL.md` §2).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use headgate_control::Bootstrap;
use headgate_gateway::HostNames;
use headgate_metadata::catalog::Catalog;
use headgate_metadata::id::{ClusterId, Revision};
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
    catalog: Arc<Catalog>,
}

impl DevBootstrap {
    pub(crate) fn new(
        settings: &DevSettings,
        demo: ClusterId,
        names: HostNames,
        catalog: Arc<Catalog>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            host: settings.advertised_host.clone(),
            iam_port: settings.listen_iam.port,
            local: settings.listen_iam.addresses()?.iter().map(SocketAddr::ip).collect(),
            demo,
            names,
            named: settings.named_domain.is_some(),
            catalog,
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

    async fn reachable(&self, cluster: ClusterId, revision: Revision) {
        // A watch that is behind is no error: the cluster's clients retry.
        drop(self.catalog.reach(revision).await);
        let port = self.catalog.cluster(cluster).and_then(|cluster| self.own_port(&cluster));
        let (Some(port), Some(address)) = (port, self.local.first()) else { return };
        port_opened(SocketAddr::new(*address, port)).await;
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::embedded::EmbeddedStore;
    use headgate_metadata::id::{AccountId, SlotId, TimestampMs};
    use headgate_metadata::record::ClusterState;

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
        }
    }

    async fn brokers_of(flags: DevFlags, cluster: &ClusterRecord) -> String {
        let settings = flags.decide().expect("valid");
        let catalog = Catalog::start(Arc::new(EmbeddedStore::in_memory())).await.expect("started");
        let names = HostNames { suffix: "c1.kafka-serverless.us-east-1.example".into(), local: Vec::new() };
        let demo = ClusterId::from_random(1);
        DevBootstrap::new(&settings, demo, names, catalog).expect("valid addresses").brokers(cluster)
    }

    #[tokio::test]
    async fn a_cluster_without_a_port_of_its_own_is_reached_by_its_name() {
        let named = cluster(2, None);
        let by_name = format!("boot-{}.c1.kafka-serverless.us-east-1.example:9098", named.id);
        assert_eq!(brokers_of(DevFlags::default(), &named).await, by_name);
        assert_eq!(brokers_of(DevFlags::default(), &cluster(2, Some(9101))).await, "localhost:9101");
        assert_eq!(brokers_of(DevFlags::default(), &cluster(1, None)).await, "localhost:9098");
    }

    #[tokio::test]
    async fn with_a_domain_every_cluster_is_reached_by_its_name() {
        for cluster in [cluster(1, None), cluster(2, None), cluster(3, Some(9101))] {
            let flags = DevFlags { named_domain: Some("example".into()), ..DevFlags::default() };
            let by_name = format!("boot-{}.c1.kafka-serverless.us-east-1.example:9098", cluster.id);
            assert_eq!(brokers_of(flags, &cluster).await, by_name);
        }
    }
}
