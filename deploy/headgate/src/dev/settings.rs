//! What `headgate dev` can be told: flags first, then `--config FILE`, then defaults.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::listen::{Listen, TENANT_METRICS, is_domain, parse_ports};

/// Flags of `headgate dev`. A flag wins over the configuration file.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct DevFlags {
    /// Where everything is kept [default: ./headgate-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The TLS listener for clients with IAM credentials [default: localhost:9098].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen_iam: Option<String>,
    /// The plaintext listener for trying and benchmarking, as administrator of the cluster `demo`; loopback only, or
    /// `off` [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT|off")]
    pub(crate) listen_plaintext: Option<String>,
    /// The control API, metrics and health [default: 127.0.0.1:9080].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen_api: Option<String>,
    /// Metrics that name clusters, over plain HTTP: for the operator alone. Nothing is served if it is not given.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen_tenant_metrics: Option<String>,
    /// The name clients on other machines reach this one by; it is advertised and put into the certificate.
    #[arg(long, value_name = "NAME")]
    pub(crate) advertised_host: Option<String>,
    /// Ports for further clusters, one each [default: 9100-9199].
    #[arg(long, value_name = "FROM-TO")]
    pub(crate) cluster_ports: Option<String>,
    /// Reach every cluster on the IAM listener by its own names, such as
    /// boot-<cluster>.c<cell>.kafka-serverless.<region>.DOMAIN, and give none a port of its own. The names must lead to this
    /// machine, and DOMAIN must contain no region's name.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) named_domain: Option<String>,
    /// Where objects are kept: file://DIR or s3://bucket/prefix [default: file://DATA/objects].
    #[arg(long, value_name = "URL")]
    pub(crate) object_store: Option<String>,
    /// A TOML file with any of these settings, and sections `[storage]`, `[gateway]` and `[control]`.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// `[storage]` of the configuration file.
    #[arg(skip)]
    pub(crate) storage: toml::Table,
    /// `[gateway]` of the configuration file.
    #[arg(skip)]
    pub(crate) gateway: toml::Table,
    /// `[control]` of the configuration file.
    #[arg(skip)]
    pub(crate) control: toml::Table,
}

/// Everything decided.
#[derive(Debug, Clone)]
pub(crate) struct DevSettings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_iam: Listen,
    pub(crate) listen_plaintext: Option<Listen>,
    pub(crate) listen_api: Listen,
    pub(crate) listen_tenant_metrics: Option<Listen>,
    pub(crate) advertised_host: String,
    pub(crate) cluster_ports: RangeInclusive<u16>,
    /// Where it is given, clusters have no ports of their own.
    pub(crate) named_domain: Option<String>,
    /// `None` = `file://DATA/objects`.
    pub(crate) object_store: Option<String>,
    pub(crate) storage: toml::Table,
    pub(crate) gateway: toml::Table,
    pub(crate) control: toml::Table,
}

/// The domain of clusters' names where none is given: of those for which no port was left.
const DOMAIN_DEFAULT: &str = "headgate.local";

impl DevSettings {
    /// What all names of clusters end with.
    pub(crate) fn domain(&self) -> &str {
        self.named_domain.as_deref().unwrap_or(DOMAIN_DEFAULT)
    }
}

impl DevFlags {
    /// Reads the configuration file and decides everything.
    pub(crate) fn decide(self) -> Result<DevSettings> {
        let file = match &self.config {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("{} is not a valid configuration", path.display()))?
            }
        };
        let text = |flag: Option<String>, file: Option<String>, default: &str| {
            flag.or(file).unwrap_or_else(|| default.to_owned())
        };
        let listen_iam =
            Listen::parse(&text(self.listen_iam, file.listen_iam, "localhost:9098"), "--listen-iam")?;
        let plaintext = text(self.listen_plaintext, file.listen_plaintext, "127.0.0.1:9092");
        let listen_plaintext = match plaintext.as_str() {
            "off" => None,
            text => Some(Listen::parse(text, "--listen-plaintext")?),
        };
        let listen_api =
            Listen::parse(&text(self.listen_api, file.listen_api, "127.0.0.1:9080"), "--listen-api")?;
        let tenant_metrics = self.listen_tenant_metrics.or(file.listen_tenant_metrics);
        let listen_tenant_metrics = Listen::parse_optional(tenant_metrics.as_deref(), TENANT_METRICS)?;
        let advertised = self.advertised_host.or(file.advertised_host);
        if let Some(listen) = &listen_plaintext
            && !listen.is_loopback()?
        {
            bail!(
                "--listen-plaintext {}: the plaintext listener has no authentication and binds loopback only",
                listen.host
            );
        }
        if !listen_api.is_loopback()? {
            bail!("--listen-api {}: without TLS the control API binds loopback only", listen_api.host);
        }
        if !listen_iam.is_loopback()? && advertised.is_none() {
            bail!(
                "--listen-iam {}: clients elsewhere need a name to come back to; add --advertised-host NAME",
                listen_iam.host
            );
        }
        let named_domain = self.named_domain.or(file.named_domain);
        if let Some(domain) = named_domain.as_deref().filter(|domain| !is_domain(domain)) {
            bail!(
                "--named-domain {domain}: a domain name in lower case is expected, such as kafka.example.com"
            );
        }
        Ok(DevSettings {
            data_dir: self.data_dir.or(file.data_dir).unwrap_or_else(|| "./headgate-data".into()),
            listen_iam,
            listen_plaintext,
            listen_api,
            listen_tenant_metrics,
            advertised_host: advertised.unwrap_or_else(|| "localhost".to_owned()),
            cluster_ports: parse_ports(&text(self.cluster_ports, file.cluster_ports, "9100-9199"))?,
            named_domain,
            object_store: self.object_store.or(file.object_store),
            storage: file.storage,
            gateway: file.gateway,
            control: file.control,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(flags: DevFlags) -> String {
        flags.decide().expect_err("refused").to_string()
    }

    #[test]
    fn no_flag_is_needed() {
        let settings = DevFlags::default().decide().expect("defaults work");
        assert_eq!(settings.listen_iam.addresses().expect("valid").len(), 2, "localhost is IPv4 and IPv6");
        assert_eq!(settings.advertised_host, "localhost");
        assert_eq!(settings.cluster_ports, 9100..=9199);
    }

    #[test]
    fn a_listener_others_can_reach_needs_a_name() {
        let flags = DevFlags { listen_iam: Some("0.0.0.0:9098".into()), ..DevFlags::default() };
        assert!(refused(flags.clone()).contains("add --advertised-host"));
        DevFlags { advertised_host: Some("kafka.example".into()), ..flags }.decide().expect("named");
    }

    #[test]
    fn the_plaintext_listener_and_the_api_stay_on_loopback() {
        let open = DevFlags { listen_plaintext: Some("0.0.0.0:9092".into()), ..DevFlags::default() };
        assert!(refused(open).contains("loopback only"));
        let api = DevFlags { listen_api: Some("10.0.0.1:9080".into()), ..DevFlags::default() };
        assert!(refused(api).contains("loopback only"));
        let off = DevFlags { listen_plaintext: Some("off".into()), ..DevFlags::default() };
        assert!(off.decide().expect("off is allowed").listen_plaintext.is_none());
    }

    #[test]
    fn a_domain_of_clusters_names_is_a_domain() {
        let with = |domain: &str| DevFlags { named_domain: Some(domain.into()), ..DevFlags::default() };
        assert_eq!(with("kafka.example").decide().expect("valid").domain(), "kafka.example");
        assert_eq!(DevFlags::default().decide().expect("valid").domain(), "headgate.local");
        for domain in ["", ".example", "example.", "a..b", "-a.b", "a b", "Example", "*.example"] {
            assert!(refused(with(domain)).contains("--named-domain"), "{domain}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_unknown_settings_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("headgate.toml");
        std::fs::write(&path, "listen-iam = \"localhost:1\"\ncluster-ports = \"5-6\"\n").expect("written");
        let flags = DevFlags {
            config: Some(path.clone()),
            listen_iam: Some("localhost:2".into()),
            ..DevFlags::default()
        };
        let settings = flags.clone().decide().expect("valid");
        assert_eq!((settings.listen_iam.port, settings.cluster_ports), (2, 5..=6));
        std::fs::write(&path, "lisen-iam = \"localhost:1\"\n").expect("written");
        assert!(format!("{:#}", flags.decide().expect_err("a typo")).contains("lisen-iam"));
    }
}
