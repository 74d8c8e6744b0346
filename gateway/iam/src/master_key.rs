//! The master key and the sealing that secrets and session tokens share.
//!
//! Layout of everything sealed, version 1:
//! ```text
//! byte   0      version, 1
//! bytes  1-12   nonce, random
//! bytes 13-     ciphertext of AES-256-GCM, then its 16-byte tag
//! ```
//! The associated data begins with the purpose, so that what was sealed for one purpose opens for no other.
//! Random nonces bound one master key to about 2^32 seals (NIST SP 800-38D §8.3).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::access_key::RandomSource;

/// The version written as the first byte.
const VERSION: u8 = 1;

/// A 32-byte key under which secrets rest. `Debug` hides it.
#[derive(Clone)]
pub struct MasterKey(Arc<LessSafeKey>);

impl MasterKey {
    /// Wraps the key's bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are the key length of AES-256-GCM");
        Self(Arc::new(LessSafeKey::new(key)))
    }

    /// Seals `plain` for `purpose`, bound to `context`. Twenty-nine bytes longer than `plain`.
    ///
    /// `purpose` is a constant that names what is sealed and its version and holds no zero byte.
    pub fn seal(&self, purpose: &str, context: &str, plain: &[u8], random: &mut RandomSource<'_>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce);
        let mut body = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data(purpose, context)),
                &mut body,
            )
            .expect("AES-GCM seals any text below 64 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        sealed
    }

    /// Opens what [`MasterKey::seal`] made with the same purpose and context; `None` for everything else.
    pub fn open(&self, purpose: &str, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        if version != VERSION {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain =
            self.0.open_in_place(nonce, Aad::from(associated_data(purpose, context)), &mut body).ok()?;
        Some(plain.to_vec())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(hidden)")
    }
}

/// The zero byte ends the purpose, so that no purpose and context run together.
fn associated_data(purpose: &str, context: &str) -> Vec<u8> {
    [purpose.as_bytes(), b"\0", context.as_bytes()].concat()
}
