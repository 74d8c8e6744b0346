//! Certificate authorities of a cell, and the certificates they sign. Keys are readable by their owner alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::data_dir::write_private;

/// An authority with its key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, to be trusted.
    pub(crate) pem_path: PathBuf,
}

impl Authority {
    /// Finds `<stem>.pem` and `<stem>.key` in the directory, or makes them.
    pub(crate) fn load_or_create(dir: &Path, stem: &str, common_name: &str) -> Result<Self> {
        let (pem_path, key_path) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
        if !key_path.exists() || !pem_path.exists() {
            let key = KeyPair::generate().context("cannot make the authority's key")?;
            let certificate =
                params(common_name).self_signed(&key).context("cannot sign the authority's certificate")?;
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            write_private(&pem_path, certificate.pem().as_bytes())?;
        }
        let text = std::fs::read_to_string(&key_path)
            .with_context(|| format!("cannot read {}", key_path.display()))?;
        let key = KeyPair::from_pem(&text)
            .with_context(|| format!("{} is not a private key", key_path.display()))?;
        Ok(Self { issuer: Issuer::new(params(common_name), key), pem_path })
    }

    /// Signs a server's certificate for these host names and IP addresses and writes `<stem>.pem` and `<stem>.key`.
    pub(crate) fn issue_server(&self, dir: &Path, stem: &str, names: &[String]) -> Result<()> {
        let mut params = CertificateParams::new(names.to_vec()).context("a certificate name is not valid")?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(dir, stem, params)
    }

    /// Signs the certificate by which a process proves to others what it is in the cell, and writes it likewise.
    pub(crate) fn issue_identity(&self, dir: &Path, stem: &str, identity: &str) -> Result<()> {
        let mut params = CertificateParams::default();
        let uri = identity.try_into().with_context(|| format!("`{identity}` is not a URI"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(dir, stem, params)
    }

    fn issue(&self, dir: &Path, stem: &str, mut params: CertificateParams) -> Result<()> {
        let key = KeyPair::generate().context("cannot make a key")?;
        params.distinguished_name = named("headgate");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        write_private(&dir.join(format!("{stem}.key")), key.serialize_pem().as_bytes())?;
        write_private(&dir.join(format!("{stem}.pem")), certificate.pem().as_bytes())
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
