//! Which cluster a client means (`gateway/PROTOCOL.md` §2): by listener port, SNI, signed host, or the listener's default,
//! and never by who it is. Where two of them speak they must agree.
//!
//! Names are `boot-<cid>` and `b<i>-<cid>`, followed by `.c<cell>.kafka-serverless.<region>.<domain>`.

use headgate_metadata::id::{BrokerId, ClusterId};

/// The names clients may dial.
#[derive(Debug, Clone)]
pub struct HostNames {
    /// Everything behind the first label of a cluster's names, e.g. `c1.kafka-serverless.us-east-1.headgate.local`.
    pub suffix: String,
    /// Names that stand for this process and no cluster in particular: `localhost`, `127.0.0.1`, `::1`, the advertised host.
    pub local: Vec<String>,
    /// The zones to which the names of brokers 1, 2, 3 lead, each by the load balancer before that zone's gateways; `None` = not known.
    pub zones: Option<[String; 3]>,
}

/// As what a cluster was dialled. Whoever dials by name is told names, for the address alone might not lead back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialledAs {
    /// An address of this process (*direct* mode).
    Address,
    /// The cluster's bootstrap name (*named* mode).
    Bootstrap,
    /// A broker's name (*named* mode).
    Broker(BrokerId),
}

/// The cluster a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) cluster: ClusterId,
    pub(crate) dialled_as: DialledAs,
}

/// What a host name says about the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostMeaning {
    /// This cluster, by one of its names.
    Cluster(Reached),
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
            .and_then(|(label, _)| reached_by_label(label))
            .map_or(HostMeaning::Foreign, HostMeaning::Cluster)
    }

    /// Whether AWS_MSK_IAM may have signed `host` for this cluster.
    pub(crate) fn accepts(&self, host: &str, cluster: ClusterId) -> bool {
        match self.meaning(host) {
            HostMeaning::Cluster(named) => named.cluster == cluster,
            HostMeaning::Local => true,
            HostMeaning::Foreign => false,
        }
    }

    /// The cluster's bootstrap name.
    pub fn bootstrap(&self, cluster: ClusterId) -> String {
        format!("boot-{cluster}.{}", self.suffix)
    }

    /// The name of one of the cluster's brokers.
    pub(crate) fn broker(&self, cluster: ClusterId, broker: BrokerId) -> String {
        format!("b{}-{cluster}.{}", broker.get(), self.suffix)
    }

    /// The name that a certificate needs for all names of all clusters.
    pub fn wildcard(&self) -> String {
        format!("*.{}", self.suffix)
    }
}

/// `boot-<cid>` or `b<i>-<cid>`.
fn reached_by_label(label: &str) -> Option<Reached> {
    let (broker, cluster) = label.split_once('-')?;
    let dialled_as = if broker == "boot" {
        DialledAs::Bootstrap
    } else {
        let number = broker.strip_prefix('b')?;
        // As the brokers' names are written: no sign, no leading zero.
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        DialledAs::Broker(BrokerId::new(number.parse().ok().filter(|_| plain)?))
    };
    Some(Reached { cluster: cluster.parse().ok()?, dialled_as })
}

impl Dialled {
    /// The cluster, given the host that an AWS_MSK_IAM login signed (`None` for OAUTHBEARER, whose host names none).
    pub(crate) fn cluster(&self, names: &HostNames, signed_host: Option<&str>) -> Result<Reached, NoCluster> {
        let at_address = |cluster| Reached { cluster, dialled_as: DialledAs::Address };
        let mut chosen = self.bound.map(at_address);
        for host in [self.sni.as_deref(), signed_host].into_iter().flatten() {
            let HostMeaning::Cluster(named) = names.meaning(host) else { continue };
            match chosen {
                Some(earlier) if earlier.cluster != named.cluster => {
                    return Err(NoCluster::Contradiction { host: host.to_owned() });
                }
                // The name that was dialled is heard before the one that was signed.
                Some(Reached { dialled_as: DialledAs::Bootstrap | DialledAs::Broker(_), .. }) => {}
                Some(Reached { dialled_as: DialledAs::Address, .. }) | None => chosen = Some(named),
            }
        }
        chosen.or(self.default.map(at_address)).ok_or(NoCluster::Unnamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HostNames {
        HostNames {
            suffix: "c1.kafka-serverless.us-east-1.headgate.local".into(),
            local: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            zones: None,
        }
    }

    fn id(text: &str) -> ClusterId {
        text.parse().expect("a cluster id")
    }

    fn dialled(bound: Option<&str>, sni: Option<&str>, default: Option<&str>) -> Dialled {
        Dialled { bound: bound.map(id), sni: sni.map(str::to_owned), default: default.map(id) }
    }

    const BOOT_A: &str = "boot-aaaaaaaa.c1.kafka-serverless.us-east-1.headgate.local";
    const BOOT_B: &str = "boot-bbbbbbbb.c1.kafka-serverless.us-east-1.headgate.local";
    const BROKER_B: &str = "b2-bbbbbbbb.c1.kafka-serverless.us-east-1.headgate.local";

    fn reached(cluster: &str, dialled_as: DialledAs) -> Reached {
        Reached { cluster: id(cluster), dialled_as }
    }

    #[test]
    fn bootstrap_and_broker_names_mean_their_cluster_in_any_case() {
        let seventeen = DialledAs::Broker(BrokerId::new(17));
        for (host, dialled_as) in [
            (BOOT_A, DialledAs::Bootstrap),
            ("B17-AAAAAAAA.C1.kafka-serverless.us-east-1.headgate.local.", seventeen),
            (&names().bootstrap(id("aaaaaaaa")), DialledAs::Bootstrap),
            (&names().broker(id("aaaaaaaa"), BrokerId::new(17)), seventeen),
        ] {
            let meaning = names().meaning(host);
            assert_eq!(meaning, HostMeaning::Cluster(reached("aaaaaaaa", dialled_as)), "{host}");
        }
    }

    #[test]
    fn names_of_other_shapes_are_foreign() {
        for label in ["aaaaaaaa", "b-aaaaaaaa", "b0-aaaaaaaa", "b01-aaaaaaaa", "b+1-aaaaaaaa", "boot-aaaa"] {
            let host = format!("{label}.{}", names().suffix);
            assert_eq!(names().meaning(&host), HostMeaning::Foreign, "{host}");
        }
        for host in ["boot-aaaaaaaa.c2.kafka-serverless.us-east-1.headgate.local", "boot-aaaaaaaa", ""] {
            assert_eq!(names().meaning(host), HostMeaning::Foreign, "{host}");
        }
        assert_eq!(names().meaning("[::1]"), HostMeaning::Local);
    }

    #[test]
    fn the_first_that_speaks_decides() {
        let of = |dialled: Dialled, signed| dialled.cluster(&names(), signed);
        let (address, bootstrap) = (DialledAs::Address, DialledAs::Bootstrap);
        let second = DialledAs::Broker(BrokerId::new(2));
        for (dialled, signed, expected) in [
            (dialled(Some("aaaaaaaa"), None, Some("cccccccc")), None, reached("aaaaaaaa", address)),
            (dialled(None, Some(BROKER_B), Some("cccccccc")), None, reached("bbbbbbbb", second)),
            (
                dialled(None, Some("localhost"), Some("cccccccc")),
                Some(BOOT_A),
                reached("aaaaaaaa", bootstrap),
            ),
            (
                dialled(Some("aaaaaaaa"), Some(BOOT_A), None),
                Some("localhost"),
                reached("aaaaaaaa", bootstrap),
            ),
            (dialled(None, Some(BROKER_B), None), Some(BOOT_B), reached("bbbbbbbb", second)),
            (dialled(None, None, Some("cccccccc")), Some("localhost"), reached("cccccccc", address)),
        ] {
            assert_eq!(of(dialled.clone(), signed), Ok(expected), "{dialled:?}");
        }
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
