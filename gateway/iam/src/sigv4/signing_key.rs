//! The key that signs: derived from a secret for one day, region and service.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::access_key::SecretKey;
use crate::unix_time::UnixTime;

/// `HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request")`.
///
/// Deriving it costs four HMACs, about two thirds of a verification. It stays valid for one (secret, day, region,
/// service), so a caller with many requests of one key may keep it.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Derives the key for the UTC day of `day`.
    pub fn derive(secret: &SecretKey, day: UnixTime, region: &str, service: &str) -> Self {
        let derived =
            aws_sigv4::sign::v4::generate_signing_key(secret.expose(), day.to_system_time(), region, service);
        let mut key = [0; 32];
        key.copy_from_slice(derived.as_ref());
        Self(key)
    }

    /// Signs a string to sign: sixty-four lower-case hex digits.
    pub fn sign(&self, string_to_sign: &str) -> String {
        aws_sigv4::sign::v4::calculate_signature(self.0, string_to_sign.as_bytes())
    }

    /// Whether `signature` is what this key makes of `string_to_sign`; takes the same time for every wrong answer.
    pub(crate) fn verifies(&self, string_to_sign: &str, signature: &str) -> bool {
        self.sign(string_to_sign).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    #[cfg(test)]
    pub(crate) fn to_hex(&self) -> String {
        super::encoding::hex(&self.0)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(hidden)")
    }
}
