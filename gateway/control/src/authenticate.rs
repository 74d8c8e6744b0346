//! Who sent a request: the signature is proven, and the principal's user or role is still there.

use std::sync::Arc;

use headgate_iam::policy::{Policy, PolicyKind};
use headgate_iam::{
    AccountId, ClaimedRequest, KeyMaterial, KeyStatus, Principal, PrincipalKind, RequestExpectations,
    RequestRejected, UnixTime, secret_box,
};
use headgate_metadata::id::TimestampMs;
use headgate_metadata::principals::{Actor, ActorKind, Grants};
use headgate_metadata::record::{AccessKeyStatus, KeyUseRecord, RoleRecord, UserRecord};

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
    pub(crate) rights: Rights,
    /// The text of the policy that narrows the session.
    pub(crate) session_policy: Option<String>,
    pub(crate) access_key_id: String,
    /// When a temporary credential was issued; `None` for long-term keys.
    pub(crate) token_issued_at: Option<UnixTime>,
}

/// Compiled policies, and what they may ask of the principal.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) tags: Vec<(String, String)>,
    /// That of the session.
    pub(crate) session: Option<Policy>,
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
    let material = find(components, claim).await?;
    let expectations = RequestExpectations { services, region };
    let verified = claim.verify(&material, &expectations, now)?;
    note_use(components, claim, &material, now);
    let actor = actor_of(&verified.principal).ok_or(RequestRejected::SecurityTokenInvalid)?;
    // A session ends with its user or role; one of the same name that was made later is somebody else.
    if !components.principals.exists(&actor) {
        return Err(RequestRejected::SecurityTokenInvalid.into());
    }
    let cached = components.principals.principal(&actor).ok_or_else(|| {
        tracing::error!(principal = verified.principal.arn(), "policies of a principal not all readable");
        ApiError::internal()
    })?;
    let session_policy = material.session().and_then(|session| session.policy.clone());
    Ok(Caller {
        rights: Rights::compile(&cached.grants, session_policy.as_deref())?,
        session_policy,
        account: actor.account,
        access_key_id: verified.access_key_id,
        principal: verified.principal,
        token_issued_at: verified.token_issued_at,
    })
}

/// Finds the key's secret and whose it is: by look-up, or in the session token.
async fn find(components: &Components, claim: &ClaimedRequest) -> Result<KeyMaterial, ApiError> {
    if let Some(token) = claim.security_token() {
        let opened = KeyMaterial::open_session(&components.master_key, claim.access_key_id(), token);
        return opened.map_err(|_| RequestRejected::SecurityTokenInvalid.into());
    }
    let found = components.principals.find_key(claim.access_key_id()).await?;
    let Some(found) = found else { return Err(claim.unknown_key().into()) };
    let opened = secret_box::open(&components.master_key, &found.key.access_key_id, &found.key.sealed_secret);
    let secret = opened.map_err(|error| {
        tracing::error!(access_key_id = found.key.access_key_id, %error, "stored secret unusable");
        ApiError::internal()
    })?;
    let status = match found.key.status {
        AccessKeyStatus::Active => KeyStatus::Active,
        AccessKeyStatus::Inactive => KeyStatus::Inactive,
    };
    Ok(KeyMaterial::long_term(secret, status, user_principal(&found.owner)?))
}

fn note_use(components: &Components, claim: &ClaimedRequest, material: &KeyMaterial, now: UnixTime) {
    if material.session().is_none() {
        let scope = claim.scope();
        let used = KeyUseRecord {
            at: TimestampMs::new(u64::try_from(now.as_millis()).unwrap_or(0)),
            service: scope.service().to_owned(),
            region: scope.region().to_owned(),
        };
        components.principals.uses().observe(claim.access_key_id(), used);
    }
}

/// The user or role whose policies are the principal's; `None` for an account's root, which has none.
fn actor_of(principal: &Principal) -> Option<Actor> {
    let account = principal.account().as_str().parse().ok()?;
    let (kind, name, id) = match principal.kind() {
        PrincipalKind::User { name } => (ActorKind::User, name.as_str(), principal.id()),
        PrincipalKind::RoleSession { role_arn, .. } => {
            (ActorKind::Role, role_arn.rsplit('/').next()?, principal.id().split(':').next()?)
        }
        PrincipalKind::Root => return None,
    };
    Some(Actor { account, kind, name: name.to_owned(), id: id.to_owned() })
}

/// The principal that a user is.
pub(crate) fn user_principal(user: &UserRecord) -> Result<Principal, ApiError> {
    let account = account_of(user.account)?;
    Ok(Principal::user(account, user.arn(), user.name.clone(), user.user_id.clone()))
}

/// The principal that a session of a role is.
pub(crate) fn role_principal(role: &RoleRecord, session: &str) -> Result<Principal, ApiError> {
    let account = account_of(role.account)?;
    let arn = format!("arn:aws:sts::{account}:assumed-role/{}/{session}", role.name);
    let id = format!("{}:{session}", role.role_id);
    Ok(Principal::role_session(account, arn, role.arn(), session.to_owned(), id))
}

fn account_of(account: headgate_metadata::id::AccountId) -> Result<AccountId, ApiError> {
    AccountId::parse(&account.to_string()).ok_or_else(|| {
        tracing::error!(%account, "account of an identity is not an account id");
        ApiError::internal()
    })
}

impl Rights {
    /// A stored policy that does not compile could have held a Deny, so nothing is allowed then.
    pub(crate) fn compile(grants: &Grants, session: Option<&str>) -> Result<Self, ApiError> {
        let compile = |name: &str, text: &str| {
            Policy::parse(name, PolicyKind::Identity, text, usize::MAX).map_err(|error| {
                tracing::error!(policy = name, %error, "stored policy unusable");
                ApiError::internal()
            })
        };
        let policies =
            grants.policies.iter().map(|policy| compile(&policy.name, &policy.document).map(Arc::new));
        Ok(Self {
            policies: policies.collect::<Result<_, _>>()?,
            tags: crate::tags::pairs(&grants.tags),
            session: session.map(|text| compile("session", text)).transpose()?,
        })
    }
}
