//! Where to connect and how to prove who we are: the arguments that every subcommand shares.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use crate::client::sasl::{Login, Mechanism};

/// Certificates that the system trusts, when `--ca` names no other.
const SYSTEM_CA_PATH: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The endpoint's arguments.
#[derive(Args, Clone, Debug)]
pub(crate) struct EndpointArguments {
    /// First addresses to dial, `HOST:PORT[,HOST:PORT...]`.
    #[arg(long, required_unless_present = "dev_json")]
    bootstrap: Option<String>,
    /// TLS and IAM; keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION.
    #[arg(long)]
    iam: bool,
    /// No TLS and no login (the default).
    #[arg(long, conflicts_with = "iam")]
    plaintext: bool,
    /// SASL mechanism with --iam.
    #[arg(long, value_enum, default_value_t = Mechanism::AwsMskIam)]
    mechanism: Mechanism,
    /// Trusted certificates with --iam, PEM; the system's by default.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Takes address, keys, region and CA from the `dev.json` of a Headgate data directory.
    #[arg(long)]
    dev_json: Option<PathBuf>,
}

/// The fields of `dev.json` that a client needs.
#[derive(Clone, Debug, Deserialize)]
struct DevJson {
    bootstrap_iam: Option<String>,
    bootstrap_plaintext: Option<String>,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    ca_pem_path: PathBuf,
}

/// One address to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl HostPort {
    /// Parses `HOST:PORT`; an IPv6 address may stand in brackets.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (host, port) =
            text.trim().rsplit_once(':').with_context(|| format!("`{text}` is not HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            bail!("`{text}` names no host");
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().with_context(|| format!("`{text}` has no valid port"))?,
        })
    }
}

/// How bytes are protected and who is logged in.
#[derive(Clone)]
pub(crate) enum Security {
    /// Plain TCP, no login.
    Plaintext,
    /// TLS, then SASL with signed credentials.
    Iam { tls: Arc<ClientConfig>, login: Arc<Login> },
}

/// A resolved endpoint; cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) bootstrap: Vec<HostPort>,
    pub(crate) security: Security,
}

impl EndpointArguments {
    /// Reads keys and certificates; everything that can be wrong with the arguments is found here.
    pub(crate) fn resolve(&self) -> anyhow::Result<Endpoint> {
        let dev = self.dev_json.as_deref().map(load_dev_json).transpose()?;
        let from_dev = dev
            .as_ref()
            .and_then(|dev| if self.iam { &dev.bootstrap_iam } else { &dev.bootstrap_plaintext }.clone());
        let bootstrap = self
            .bootstrap
            .clone()
            .or(from_dev)
            .context("dev.json names no such listener; give --bootstrap")?;
        let bootstrap = bootstrap.split(',').map(HostPort::parse).collect::<anyhow::Result<Vec<_>>>()?;
        let security = if self.iam { self.resolve_iam(dev.as_ref())? } else { Security::Plaintext };
        Ok(Endpoint { bootstrap, security })
    }

    fn resolve_iam(&self, dev: Option<&DevJson>) -> anyhow::Result<Security> {
        let login = match dev {
            Some(dev) => Login {
                access_key_id: dev.access_key_id.clone(),
                secret_access_key: dev.secret_access_key.clone(),
                session_token: None,
                region: dev.region.clone(),
                mechanism: self.mechanism,
            },
            None => login_from_environment(self.mechanism)?,
        };
        let ca = self
            .ca
            .as_deref()
            .or(dev.map(|dev| dev.ca_pem_path.as_path()))
            .unwrap_or(Path::new(SYSTEM_CA_PATH));
        Ok(Security::Iam { tls: Arc::new(load_tls(ca)?), login: Arc::new(login) })
    }
}

fn load_dev_json(path: &Path) -> anyhow::Result<DevJson> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a dev.json", path.display()))
}

fn login_from_environment(mechanism: Mechanism) -> anyhow::Result<Login> {
    let variable =
        |name: &str| std::env::var(name).with_context(|| format!("--iam needs {name} in the environment"));
    Ok(Login {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        session_token: std::env::var("AWS_SESSION_TOKEN").ok().filter(|token| !token.is_empty()),
        region: variable("AWS_REGION").or_else(|_| variable("AWS_DEFAULT_REGION"))?,
        mechanism,
    })
}

fn load_tls(ca: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(ca).with_context(|| format!("cannot read {}", ca.display()))?
    {
        // System bundles hold a few certificates that rustls does not take; the others suffice.
        let _ = roots.add(certificate.with_context(|| format!("{} is not PEM", ca.display()))?);
    }
    if roots.is_empty() {
        bail!("{} holds no usable certificate", ca.display());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_with_and_without_brackets() {
        let parsed = |text| HostPort::parse(text).map(|address| (address.host, address.port)).ok();
        assert_eq!(parsed("localhost:9098"), Some(("localhost".to_owned(), 9098)));
        assert_eq!(parsed("[::1]:9098"), Some(("::1".to_owned(), 9098)));
        for wrong in ["localhost", "localhost:", ":9098", "localhost:70000", ""] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    fn arguments(dev_json: PathBuf, iam: bool) -> EndpointArguments {
        EndpointArguments {
            bootstrap: None,
            iam,
            plaintext: false,
            mechanism: Mechanism::Oauthbearer,
            ca: None,
            dev_json: Some(dev_json),
        }
    }

    fn dev_json(folder: &Path, plaintext: &str) -> PathBuf {
        let path = folder.join("dev.json");
        let text = format!(
            r#"{{"bootstrap_iam":"localhost:9098","bootstrap_plaintext":{plaintext},"api_url":"http://127.0.0.1:9080",
            "cluster_arn":"arn","cluster_name":"demo","region":"us-east-1","account_id":"123456789012",
            "access_key_id":"AKID","secret_access_key":"secret","ca_pem_path":"{}/missing.pem","pid":1}}"#,
            folder.display()
        );
        std::fs::write(&path, text).expect("writes");
        path
    }

    #[test]
    fn dev_json_gives_the_plaintext_address() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let endpoint =
            arguments(dev_json(folder.path(), r#""127.0.0.1:9092""#), false).resolve().expect("resolves");
        assert_eq!(endpoint.bootstrap, [HostPort { host: "127.0.0.1".to_owned(), port: 9092 }]);
        assert!(matches!(endpoint.security, Security::Plaintext));
    }

    #[test]
    fn a_listener_that_is_off_is_named_as_such() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let result = arguments(dev_json(folder.path(), "null"), false).resolve();
        assert!(result.err().expect("fails").to_string().contains("names no such listener"));
    }

    #[test]
    fn a_missing_ca_file_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let result = arguments(dev_json(folder.path(), "null"), true).resolve();
        assert!(result.err().expect("fails").to_string().contains("missing.pem"));
    }
}
