//! What every signed message comes down to: a scope, a date, a canonical request and a signature.

use aws_lc_rs::digest;

use super::encoding::hex;
use super::scope::CredentialScope;
use super::signing_key::SigningKey;
use super::{ALGORITHM, BodyHash};
use crate::access_key::SecretKey;
use crate::unix_time::UnixTime;

/// A signature as sent: sixty-four lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature(String);

impl Signature {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let well_formed =
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        well_formed.then(|| Self(text.to_owned()))
    }
}

/// A message that claims to be signed; nothing about it is proven until [`SignedClaim::is_signed_with`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedClaim {
    scope: CredentialScope,
    signed_at: UnixTime,
    canonical_request: String,
    signature: Signature,
}

impl SignedClaim {
    /// `None` if the scope's day is not the date's: SigV4 requires them equal.
    pub(crate) fn new(
        scope: CredentialScope,
        signed_at: UnixTime,
        canonical_request: String,
        signature: Signature,
    ) -> Option<Self> {
        let same_day = signed_at.to_amz_date().get(..8) == Some(scope.date.as_str());
        same_day.then_some(Self { scope, signed_at, canonical_request, signature })
    }

    pub(crate) fn scope(&self) -> &CredentialScope {
        &self.scope
    }

    pub(crate) fn signed_at(&self) -> UnixTime {
        self.signed_at
    }

    /// Recomputes the signature with `secret` and compares in constant time.
    pub(crate) fn is_signed_with(&self, secret: &SecretKey) -> bool {
        let key = SigningKey::derive(secret, self.signed_at, &self.scope.region, &self.scope.service);
        key.verifies(&self.string_to_sign(), &self.signature.0)
    }

    /// A short name for this signature in audit lines: the first 16 hex digits of its SHA-256. It tells two uses of
    /// one stolen token apart from two logins without letting a reader of the log use either.
    pub(crate) fn fingerprint(&self) -> String {
        hex(&digest::digest(&digest::SHA256, self.signature.0.as_bytes()).as_ref()[..8])
    }

    fn string_to_sign(&self) -> String {
        let request_hash = BodyHash::of(self.canonical_request.as_bytes());
        let date = self.signed_at.to_amz_date();
        format!("{ALGORITHM}\n{date}\n{}\n{request_hash}", self.scope.signed_part())
    }

    #[cfg(test)]
    pub(crate) fn canonical_request(&self) -> &str {
        &self.canonical_request
    }

    #[cfg(test)]
    pub(crate) fn string_to_sign_for_tests(&self) -> String {
        self.string_to_sign()
    }
}
