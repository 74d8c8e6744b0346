//! A login over SASL, in two steps with the caller's look-up between them: what is claimed, then what is proven.
//!
//! ```text
//! ClaimedLogin::parse ──► caller finds KeyMaterial by access_key_id, or opens the session token ──► verify
//! ```
//! Rules: gateway/PROTOCOL.md §2 and §7.

use std::time::Duration;

use crate::access_key::AccessKeyKind;
use crate::credential::{CredentialDefect, KeyMaterial};
pub use crate::login_rejected::LoginRejected;
use crate::login_rejected::host_is_plain;
use crate::master_key::MasterKey;
use crate::principal::Principal;
use crate::session_token::SessionTokenInvalid;
use crate::sigv4::presigned::PresignedClaim;
use crate::sigv4::{CLOCK_SKEW_MAX, CredentialScope};
use crate::unix_time::UnixTime;
use crate::{msk_iam, oauthbearer};

/// The action every login signs.
pub(crate) const ACTION: &str = "kafka-cluster:Connect";
/// The service every login is scoped to.
const SERVICE: &str = "kafka-cluster";

/// The shortest session worth opening; below it the client would have to authenticate again at once.
pub const SESSION_MIN: Duration = Duration::from_secs(5);

/// How a client logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Signed JSON, for the broker's own host name.
    AwsMskIam,
    /// A signed URL in a bearer token, for the region's host name: it names no cluster.
    OauthBearer,
}

impl Mechanism {
    /// The name in SaslHandshake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AwsMskIam => "AWS_MSK_IAM",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism of a SaslHandshake; `None` if it is not offered.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AwsMskIam, Self::OauthBearer].into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// The bytes that answer a login that succeeded.
    pub fn success_answer(self, request_id: &str) -> String {
        match self {
            Self::AwsMskIam => msk_iam::success_answer(request_id),
            Self::OauthBearer => String::new(),
        }
    }
}

/// A well-formed login. Nothing about it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedLogin {
    mechanism: Mechanism,
    host: String,
    user_agent: Option<String>,
    presigned: PresignedClaim,
}

/// What the server requires of a login.
#[derive(Clone, Copy)]
pub struct LoginExpectations<'e> {
    /// Our region: of the scope always, and of the host that OAUTHBEARER signs, `kafka.<region>.amazonaws.com`.
    pub region: &'e str,
    /// Whether the host signed by AWS_MSK_IAM is a name of the cluster that was reached. Not asked for OAUTHBEARER.
    pub accepts_host: &'e dyn Fn(&str) -> bool,
    /// The longest session: `connections.max.reauth.ms`.
    pub session_max: Duration,
}

/// A login whose signature, key, session, host and date are proven. Whether its principal may connect is the next
/// question.
#[derive(Clone, Debug)]
pub struct VerifiedLogin {
    /// Who logged in.
    pub principal: Principal,
    /// The key that signed.
    pub access_key_id: String,
    /// How.
    pub mechanism: Mechanism,
    /// When the client must have authenticated again (KIP-368): min(date + min(expires, 900 s), credential expiry,
    /// now + `connections.max.reauth.ms`).
    pub session_expires_at: UnixTime,
    /// What the client says it is; not signed. The value of `aws:UserAgent`.
    pub user_agent: Option<String>,
    /// When the credential was issued, for session credentials: the value of `aws:TokenIssueTime`.
    pub token_issued_at: Option<UnixTime>,
    /// Names this signature in audit lines without giving it away.
    pub signature_fingerprint: String,
}

impl VerifiedLogin {
    /// What SaslAuthenticate answers as `session_lifetime_ms`.
    pub fn session_lifetime(&self, now: UnixTime) -> Duration {
        self.session_expires_at.since(now)
    }
}

impl ClaimedLogin {
    /// Parses the client's message.
    pub fn parse(mechanism: Mechanism, message: &[u8]) -> Result<Self, LoginRejected> {
        match mechanism {
            Mechanism::AwsMskIam => msk_iam::parse(message),
            Mechanism::OauthBearer => oauthbearer::parse(message),
        }
    }

    #[cfg(test)]
    pub(crate) fn claim_for_tests(&self) -> &crate::sigv4::SignedClaim {
        &self.presigned.claim
    }

    /// The rules both mechanisms share beyond those of a presigned query.
    pub(crate) fn new(
        mechanism: Mechanism,
        host: &str,
        user_agent: Option<&str>,
        presigned: PresignedClaim,
    ) -> Result<Self, LoginRejected> {
        if !host_is_plain(host) || presigned.claim.scope().service != SERVICE {
            return Err(LoginRejected::Malformed);
        }
        Ok(Self { mechanism, host: host.to_owned(), user_agent: user_agent.map(str::to_owned), presigned })
    }

    /// How the client logs in.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The access key id to look up.
    pub fn access_key_id(&self) -> &str {
        &self.presigned.claim.scope().access_key_id
    }

    /// What the login was signed for.
    pub fn scope(&self) -> &CredentialScope {
        self.presigned.claim.scope()
    }

    /// The host that was signed: with AWS_MSK_IAM the broker's name, which takes part in choosing the cluster.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The session token, if one was sent.
    pub fn security_token(&self) -> Option<&str> {
        self.presigned.security_token.as_deref()
    }

    /// Names this signature in audit lines without giving it away, also for a login that failed.
    pub fn signature_fingerprint(&self) -> String {
        self.presigned.claim.fingerprint()
    }

    /// Opens the session token that came with the login; `None` if none came and the key has to be looked up.
    pub fn open_session(&self, master_key: &MasterKey) -> Result<Option<KeyMaterial>, LoginRejected> {
        self.security_token()
            .map(|token| KeyMaterial::open_session(master_key, self.access_key_id(), token))
            .transpose()
            .map_err(|SessionTokenInvalid| LoginRejected::SecurityTokenInvalid)
    }

    /// What to answer when the look-up found nobody. A temporary key is never stored, so without its token the
    /// token is what is wrong.
    pub fn unknown_key(&self) -> LoginRejected {
        match AccessKeyKind::of(self.access_key_id()) {
            Some(AccessKeyKind::Temporary) => LoginRejected::SecurityTokenInvalid,
            Some(AccessKeyKind::LongTerm) | None => {
                LoginRejected::UnknownAccessKey { access_key_id: self.access_key_id().to_owned() }
            }
        }
    }

    /// Proves the claim. Order: what the login says of itself (region, host, date), then the signature, and only
    /// behind it the state of the key, so that nobody without the secret learns more than that a key exists.
    pub fn verify(
        &self,
        material: &KeyMaterial,
        expectations: &LoginExpectations<'_>,
        now: UnixTime,
    ) -> Result<VerifiedLogin, LoginRejected> {
        self.check_region_and_host(expectations)?;
        self.check_date(now)?;
        material.check_token(self.access_key_id(), self.security_token().is_some())?;
        if !self.presigned.claim.is_signed_with(material.secret()) {
            return Err(LoginRejected::SignatureMismatch);
        }
        material.check_state(now)?;
        let credential_ends =
            material.session().map_or(UnixTime::from_millis(i64::MAX), |session| session.expires_at);
        let session_expires_at =
            self.presigned.expires_at().min(credential_ends).min(now.plus(expectations.session_max));
        if session_expires_at.since(now) < SESSION_MIN {
            return Err(LoginRejected::SessionTooShort);
        }
        Ok(VerifiedLogin {
            principal: material.principal().clone(),
            access_key_id: self.access_key_id().to_owned(),
            mechanism: self.mechanism,
            session_expires_at,
            user_agent: self.user_agent.clone(),
            token_issued_at: material.session().map(|session| session.issued_at),
            signature_fingerprint: self.signature_fingerprint(),
        })
    }

    fn check_region_and_host(&self, expectations: &LoginExpectations<'_>) -> Result<(), LoginRejected> {
        let claimed = self.scope().region();
        let host_accepted = match self.mechanism {
            Mechanism::AwsMskIam => (expectations.accepts_host)(&self.host),
            Mechanism::OauthBearer => {
                let middle =
                    self.host.strip_prefix("kafka.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
                middle == Some(expectations.region)
            }
        };
        if claimed != expectations.region {
            let (claimed, ours) = (claimed.to_owned(), expectations.region.to_owned());
            return Err(LoginRejected::WrongRegion { claimed, ours });
        }
        if host_accepted { Ok(()) } else { Err(LoginRejected::HostNotOfCluster { host: self.host.clone() }) }
    }

    fn check_date(&self, now: UnixTime) -> Result<(), LoginRejected> {
        if self.presigned.claim.signed_at() > now.plus(CLOCK_SKEW_MAX) {
            return Err(LoginRejected::SignedInTheFuture);
        }
        let expired_at = self.presigned.expires_at();
        if now > expired_at { Err(LoginRejected::SignatureExpired { expired_at, now }) } else { Ok(()) }
    }
}

impl From<CredentialDefect> for LoginRejected {
    fn from(defect: CredentialDefect) -> Self {
        match defect {
            CredentialDefect::Inactive => Self::InactiveAccessKey,
            CredentialDefect::TokenMismatch => Self::SecurityTokenInvalid,
            CredentialDefect::SessionExpired => Self::SecurityTokenExpired,
        }
    }
}
