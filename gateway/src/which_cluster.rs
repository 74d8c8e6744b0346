//! Which cluster a client means (`gateway/PROTOCOL.md` §2): by listener port, SNI, signed host, or the listener's default,
//! and never by who it is. Where two of them speak they must agree.
//!
//! Names are `boot-<cid>` and `b<i>-<cid>`, followed by `.c<cell>.kafka-serverless.<region>.<domain>`.

use headgate_metadata::id::ClusterId;

/// The names clients may dial.
#[derive(Debug, Clone)]
pub struct HostNames {
    /// Everything behind the first label of a cluster's names, e.g. `c1.kafka-serverless.us-east-1.headgate.local`.
    pub suffix: String,
    /// Names that stand for this process and no cluster in particular: `localhost`, `127.0.0.1`, `::1`, the advertised host.
    pub local: Vec<String>,
}

/// What a host name says about the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostMeaning {
    /// This cluster.
    Cluster(ClusterId),
    /// Whatever cluster the listener stands for.
    Local,
    /// Not one of our names.
    Foreign,
}

/// The facts of a connection that may name its cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dialled {
    /// The cluster the listener is bound to.
    pub(crate) bound: Option<ClusterId>,
    /// The name in the ClientHello.
    pub(crate) sni: Option<String>,
    /// The cluster of a listener that is bound to none.
    pub(crate) default: Option<ClusterId>,
}

/// Why no cluster could be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoCluster {
    /// Two of the names speak of two clusters.
    Contradiction {
        /// The name that disagrees with what was said before it.
        host: String,
    },
    /// Nothing names one.
    Unnamed,
}

impl HostNames {
    /// What a host name means. Names are compared without regard to case, as DNS does.
    pub(crate) fn meaning(&self, host: &str) -> HostMeaning {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
        if self.local.iter().any(|local| local.eq_ignore_ascii_case(host)) {
            return HostMeaning::Local;
        }
        let named = host.split_once('.').filter(|(_, suffix)| suffix.eq_ignore_ascii_case(&self.suffix));
        named
            .and_then(|(label, _)| cluster_of_label(label))
            .map_or(HostMeaning::Foreign, HostMeaning::Cluster)
    }

    /// Whether AWS_MSK_IAM may have signed `host` for this cluster.
    pub(crate) fn accepts(&self, host: &str, cluster: ClusterId) -> bool {
        match self.meaning(host) {
            HostMeaning::Cluster(named) => named == cluster,
            HostMeaning::Local => true,
            HostMeaning::Foreign => false,
        }
    }

    /// The cluster's bootstrap name.
    pub fn bootstrap(&self, cluster: ClusterId) -> String {
        format!("boot-{cluster}.{}", self.suffix)
    }
}

/// `boot-<cid>` or `b<i>-<cid>`.
fn cluster_of_label(label: &str) -> Option<ClusterId> {
    let (broker, cluster) = label.split_once('-')?;
    let number = broker.strip_prefix('b').filter(|number| !number.is_empty());
    let known =
        broker == "boot" || number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    if known { cluster.parse().ok() } else { None }
}

impl Dialled {
    /// The cluster, given the host that an AWS_MSK_IAM login signed (`None` for OAUTHBEARER, whose host names none).
    pub(crate) fn cluster(
        &self,
        names: &HostNames,
        signed_host: Option<&str>,
    ) -> Result<ClusterId, NoCluster> {
        let mut chosen = self.bound;
        for host in [self.sni.as_deref(), signed_host].into_iter().flatten() {
            let HostMeaning::Cluster(named) = names.meaning(host) else { continue };
            match chosen {
                Some(cluster) if cluster != named => {
                    return Err(NoCluster::Contradiction { host: host.to_owned() });
                }
                _ => chosen = Some(named),
            }
        }
        chosen.or(self.default).ok_or(NoCluster::Unnamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HostNames {
        HostNames {
            suffix: "c1.kafka-serverless.us-east-1.headgate.local".into(),
            local: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
        }
    }

    fn id(text: &str) -> ClusterId {
        text.parse().expect("a cluster id")
    }

    fn dialled(bound: Option<&str>, sni: Option<&str>, default: Option<&str>) -> Dialled {
        Dialled { bound: bound.map(id), sni: sni.map(str::to_owned), default: default.map(id) }
    }

    const BOOT_A: &str = "boot-aaaaaaaa.c1.kafka-serverless.us-east-1.headgate.local";
    const BROKER_B: &str = "b2-bbbbbbbb.c1.kafka-serverless.us-east-1.headgate.local";

    #[test]
    fn bootstrap_and_broker_names_mean_their_cluster_in_any_case() {
        for host in [
            BOOT_A,
            "B17-AAAAAAAA.C1.kafka-serverless.us-east-1.headgate.local.",
            &names().bootstrap(id("aaaaaaaa")),
        ] {
            assert_eq!(names().meaning(host), HostMeaning::Cluster(id("aaaaaaaa")), "{host}");
        }
    }

    #[test]
    fn names_of_other_shapes_are_foreign() {
        for host in [
            "aaaaaaaa.c1.kafka-serverless.us-east-1.headgate.local",
            "b-aaaaaaaa.c1.kafka-serverless.us-east-1.headgate.local",
            "boot-aaaa.c1.kafka-serverless.us-east-1.headgate.local",
            "boot-aaaaaaaa.c2.kafka-serverless.us-east-1.headgate.local",
            "boot-aaaaaaaa",
            "",
        ] {
            assert_eq!(names().meaning(host), HostMeaning::Foreign, "{host}");
        }
        assert_eq!(names().meaning("[::1]"), HostMeaning::Local);
    }

    #[test]
    fn the_first_that_speaks_decides() {
        let of = |dialled: Dialled, signed| dialled.cluster(&names(), signed);
        assert_eq!(of(dialled(Some("aaaaaaaa"), None, Some("cccccccc")), None), Ok(id("aaaaaaaa")));
        assert_eq!(of(dialled(None, Some(BROKER_B), Some("cccccccc")), None), Ok(id("bbbbbbbb")));
        assert_eq!(of(dialled(None, Some("localhost"), Some("cccccccc")), Some(BOOT_A)), Ok(id("aaaaaaaa")));
        assert_eq!(of(dialled(None, None, Some("cccccccc")), Some("localhost")), Ok(id("cccccccc")));
        assert_eq!(of(dialled(None, None, None), Some("localhost")), Err(NoCluster::Unnamed));
    }

    #[test]
    fn two_names_of_two_clusters_are_a_contradiction() {
        let port_and_sni = dialled(Some("aaaaaaaa"), Some(BROKER_B), None).cluster(&names(), None);
        assert_eq!(port_and_sni, Err(NoCluster::Contradiction { host: BROKER_B.into() }));
        let sni_and_signed = dialled(None, Some(BROKER_B), None).cluster(&names(), Some(BOOT_A));
        assert_eq!(sni_and_signed, Err(NoCluster::Contradiction { host: BOOT_A.into() }));
    }

    #[test]
    fn a_signed_host_of_another_cluster_is_not_accepted() {
        assert!(names().accepts(BOOT_A, id("aaaaaaaa")));
        assert!(names().accepts("127.0.0.1", id("aaaaaaaa")));
        assert!(!names().accepts(BROKER_B, id("aaaaaaaa")));
        assert!(!names().accepts("kafka.us-east-1.amazonaws.com", id("aaaaaaaa")));
    }
}
