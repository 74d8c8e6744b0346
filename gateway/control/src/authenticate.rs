//! Who sent a request: the signature is proven, and the principal's user is still there.

use std::sync::Arc;

use headgate_iam::policy::{Policy, PolicyKind};
use headgate_iam::{
    AccountId, ClaimedRequest, KeyMaterial, KeyStatus, Principal, PrincipalKind, RequestExpectations,
    RequestRejected, Session, UnixTime, secret_box, session_token,
};
use headgate_metadata::principals::CachedUser;
use headgate_metadata::record::AccessKeyStatus;

use crate::components::Components;
use crate::error::ApiError;
use crate::request::ApiRequest;
use crate::service::Service;

/// A proven caller.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// The account, as the metadata store names it.
    pub(crate) account: headgate_metadata::id::AccountId,
    /// The user behind the principal.
    pub(crate) user: CachedUser,
    pub(crate) policies: Vec<Arc<Policy>>,
    /// When a temporary credential was issued; `None` for long-term keys.
    pub(crate) token_issued_at: Option<UnixTime>,
}

/// Parses what the request claims. Only `sts:GetCallerIdentity` may be signed in the query.
pub(crate) fn claim(request: &ApiRequest) -> Result<ClaimedRequest, RequestRejected> {
    let presigned =
        request.header("authorization").is_none() && request.raw_query.contains("X-Amz-Signature=");
    request.signed(|signed| {
        if presigned {
            ClaimedRequest::parse_presigned_caller_identity(signed)
        } else {
            ClaimedRequest::parse(signed)
        }
    })
}

/// Proves the claim for the service it was signed for.
pub(crate) async fn verify(
    components: &Components,
    region: &str,
    claim: &ClaimedRequest,
    service: Option<Service>,
    now: UnixTime,
) -> Result<Caller, ApiError> {
    let all = Service::ALL.map(Service::name);
    let one = service.map(|service| [service.name()]);
    let services: &[&str] = one.as_ref().map_or(&all, |one| one);
    let (material, user) = find(components, claim).await?;
    let expectations = RequestExpectations { services, region };
    let verified = claim.verify(&material, &expectations, now)?;
    let policies = compile(&user)?;
    let account = user.user.account;
    Ok(Caller {
        principal: verified.principal,
        account,
        user,
        policies,
        token_issued_at: verified.token_issued_at,
    })
}

/// Finds the key's secret and user: by look-up, or in the session token.
async fn find(
    components: &Components,
    claim: &ClaimedRequest,
) -> Result<(KeyMaterial, CachedUser), ApiError> {
    let Some(token) = claim.security_token() else {
        let found = components.principals.find_key(claim.access_key_id()).await?;
        let Some(found) = found else { return Err(claim.unknown_key().into()) };
        let opened =
            secret_box::open(&components.master_key, &found.key.access_key_id, &found.key.sealed_secret);
        let secret = opened.map_err(|error| {
            tracing::error!(access_key_id = found.key.access_key_id, %error, "stored secret unusable");
            ApiError::internal()
        })?;
        let status = match found.key.status {
            AccessKeyStatus::Active => KeyStatus::Active,
            AccessKeyStatus::Inactive => KeyStatus::Inactive,
        };
        let principal = principal_of(&found.owner)?;
        return Ok((KeyMaterial::long_term(secret, status, principal), found.owner));
    };
    let claims = session_token::open(&components.master_key, claim.access_key_id(), token)
        .map_err(|_| RequestRejected::SecurityTokenInvalid)?;
    // A session ends with its user; one of the same name that was made later is somebody else.
    let user = user_of(components, &claims.principal).ok_or(RequestRejected::SecurityTokenInvalid)?;
    let session = Session {
        access_key_id: claims.access_key_id,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
    };
    Ok((KeyMaterial::temporary(claims.secret, KeyStatus::Active, session, claims.principal), user))
}

fn user_of(components: &Components, principal: &Principal) -> Option<CachedUser> {
    let account = principal.account().as_str().parse().ok()?;
    match principal.kind() {
        PrincipalKind::User { name } => {
            components.principals.user(account, name).filter(|cached| cached.user.user_id == principal.id())
        }
        PrincipalKind::Root | PrincipalKind::RoleSession { .. } => None,
    }
}

/// The principal that a user is.
pub(crate) fn principal_of(cached: &CachedUser) -> Result<Principal, ApiError> {
    let user = &cached.user;
    let account = AccountId::parse(&user.account.to_string()).ok_or_else(|| {
        tracing::error!(account = %user.account, "account of a user is not an account id");
        ApiError::internal()
    })?;
    Ok(Principal::user(account, user.arn(), user.name.clone(), user.user_id.clone()))
}

/// A stored policy that does not compile could have held a Deny, so nothing is allowed then.
pub(crate) fn compile(cached: &CachedUser) -> Result<Vec<Arc<Policy>>, ApiError> {
    let compile = |(name, text): (&String, &String)| {
        Policy::parse(name, PolicyKind::Identity, text, usize::MAX).map(Arc::new).map_err(|error| {
            tracing::error!(user = cached.user.name, policy = name, %error, "stored policy unusable");
            ApiError::internal()
        })
    };
    cached.user.policies.iter().map(compile).collect()
}
