//! How clusters are reached in `dev`: `demo` on the IAM listener, every other cluster on a port of its own, because Java
//! sends no SNI for `localhost` or an IP address (`gateway/PROTOCOL.md` §2).

use std::time::Duration;

use async_trait::async_trait;
use headgate_control::Bootstrap;
use headgate_metadata::record::ClusterRecord;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::settings::DevSettings;

/// How long one look for a new cluster's port lasts at most; then it is looked for again.
const REACHABLE_MAX: Duration = Duration::from_secs(2);
/// Between two looks. The port opens within a millisecond or two of the cluster's record being seen.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Bootstrap strings of the advertised host and each cluster's port.
pub(crate) struct OwnPorts {
    host: String,
    demo_port: u16,
    local: Vec<std::net::IpAddr>,
}

impl OwnPorts {
    pub(crate) fn new(settings: &DevSettings) -> anyhow::Result<Self> {
        let local = settings.listen_iam.addresses()?.iter().map(std::net::SocketAddr::ip).collect();
        Ok(Self { host: settings.advertised_host.clone(), demo_port: settings.listen_iam.port, local })
    }
}

#[async_trait]
impl Bootstrap for OwnPorts {
    fn brokers(&self, cluster: &ClusterRecord) -> String {
        format!("{}:{}", self.host, cluster.port.unwrap_or(self.demo_port))
    }

    async fn reachable(&self, cluster: &ClusterRecord) -> bool {
        let (Some(port), Some(address)) = (cluster.port, self.local.first()) else { return true };
        let give_up = Instant::now() + REACHABLE_MAX;
        while Instant::now() < give_up {
            if TcpStream::connect((*address, port)).await.is_ok() {
                return true;
            }
            sleep(LOOK_AGAIN).await;
        }
        false
    }
}
