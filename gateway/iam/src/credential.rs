//! What is known of a credential: its secret, its state, and whose it is.

use crate::access_key::SecretKey;
use crate::master_key::MasterKey;
use crate::principal::Principal;
use crate::session_token::{self, SessionClaims, SessionTokenInvalid};
use crate::unix_time::UnixTime;

/// Whether a long-term access key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may.
    Active,
    /// It is switched off.
    Inactive,
}

/// What a session token says, once it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The access key id the token was issued for; it opens no other key.
    pub access_key_id: String,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// When it ends.
    pub expires_at: UnixTime,
    /// The policy that narrows it, as the JSON text that was given.
    pub policy: Option<String>,
}

/// Everything a verification needs of a key: made from a stored access key or from an opened session token.
#[derive(Clone, Debug)]
pub struct KeyMaterial {
    secret: SecretKey,
    status: KeyStatus,
    session: Option<Session>,
    principal: Principal,
}

/// Why a key that signed correctly, or is about to be tried, may not be used. Each shape of request has its own
/// words for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialDefect {
    Inactive,
    TokenMismatch,
    SessionExpired,
}

impl KeyMaterial {
    /// A long-term key, as stored.
    pub fn long_term(secret: SecretKey, status: KeyStatus, principal: Principal) -> Self {
        Self { secret, status, session: None, principal }
    }

    /// A session's temporary key. `status` is what the caller knows of the principal behind it.
    pub fn temporary(secret: SecretKey, status: KeyStatus, session: Session, principal: Principal) -> Self {
        Self { secret, status, session: Some(session), principal }
    }

    /// The same key with another status: for a session whose user is gone or switched off.
    #[must_use]
    pub fn with_status(self, status: KeyStatus) -> Self {
        Self { status, ..self }
    }

    /// Opens a session token that was sent with `access_key_id`: it is the whole credential, nothing of it is stored.
    pub fn open_session(
        master_key: &MasterKey,
        access_key_id: &str,
        token: &str,
    ) -> Result<Self, SessionTokenInvalid> {
        session_token::open(master_key, access_key_id, token).map(Self::from)
    }

    /// The secret.
    pub(crate) fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The session behind a temporary key.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whose key it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// A temporary key needs its own token; a long-term key has none, so one that was sent belongs to another.
    pub(crate) fn check_token(&self, access_key_id: &str, token_sent: bool) -> Result<(), CredentialDefect> {
        let bound = match &self.session {
            Some(session) => token_sent && session.access_key_id == access_key_id,
            None => !token_sent,
        };
        if bound { Ok(()) } else { Err(CredentialDefect::TokenMismatch) }
    }

    /// To be asked behind a right signature only.
    pub(crate) fn check_state(&self, now: UnixTime) -> Result<(), CredentialDefect> {
        if self.status == KeyStatus::Inactive {
            return Err(CredentialDefect::Inactive);
        }
        match &self.session {
            Some(session) if now >= session.expires_at => Err(CredentialDefect::SessionExpired),
            _ => Ok(()),
        }
    }
}

impl From<SessionClaims> for KeyMaterial {
    /// The key is active as far as its token can tell; see [`KeyMaterial::with_status`].
    fn from(claims: SessionClaims) -> Self {
        let SessionClaims { access_key_id, secret, principal, issued_at, policy, expires_at } = claims;
        let session = Session { access_key_id, issued_at, expires_at, policy };
        Self::temporary(secret, KeyStatus::Active, session, principal)
    }
}
