//! Long-term secrets at rest: sealed under the master key, bound to their access key id, as base64 text.
//!
//! A row copied to another access key id does not open. The layout is that of [`crate::master_key`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::access_key::{RandomSource, SecretKey};
use crate::master_key::MasterKey;

const PURPOSE: &str = "headgate.secret.v1";

/// A sealed secret does not open: it was damaged, sealed under another master key or for another access key id.
/// Nothing can be done with it; the key must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored secret does not open under this master key and access key id")]
pub struct SecretSealBroken;

/// Seals `secret` for storage beside `access_key_id`.
pub fn seal(
    master_key: &MasterKey,
    access_key_id: &str,
    secret: &SecretKey,
    random: &mut RandomSource<'_>,
) -> String {
    STANDARD.encode(master_key.seal(PURPOSE, access_key_id, secret.expose().as_bytes(), random))
}

/// Opens what [`seal`] made for the same access key id.
pub fn open(
    master_key: &MasterKey,
    access_key_id: &str,
    sealed: &str,
) -> Result<SecretKey, SecretSealBroken> {
    let bytes = STANDARD.decode(sealed).map_err(|_| SecretSealBroken)?;
    let plain = master_key.open(PURPOSE, access_key_id, &bytes).ok_or(SecretSealBroken)?;
    String::from_utf8(plain).map(SecretKey::new).map_err(|_| SecretSealBroken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master_key() -> MasterKey {
        MasterKey::new(&[7; 32])
    }

    fn sealed() -> String {
        seal(&master_key(), "AKIAEXAMPLE", &SecretKey::new("top/secret+40"), &mut |bytes| bytes.fill(9))
    }

    /// Computed independently with Python's `cryptography`.
    #[test]
    fn a_sealed_secret_has_the_golden_bytes_of_version_1() {
        assert_eq!(sealed(), "AQkJCQkJCQkJCQkJCVPq9LvNlaITxRbgDNbvp18TxO8QKAOWI1AdgmUF");
    }

    #[test]
    fn a_secret_opens_for_its_own_key_id_only() {
        assert_eq!(open(&master_key(), "AKIAEXAMPLE", &sealed()).unwrap().expose(), "top/secret+40");
        assert_eq!(open(&master_key(), "AKIAOTHER", &sealed()), Err(SecretSealBroken));
        assert_eq!(open(&MasterKey::new(&[8; 32]), "AKIAEXAMPLE", &sealed()), Err(SecretSealBroken));
    }

    #[test]
    fn every_changed_byte_breaks_the_seal() {
        let bytes = STANDARD.decode(sealed()).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let result = open(&master_key(), "AKIAEXAMPLE", &STANDARD.encode(changed));
            assert_eq!(result, Err(SecretSealBroken), "byte {index}");
        }
        for length in 0..bytes.len() {
            let cut = STANDARD.encode(&bytes[..length]);
            assert_eq!(open(&master_key(), "AKIAEXAMPLE", &cut), Err(SecretSealBroken), "length {length}");
        }
        assert_eq!(open(&master_key(), "AKIAEXAMPLE", "not base64!"), Err(SecretSealBroken));
    }

    #[test]
    fn debug_hides_the_master_key() {
        assert_eq!(format!("{:?}", master_key()), "MasterKey(hidden)");
    }
}
