//! Access key ids and secret access keys: their shape, and how new ones are made from random bytes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A source of random bytes: fills the slice it is given. The binary passes the operating system's; tests pass
/// fixed bytes.
pub type RandomSource<'a> = dyn FnMut(&mut [u8]) + 'a;

/// A secret access key. `Debug` hides it, and nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Box<str>);

impl SecretKey {
    /// Wraps a secret, as stored or as issued.
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Self(secret.into())
    }

    /// Makes a new secret of 40 characters (240 random bits in base64), the length AWS uses.
    pub fn generate(random: &mut RandomSource<'_>) -> Self {
        let mut bytes = [0; 30];
        random(&mut bytes);
        Self(STANDARD.encode(bytes).into())
    }

    /// The secret itself. To be shown to its owner once, and to be sealed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(hidden)")
    }
}

/// The two kinds of access key, told apart by their first four letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKeyKind {
    /// `AKIA…`: lives until it is deleted.
    LongTerm,
    /// `ASIA…`: lives as long as its session token.
    Temporary,
}

impl AccessKeyKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::LongTerm => "AKIA",
            Self::Temporary => "ASIA",
        }
    }

    /// The kind an id claims to be of; `None` for ids of another form, which may still be stored keys.
    pub fn of(access_key_id: &str) -> Option<Self> {
        [Self::LongTerm, Self::Temporary].into_iter().find(|kind| access_key_id.starts_with(kind.prefix()))
    }
}

/// Makes a new access key id: the kind's prefix and 16 letters and digits (80 random bits in base32).
pub fn generate_access_key_id(kind: AccessKeyKind, random: &mut RandomSource<'_>) -> String {
    unique_id(kind.prefix(), random)
}

/// Makes a new unique id of a user, the value of `aws:userid`: `AIDA` and 16 letters and digits.
pub fn generate_user_id(random: &mut RandomSource<'_>) -> String {
    unique_id("AIDA", random)
}

/// Makes a new unique id of a group: `AGPA` and 16 letters and digits.
pub fn generate_group_id(random: &mut RandomSource<'_>) -> String {
    unique_id("AGPA", random)
}

/// Makes a new unique id of a role, the first half of `aws:userid`: `AROA` and 16 letters and digits.
pub fn generate_role_id(random: &mut RandomSource<'_>) -> String {
    unique_id("AROA", random)
}

/// Makes a new unique id of a managed policy: `ANPA` and 16 letters and digits.
pub fn generate_policy_id(random: &mut RandomSource<'_>) -> String {
    unique_id("ANPA", random)
}

fn unique_id(prefix: &str, random: &mut RandomSource<'_>) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0; 16];
    random(&mut bytes);
    let mut id = String::with_capacity(prefix.len() + bytes.len());
    id.push_str(prefix);
    id.extend(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut(&mut [u8]) {
        let mut next = 0_u8;
        move |bytes| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(37);
            }
        }
    }

    #[test]
    fn generated_keys_have_the_shape_of_aws_keys() {
        let mut random = counting();
        let id = generate_access_key_id(AccessKeyKind::LongTerm, &mut random);
        assert_eq!((id.len(), AccessKeyKind::of(&id)), (20, Some(AccessKeyKind::LongTerm)));
        let id = generate_access_key_id(AccessKeyKind::Temporary, &mut random);
        assert_eq!((id.len(), AccessKeyKind::of(&id)), (20, Some(AccessKeyKind::Temporary)));
        assert_eq!(SecretKey::generate(&mut random).expose().len(), 40);
        assert!(generate_user_id(&mut random).starts_with("AIDA"));
    }

    #[test]
    fn the_same_random_bytes_make_the_same_key() {
        assert_eq!(SecretKey::generate(&mut counting()), SecretKey::generate(&mut counting()));
        assert_eq!(generate_access_key_id(AccessKeyKind::LongTerm, &mut counting()), "AKIAAFKPUZ6DINSX4BGL");
    }

    #[test]
    fn debug_hides_the_secret() {
        assert!(!format!("{:?}", SecretKey::new("hunter2")).contains("hunter2"));
    }
}
