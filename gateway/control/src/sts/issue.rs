//! Making temporary credentials. Nothing is stored: the token carries everything, sealed.

use std::time::Duration;

use headgate_iam::{
    AccessKeyKind, Principal, SecretKey, SessionClaims, UnixTime, generate_access_key_id, session_token,
};

use crate::components::Components;

/// A new temporary credential.
pub(crate) struct IssuedSession {
    pub(crate) access_key_id: String,
    pub(crate) secret: SecretKey,
    pub(crate) token: String,
    pub(crate) expires_at: UnixTime,
}

/// Makes a temporary credential, which `policy` narrows where there is one.
pub(crate) fn issue(
    components: &Components,
    principal: Principal,
    policy: Option<String>,
    duration: Duration,
    now: UnixTime,
) -> IssuedSession {
    let mut random = |bytes: &mut [u8]| (components.random)(bytes);
    let claims = SessionClaims {
        access_key_id: generate_access_key_id(AccessKeyKind::Temporary, &mut random),
        secret: SecretKey::generate(&mut random),
        principal,
        issued_at: now,
        policy,
        expires_at: now.plus(duration),
    };
    let token = session_token::seal(&components.master_key, &claims, &mut random);
    let SessionClaims { access_key_id, secret, expires_at, .. } = claims;
    IssuedSession { access_key_id, secret, token, expires_at }
}
