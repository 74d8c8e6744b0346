//! Joining a cell: its metadata store, its record, and the certificate by which this process proves what it is there.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use headgate_metadata::etcd::EtcdStore;
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, Record as _};
use headgate_metadata::store::SharedStore;
use headgate_storage_client::wire::{Credentials, PeerIdentity, PeerRole};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{CellSettings, EtcdTls};

/// The authority of the processes' own certificates, and of those that clients see, in the secrets directory.
pub(crate) const INTERNAL_CA: &str = "internal-ca";
/// See [`INTERNAL_CA`].
pub(crate) const CLIENTS_CA: &str = "clients-ca";
/// The cell's master key, in the secrets directory.
pub(crate) const MASTER_KEY: &str = "master.key";

/// Connects to etcd; nothing is sent yet.
pub(crate) fn metadata_store(settings: &CellSettings) -> Result<SharedStore> {
    let tls = settings.etcd_tls.as_ref().map(etcd_client_config).transpose()?;
    let store = EtcdStore::new(&settings.etcd, tls).map_err(|error| anyhow!(error))?;
    Ok(Arc::new(store))
}

fn etcd_client_config(tls: &EtcdTls) -> Result<ClientConfig> {
    let unreadable = |path: &Path| format!("cannot read {}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&tls.ca).with_context(|| unreadable(&tls.ca))? {
        roots.add(certificate.with_context(|| unreadable(&tls.ca))?)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| unreadable(key))?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

/// Reads the cell's record.
pub(crate) async fn record(store: &SharedStore, settings: &CellSettings) -> Result<CellRecord> {
    let entry = store.get(keys::CELL).await.context("the cell's record cannot be read")?;
    let entry = entry.with_context(|| {
        format!("etcd holds no cell `{}`; make it with `headgate cell init`", settings.etcd.cell)
    })?;
    Ok(CellRecord::decode(&entry.value)?)
}

/// The file names of a role's certificate and key, without their ends.
pub(crate) fn stem(role: &PeerRole) -> String {
    role.to_string().replace('/', "-")
}

/// Loads what this process proves itself with, and makes sure that it says what it should.
pub(crate) fn credentials(settings: &CellSettings, cell: &CellRecord, role: PeerRole) -> Result<Credentials> {
    let read = |name: &str| {
        let path = settings.secrets_dir.join(name);
        std::fs::read(&path).with_context(|| {
            format!(
                "cannot read {}; `headgate cell issue {role}` makes a process's certificate",
                path.display()
            )
        })
    };
    let stem = stem(&role);
    let (ca, chain, key) =
        (read(&format!("{INTERNAL_CA}.pem"))?, read(&format!("{stem}.pem"))?, read(&format!("{stem}.key"))?);
    let credentials = Credentials::from_pem(&ca, &chain, &key)
        .with_context(|| format!("{stem}.pem of {}", settings.secrets_dir.display()))?;
    let expected = PeerIdentity { cell: cell.cell.as_str().into(), role };
    if *credentials.identity() != expected {
        bail!("{stem}.pem is the certificate of {}, this process is {expected}", credentials.identity());
    }
    Ok(credentials)
}
