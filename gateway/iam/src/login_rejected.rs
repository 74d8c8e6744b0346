//! Why a login was refused, in the words the client is told (gateway/PROTOCOL.md §7).

use crate::policy::AccessDenied;
use crate::unix_time::UnixTime;

/// Why a login was refused. Every one is answered with error 58 and [`LoginRejected::answer`], and the connection is
/// closed. `Display` is the reason alone, for audit lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRejected {
    /// The message does not follow its mechanism. The client's library is at fault.
    #[error("Invalid authentication payload")]
    Malformed,
    /// Nobody has this access key id. Made by [`crate::login::ClaimedLogin::unknown_key`].
    #[error("unknown access key {access_key_id}")]
    UnknownAccessKey {
        /// The id as sent.
        access_key_id: String,
    },
    /// The signature is right, but the key is switched off.
    #[error("access key is inactive")]
    InactiveAccessKey,
    /// Wrong secret, or something changed after signing.
    #[error("signature does not match")]
    SignatureMismatch,
    /// The host signed is not one the client may have meant.
    #[error("host {host} is not a name of this cluster")]
    HostNotOfCluster {
        /// The host as signed.
        host: String,
    },
    /// The host signed and the name dialled belong to two clusters. Made by the caller, who knows the names.
    #[error("host {host} belongs to another cluster")]
    HostOfAnotherCluster {
        /// The host as signed.
        host: String,
    },
    /// Signed for another region. The client takes the region from its settings.
    #[error("signed for region {claimed}, but this cluster is in {ours}")]
    WrongRegion {
        /// The region signed for.
        claimed: String,
        /// Ours.
        ours: String,
    },
    /// Used after its time, or the client's clock is behind.
    #[error("signature expired at {expired_at}, server time is {now}")]
    SignatureExpired {
        /// When it ended: its date plus the lesser of its expiry and 900 s.
        expired_at: UnixTime,
        /// The server's time.
        now: UnixTime,
    },
    /// Dated more than five minutes ahead of the server.
    #[error("signed in the future; check the clock")]
    SignedInTheFuture,
    /// The session token was not issued here, was changed, is missing, or belongs to another key.
    #[error("security token is invalid or belongs to another key")]
    SecurityTokenInvalid,
    /// The session is over. Get new credentials.
    #[error("security token expired")]
    SecurityTokenExpired,
    /// Less than [`crate::login::SESSION_MIN`] is left. Get new credentials.
    #[error("Session too short")]
    SessionTooShort,
    /// The login is proven, but policies do not let its principal connect.
    #[error(transparent)]
    ConnectDenied(#[from] AccessDenied),
}

impl LoginRejected {
    /// The `error_message` of the answer: `[<request id>]: Access denied: <reason>`; two reasons stand alone, as
    /// clients know them.
    pub fn answer(&self, request_id: &str) -> String {
        match self {
            Self::Malformed | Self::SessionTooShort => format!("[{request_id}]: {self}"),
            _ => format!("[{request_id}]: Access denied: {self}"),
        }
    }
}

/// A host that can stand in a canonical request and in an answer: 1 to 255 visible ASCII characters, none of which
/// ends a name in a URL.
pub(crate) fn host_is_plain(host: &str) -> bool {
    (1..=255).contains(&host.len())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\'))
}
