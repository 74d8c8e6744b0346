//! Certificates made for a test.

use headgate_storage_client::wire::Credentials;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Credentials of `storage/<node>` or `gateway/<name>` in the test's cell.
    pub(crate) fn issue(&self, role: &str) -> Credentials {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        let name = format!("headgate://cell/{role}");
        params.subject_alt_names = vec![SanType::URI(name.try_into().expect("ASCII"))];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        Credentials::from_pem(self.pem.as_bytes(), chain.as_bytes(), key.as_bytes()).expect("usable")
    }
}
