//! What every process of a cell is told: flags first, then the environment, then `--config FILE`, then defaults. The file says
//! what is the same for all processes; what differs between them (a node's number, addresses) stands in flags or the environment.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use headgate_metadata::etcd::EtcdConfig;
use serde::Deserialize;

use crate::listen::is_domain;

/// Flags that all roles have.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct CellFlags {
    /// A TOML file with any of these settings, and sections `[storage]`, `[gateway]` and `[remote]`; one for all processes.
    #[arg(long, value_name = "FILE", env = "HEADGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The members of etcd, such as http://10.0.0.1:2379, separated by commas.
    #[arg(long, value_name = "URL,…", value_delimiter = ',', env = "HEADGATE_ETCD_ENDPOINTS")]
    pub(crate) etcd_endpoints: Option<Vec<String>>,
    /// The cell's name in etcd [default: main].
    #[arg(long, value_name = "NAME", env = "HEADGATE_CELL")]
    pub(crate) cell: Option<String>,
    /// Where objects are kept: s3://bucket/prefix, or file://DIR on a disk that all storage nodes share.
    #[arg(long, value_name = "URL", env = "HEADGATE_OBJECT_STORE")]
    pub(crate) object_store: Option<String>,
    /// What `headgate cell init` wrote: the master key, authorities and certificates [default: ./headgate-secrets].
    #[arg(long, value_name = "DIR", env = "HEADGATE_SECRETS_DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
}

/// The configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct CellFile {
    etcd_endpoints: Option<Vec<String>>,
    /// PEM of the authority that etcd's certificates come from, for https.
    etcd_ca: Option<PathBuf>,
    /// PEM of our certificate, where etcd asks for one.
    etcd_certificate: Option<PathBuf>,
    /// Its key.
    etcd_key: Option<PathBuf>,
    /// How long a read or a commit may take; see `EtcdConfig`.
    etcd_request_ms_max: Option<u64>,
    cell: Option<String>,
    object_store: Option<String>,
    secrets_dir: Option<PathBuf>,
    /// Reach clusters by names of this domain on the gateways' IAM listener, instead of by ports of their own.
    named_domain: Option<String>,
    /// The zones to which the names `b1-…`, `b2-…` and `b3-…` of clusters lead.
    named_zones: Option<[String; 3]>,
    storage: toml::Table,
    gateway: toml::Table,
    control: toml::Table,
    remote: toml::Table,
}

/// Everything decided that is the same for all processes.
#[derive(Debug, Clone)]
pub(crate) struct CellSettings {
    pub(crate) etcd: EtcdConfig,
    pub(crate) etcd_tls: Option<EtcdTls>,
    object_store: Option<String>,
    pub(crate) secrets_dir: PathBuf,
    pub(crate) named_domain: Option<String>,
    pub(crate) named_zones: Option<[String; 3]>,
    pub(crate) storage: toml::Table,
    pub(crate) gateway: toml::Table,
    pub(crate) control: toml::Table,
    pub(crate) remote: toml::Table,
}

/// The files of etcd over TLS.
#[derive(Debug, Clone)]
pub(crate) struct EtcdTls {
    pub(crate) ca: PathBuf,
    /// Certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl CellFlags {
    /// Reads the configuration file and decides everything.
    pub(crate) fn decide(&self) -> Result<CellSettings> {
        let file = match &self.config {
            None => CellFile::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("{} is not a valid configuration", path.display()))?
            }
        };
        let endpoints = self.etcd_endpoints.clone().or(file.etcd_endpoints).unwrap_or_default();
        if endpoints.is_empty() {
            bail!("where is etcd? Say --etcd-endpoints URL,…, or etcd-endpoints in the file of --config");
        }
        let cell = self.cell.clone().or(file.cell).unwrap_or_else(|| "main".to_owned());
        let mut etcd = EtcdConfig::new(endpoints, cell);
        if let Some(ms) = file.etcd_request_ms_max {
            etcd.request_timeout = std::time::Duration::from_millis(ms.max(1));
        }
        let identity = match (file.etcd_certificate, file.etcd_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => bail!("etcd-certificate and etcd-key are given together"),
        };
        let etcd_tls = match (file.etcd_ca, identity) {
            (Some(ca), identity) => Some(EtcdTls { ca, identity }),
            (None, None) => None,
            (None, Some(_)) => bail!("etcd-certificate needs etcd-ca beside it"),
        };
        if let Some(domain) = file.named_domain.as_deref().filter(|domain| !is_domain(domain)) {
            bail!(
                "named-domain {domain}: a domain name in lower case is expected, such as kafka.example.com"
            );
        }
        Ok(CellSettings {
            etcd,
            etcd_tls,
            object_store: self.object_store.clone().or(file.object_store),
            secrets_dir: self
                .secrets_dir
                .clone()
                .or(file.secrets_dir)
                .unwrap_or_else(|| "./headgate-secrets".into()),
            named_domain: file.named_domain,
            named_zones: file.named_zones,
            storage: file.storage,
            gateway: file.gateway,
            control: file.control,
            remote: file.remote,
        })
    }
}

impl CellSettings {
    /// The object store's URL, for roles that need it.
    pub(crate) fn object_store(&self) -> Result<&str> {
        self.object_store.as_deref().context(
            "where are objects kept? Say --object-store URL, or object-store in the file of --config",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str, flags: CellFlags) -> Result<CellSettings> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("headgate.toml");
        std::fs::write(&path, text).expect("written");
        CellFlags { config: Some(path), ..flags }.decide()
    }

    const FILE: &str =
        "etcd-endpoints = [\"http://e:1\"]\nobject-store = \"s3://b/p\"\n[storage]\nchunk_bytes = 7\n";

    #[test]
    fn a_flag_wins_over_the_file_and_sections_are_kept() {
        let settings = with_file(FILE, CellFlags::default()).expect("valid");
        assert_eq!(settings.etcd.endpoints, ["http://e:1"]);
        assert_eq!(
            (settings.etcd.cell.as_str(), settings.object_store().expect("given")),
            ("main", "s3://b/p")
        );
        assert_eq!(settings.storage["chunk_bytes"].as_integer(), Some(7));
        let zones = format!("named-zones = [\"a\", \"b\", \"c\"]\n{FILE}");
        assert_eq!(
            with_file(&zones, CellFlags::default()).expect("valid").named_zones.expect("given"),
            ["a", "b", "c"]
        );
        let flags = CellFlags { cell: Some("other".into()), ..CellFlags::default() };
        assert_eq!(with_file(FILE, flags).expect("valid").etcd.cell, "other");
    }

    #[test]
    fn what_is_missing_or_misspelt_is_named_with_how_to_say_it() {
        let refused =
            |text: &str| format!("{:#}", with_file(text, CellFlags::default()).expect_err("refused"));
        assert!(refused("").contains("--etcd-endpoints"));
        assert!(refused("etcd-endpoint = [\"http://e:1\"]").contains("etcd-endpoint"));
        assert!(refused(&format!("etcd-key = \"k\"\n{FILE}")).contains("etcd-certificate"));
        assert!(refused(&format!("named-domain = \"A B\"\n{FILE}")).contains("named-domain"));
        assert!(refused(&format!("named-zones = [\"a\"]\n{FILE}")).contains("named-zones"));
        let without = with_file("etcd-endpoints = [\"http://e:1\"]", CellFlags::default()).expect("valid");
        assert!(without.object_store().expect_err("none given").to_string().contains("--object-store"));
    }
}
