//! Session tokens: a temporary credential that carries itself, so that any gateway opens it without a look-up.
//!
//! A token is base64url text without padding (no character of it needs escaping in a query) around a sealed body in
//! the layout of [`crate::master_key`]. Version 1 of the body, all integers little-endian, `text` = u16 length and
//! UTF-8 bytes:
//! ```text
//! i64   issued at, Unix milliseconds
//! i64   expires at, Unix milliseconds
//! text  access key id
//! text  secret access key
//! text  account id
//! u8    kind of principal: 0 root, 1 user, 2 role session
//! text  principal's ARN            (kinds 1, 2)
//! text  principal's unique id      (kinds 1, 2)
//! text  user name                  (kind 1)
//! text  role ARN, text session name (kind 2)
//! text  session policy             (only where the session has one)
//! ```
//! Nothing may follow.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access_key::{RandomSource, SecretKey};
use crate::arn::AccountId;
use crate::master_key::MasterKey;
use crate::principal::{Principal, PrincipalKind};
use crate::unix_time::UnixTime;

const PURPOSE: &str = "headgate.session-token.v1";

/// Longest token looked at. Ours are below 1 KiB unless names are very long.
const TOKEN_LENGTH_MAX: usize = 16 * 1024;

/// What a session token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// The temporary access key id, `ASIA…`.
    pub access_key_id: String,
    /// Its secret.
    pub secret: SecretKey,
    /// Whose session it is.
    pub principal: Principal,
    /// When the session began.
    pub issued_at: UnixTime,
    /// The policy that narrows the session, as the JSON text that was given.
    pub policy: Option<String>,
    /// When it ends. [`open`] does not compare it with any clock: the verification does, behind the signature.
    pub expires_at: UnixTime,
}

/// The token is not one of ours, was changed, or was issued for another access key id. The holder needs a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("security token is invalid or belongs to another key")]
pub struct SessionTokenInvalid;

/// Makes the token of a session.
pub fn seal(master_key: &MasterKey, claims: &SessionClaims, random: &mut RandomSource<'_>) -> String {
    URL_SAFE_NO_PAD.encode(master_key.seal(PURPOSE, "", &encode(claims), random))
}

/// Opens a token that was sent together with `access_key_id`.
pub fn open(
    master_key: &MasterKey,
    access_key_id: &str,
    token: &str,
) -> Result<SessionClaims, SessionTokenInvalid> {
    if token.len() > TOKEN_LENGTH_MAX {
        return Err(SessionTokenInvalid);
    }
    let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| SessionTokenInvalid)?;
    let body = master_key.open(PURPOSE, "", &sealed).ok_or(SessionTokenInvalid)?;
    let claims = decode(&body).ok_or(SessionTokenInvalid)?;
    if claims.access_key_id == access_key_id { Ok(claims) } else { Err(SessionTokenInvalid) }
}

fn encode(claims: &SessionClaims) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&claims.issued_at.as_millis().to_le_bytes());
    out.extend_from_slice(&claims.expires_at.as_millis().to_le_bytes());
    put_text(&mut out, &claims.access_key_id);
    put_text(&mut out, claims.secret.expose());
    put_text(&mut out, claims.principal.account().as_str());
    match claims.principal.kind() {
        PrincipalKind::Root => out.push(0),
        PrincipalKind::User { name } => {
            out.push(1);
            put_text(&mut out, claims.principal.arn());
            put_text(&mut out, claims.principal.id());
            put_text(&mut out, name);
        }
        PrincipalKind::RoleSession { role_arn, session_name } => {
            out.push(2);
            put_text(&mut out, claims.principal.arn());
            put_text(&mut out, claims.principal.id());
            put_text(&mut out, role_arn);
            put_text(&mut out, session_name);
        }
    }
    if let Some(policy) = &claims.policy {
        put_text(&mut out, policy);
    }
    out
}

/// Names, ARNs and session policies are bounded far below 64 KiB by IAM (2,048 characters); a longer text is cut and the
/// token then names nobody who exists, or holds a policy that does not parse.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn decode(body: &[u8]) -> Option<SessionClaims> {
    let mut reader = Reader(body);
    let issued_at = UnixTime::from_millis(reader.i64()?);
    let expires_at = UnixTime::from_millis(reader.i64()?);
    let access_key_id = reader.text()?;
    let secret = SecretKey::new(reader.text()?);
    let account = AccountId::parse(&reader.text()?)?;
    let principal = match reader.u8()? {
        0 => Principal::root(account),
        1 => {
            let (arn, id, name) = (reader.text()?, reader.text()?, reader.text()?);
            Principal::user(account, arn, name, id)
        }
        2 => {
            let (arn, id, role_arn, session_name) =
                (reader.text()?, reader.text()?, reader.text()?, reader.text()?);
            Principal::role_session(account, arn, role_arn, session_name, id)
        }
        _ => return None,
    };
    let policy = if reader.0.is_empty() { None } else { Some(reader.text()?) };
    let claims = SessionClaims { access_key_id, secret, principal, issued_at, policy, expires_at };
    reader.0.is_empty().then_some(claims)
}

/// Takes fields off the front of a body.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.array().map(u16::from_le_bytes)?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(str::from_utf8(text).ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret_box;

    fn account() -> AccountId {
        AccountId::parse("123456789012").unwrap()
    }

    fn claims(principal: Principal) -> SessionClaims {
        SessionClaims {
            access_key_id: "ASIAEXAMPLE000000001".to_owned(),
            secret: SecretKey::new("temporary/secret+0123456789abcdefghijklm"),
            principal,
            issued_at: UnixTime::from_seconds(1_767_323_045),
            policy: None,
            expires_at: UnixTime::from_seconds(1_767_326_645),
        }
    }

    fn user() -> Principal {
        let arn = "arn:aws:iam::123456789012:user/app/alice".to_owned();
        Principal::user(account(), arn, "alice".to_owned(), "AIDAEXAMPLE000000001".to_owned())
    }

    fn master_key() -> MasterKey {
        MasterKey::new(&[7; 32])
    }

    fn sealed() -> String {
        seal(&master_key(), &claims(user()), &mut |bytes| bytes.fill(9))
    }

    /// Computed independently with Python's `cryptography`.
    #[test]
    fn a_token_has_the_golden_bytes_of_version_1() {
        let golden = "AQkJCQkJCQkJCQkJCa8JLegl8cFhqBkrRH3ro9_AsCKgfa-ymC7jFuqQRDFK49XX89JjAhAL1shmK0aCpgV77fFx5ss6Tl8wpWUiT7hb\
                      R7Fv60WIxr6HoR3VguiYEen6JJgz8YtKh2-2brUMSgMQpv3zPPx6GKj2ZVLdfSWYOjhOqq332Gbg5Z8-YzLZ4ehvRBbGPZ0tcMyM\
                      MaEH50WWLTu-FuR8aRWdr4yMPpQbCIU3B-TXG0rRWvRFsywYxMIYGdZc";
        assert_eq!(sealed(), golden);
    }

    #[test]
    fn a_token_body_has_the_golden_bytes_of_version_1() {
        let body: Vec<u8> = encode(&claims(user()));
        assert_eq!(&body[..16], [136, 140, 169, 124, 155, 1, 0, 0, 8, 123, 224, 124, 155, 1, 0, 0]);
        assert_eq!(&body[16..38], b"\x14\0ASIAEXAMPLE000000001");
        assert_eq!(&body[body.len() - 7..], b"\x05\0alice");
    }

    #[test]
    fn a_token_gives_back_what_was_sealed_for_every_kind_of_principal() {
        let role = Principal::role_session(
            account(),
            "arn:aws:sts::123456789012:assumed-role/app/s1".to_owned(),
            "arn:aws:iam::123456789012:role/app".to_owned(),
            "s1".to_owned(),
            "AROAEXAMPLE:s1".to_owned(),
        );
        for (principal, policy) in [(user(), None), (role, Some("{}")), (Principal::root(account()), None)] {
            let claims = SessionClaims { policy: policy.map(str::to_owned), ..claims(principal) };
            let token = seal(&master_key(), &claims, &mut |bytes| bytes.fill(3));
            assert_eq!(open(&master_key(), "ASIAEXAMPLE000000001", &token), Ok(claims));
        }
    }

    #[test]
    fn a_token_sent_with_another_key_id_is_invalid() {
        assert_eq!(open(&master_key(), "ASIAEXAMPLE000000002", &sealed()), Err(SessionTokenInvalid));
    }

    #[test]
    fn a_token_of_another_master_key_is_invalid() {
        let other = MasterKey::new(&[8; 32]);
        assert_eq!(open(&other, "ASIAEXAMPLE000000001", &sealed()), Err(SessionTokenInvalid));
    }

    #[test]
    fn every_changed_or_missing_byte_makes_a_token_invalid() {
        let bytes = URL_SAFE_NO_PAD.decode(sealed()).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x40;
            let token = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(
                open(&master_key(), "ASIAEXAMPLE000000001", &token),
                Err(SessionTokenInvalid),
                "byte {index}"
            );
            let token = URL_SAFE_NO_PAD.encode(&bytes[..index]);
            assert_eq!(
                open(&master_key(), "ASIAEXAMPLE000000001", &token),
                Err(SessionTokenInvalid),
                "cut {index}"
            );
        }
    }

    #[test]
    fn a_stored_secret_does_not_pass_as_a_token() {
        let key = master_key();
        let sealed = secret_box::seal(&key, "", &SecretKey::new("x"), &mut |bytes| bytes.fill(1));
        let as_token = sealed.trim_end_matches('=').replace('+', "-").replace('/', "_");
        assert_eq!(open(&key, "ASIAEXAMPLE000000001", &as_token), Err(SessionTokenInvalid));
    }

    #[test]
    fn a_body_with_bytes_behind_it_or_cut_short_is_refused() {
        let whole = encode(&SessionClaims { policy: Some("{}".to_owned()), ..claims(user()) });
        assert!(decode(&whole[..whole.len() - 1]).is_none() && decode(&[whole, vec![0]].concat()).is_none());
        let body = encode(&claims(user()));
        assert!(decode(&body).is_some());
        for length in 0..body.len() {
            assert!(decode(&body[..length]).is_none(), "length {length}");
        }
        assert!(decode(&[body, vec![0]].concat()).is_none());
    }

    #[test]
    fn debug_of_claims_hides_the_secret() {
        assert!(!format!("{:?}", claims(user())).contains("temporary/secret"));
    }
}
