//! A login, from the client's message to a proven identity on one cluster (`gateway/PROTOCOL.md` §2, §7).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_iam::{
    AccessDenied, AccountId, ClaimedLogin, ClusterArns, Effect, KeyMaterial, KeyStatus, LoginExpectations,
    LoginRejected, Mechanism, Principal, PrincipalKind, UnixTime, VerifiedLogin, secret_box,
};
use headgate_metadata::audit::{AuditDetails, AuditResult};
use headgate_metadata::id::{ClusterId, TimestampMs};
use headgate_metadata::principals::{Actor, ActorKind, CachedKey};
use headgate_metadata::record::{AccessKeyStatus, ClusterRecord, ClusterState, KeyUseRecord};

use crate::authorize::{Identity, Source, Subject, rights};
use crate::shared::{AuditLine, Shared, details_of};
use crate::which_cluster::{Dialled, NoCluster, Reached};

/// The connection a login comes on.
#[derive(Debug, Clone)]
pub(crate) struct LoginContext {
    pub(crate) dialled: Dialled,
    pub(crate) source: SocketAddr,
    pub(crate) secure: bool,
}

/// A login that succeeded.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) identity: Identity,
    pub(crate) cluster: Arc<ClusterRecord>,
    pub(crate) reached: Reached,
    pub(crate) mechanism: Mechanism,
    /// When the client must have authenticated again.
    pub(crate) expires_at: UnixTime,
    /// What the answer tells the client of that.
    pub(crate) lifetime: Duration,
    /// What SaslAuthenticate answers.
    pub(crate) answer: String,
}

/// Why a login did not succeed.
#[derive(Debug)]
pub(crate) enum LoginFailed {
    /// It was refused; the text is for the client.
    Refused(String),
    /// Whether it is right cannot be told now. The connection ends without an answer, so that the client retries.
    Unavailable,
}

/// Proves a login. Writes one audit line for every outcome that says something about the client.
pub(crate) async fn log_in(
    shared: &Shared,
    context: &LoginContext,
    mechanism: Mechanism,
    message: &[u8],
) -> Result<LoggedIn, LoginFailed> {
    let request_id = shared.random_uuid().to_string();
    let mut trail = Trail::default();
    let outcome = attempt(shared, context, mechanism, message, &request_id, &mut trail).await;
    let (result, reason) = match &outcome {
        Ok(_) => (AuditResult::Allowed, None),
        Err(Refusal::Rejected(rejected)) => (AuditResult::Denied, Some(rejected.to_string())),
        Err(Refusal::NoCluster(text)) => (AuditResult::Denied, Some(text.clone())),
        Err(Refusal::Hidden { reason, .. }) => (AuditResult::Denied, Some(reason.clone())),
        Err(Refusal::Unavailable) => (AuditResult::Failed, Some("metadata not available".to_owned())),
    };
    let signature = trail.fingerprint.map(|fingerprint| format!("signature {fingerprint}"));
    shared.audit(AuditLine {
        source: context.source.to_string(),
        principal: trail.principal,
        cluster: trail.cluster.map(|cluster| cluster.to_string()),
        action: rights::SASL_AUTHENTICATE.name().to_owned(),
        resource: trail.resource,
        result,
        reason: match (reason, signature) {
            (Some(reason), Some(signature)) => Some(format!("{reason}; {signature}")),
            (reason, signature) => reason.or(signature),
        },
        details: AuditDetails { request_id: Some(request_id.clone()), ..trail.details },
    });
    shared.metrics.observe_login(mechanism, result);
    outcome.map_err(|refusal| match refusal {
        Refusal::Rejected(rejected) => LoginFailed::Refused(rejected.answer(&request_id)),
        Refusal::NoCluster(text) | Refusal::Hidden { text, .. } => {
            LoginFailed::Refused(format!("[{request_id}]: Access denied: {text}"))
        }
        Refusal::Unavailable => LoginFailed::Unavailable,
    })
}

/// What an audit line says beside the outcome, as far as the login got.
#[derive(Default)]
struct Trail {
    cluster: Option<ClusterId>,
    resource: Option<String>,
    principal: Option<String>,
    fingerprint: Option<String>,
    details: AuditDetails,
}

enum Refusal {
    Rejected(LoginRejected),
    NoCluster(String),
    /// The client is told no more than that there is no such cluster for it; the reason is for the audit log.
    Hidden {
        text: String,
        reason: String,
    },
    Unavailable,
}

impl From<LoginRejected> for Refusal {
    fn from(rejected: LoginRejected) -> Self {
        Self::Rejected(rejected)
    }
}

async fn attempt(
    shared: &Shared,
    context: &LoginContext,
    mechanism: Mechanism,
    message: &[u8],
    request_id: &str,
    trail: &mut Trail,
) -> Result<LoggedIn, Refusal> {
    let claim = ClaimedLogin::parse(mechanism, message)?;
    trail.fingerprint = Some(claim.signature_fingerprint());
    trail.details.access_key_id = Some(claim.access_key_id().to_owned());
    let reached = reach(shared, context, &claim)?;
    trail.cluster = Some(reached.cluster);
    let material = find_material(shared, &claim).await?;
    let now = shared.parts.clock.now();
    let verified = prove(shared, &claim, &material, reached.cluster, now)?;
    trail.principal = Some(verified.principal.arn().to_owned());
    note_use(shared, &claim, &material, now);
    let identity = identity_of(&verified, &material, context).ok_or(LoginRejected::SecurityTokenInvalid)?;
    trail.details = details_of(&identity);
    // A session ends with its user or role.
    if identity.temporary && !shared.authorizer.still_valid(&identity) {
        return Err(LoginRejected::SecurityTokenInvalid.into());
    }
    // Only whoever has proven who it is learns of clusters.
    let cluster = find_cluster(shared, reached.cluster, &identity).await?;
    let arns = arns_of(&cluster, &shared.parts.region);
    trail.resource = Some(arns.cluster().to_owned());
    check_connect(shared, &identity, &cluster, &arns).await?;
    Ok(LoggedIn {
        identity,
        cluster,
        reached,
        mechanism,
        expires_at: verified.session_expires_at,
        lifetime: verified.session_lifetime(now),
        answer: mechanism.success_answer(request_id),
    })
}

fn prove(
    shared: &Shared,
    claim: &ClaimedLogin,
    material: &KeyMaterial,
    cluster: ClusterId,
    now: UnixTime,
) -> Result<VerifiedLogin, LoginRejected> {
    let accepts_host = |host: &str| shared.parts.names.accepts(host, cluster);
    let expectations = LoginExpectations {
        region: &shared.parts.region,
        accepts_host: &accepts_host,
        session_max: shared.config.session_max(),
    };
    claim.verify(material, &expectations, now)
}

/// The cluster that the client means. Nothing is looked up: it may not exist.
fn reach(shared: &Shared, context: &LoginContext, claim: &ClaimedLogin) -> Result<Reached, Refusal> {
    let signed_host = match claim.mechanism() {
        Mechanism::AwsMskIam => Some(claim.host()),
        Mechanism::OauthBearer => None,
    };
    context.dialled.cluster(&shared.parts.names, signed_host).map_err(|none| match none {
        NoCluster::Contradiction { host } => Refusal::Rejected(LoginRejected::HostOfAnotherCluster { host }),
        NoCluster::Unnamed => {
            let suffix = &shared.parts.names.suffix;
            Refusal::NoCluster(format!(
                "no cluster is named; use a bootstrap string such as boot-<cluster>.{suffix}"
            ))
        }
    })
}

async fn find_cluster(
    shared: &Shared,
    id: ClusterId,
    identity: &Identity,
) -> Result<Arc<ClusterRecord>, Refusal> {
    let catalog = &shared.parts.catalog;
    // It may be ACTIVE already where it was created, in another process.
    if catalog.cluster(id).is_none_or(|record| record.state == ClusterState::Creating) {
        look_again(shared).await?;
    }
    let record = catalog.cluster(id).filter(|record| record.state == ClusterState::Active);
    record.ok_or_else(|| Refusal::NoCluster(no_cluster_for(shared, id, identity)))
}

/// Waits until every cluster that was created before this is known.
async fn look_again(shared: &Shared) -> Result<(), Refusal> {
    shared.parts.catalog.refresh_clusters().await.map_err(|error| {
        tracing::warn!(%error, "clusters not looked up");
        Refusal::Unavailable
    })
}

/// What a principal is told of a cluster that does not exist, and of one of another account that is closed to it: the same.
fn no_cluster_for(shared: &Shared, id: ClusterId, identity: &Identity) -> String {
    let (name, principal) = (shared.parts.names.bootstrap(id), &identity.arn);
    format!("there is no cluster {name} that {principal} may connect to")
}

/// The secret and whose it is: from the session token where one came, else from the stored key.
async fn find_material(shared: &Shared, claim: &ClaimedLogin) -> Result<KeyMaterial, Refusal> {
    if let Some(material) = claim.open_session(&shared.parts.master_key)? {
        return Ok(material);
    }
    let found = shared.parts.principals.find_key(claim.access_key_id()).await.map_err(|error| {
        tracing::warn!(%error, "access key not looked up");
        Refusal::Unavailable
    })?;
    let cached = found.ok_or_else(|| claim.unknown_key())?;
    material_of(shared, &cached).ok_or(Refusal::Unavailable)
}

fn material_of(shared: &Shared, cached: &CachedKey) -> Option<KeyMaterial> {
    let key = &cached.key;
    let secret = secret_box::open(&shared.parts.master_key, &key.access_key_id, &key.sealed_secret)
        .inspect_err(|error| tracing::error!(access_key = %key.access_key_id, %error, "secret not opened"))
        .ok()?;
    let status = match key.status {
        AccessKeyStatus::Active => KeyStatus::Active,
        AccessKeyStatus::Inactive => KeyStatus::Inactive,
    };
    Some(KeyMaterial::long_term(secret, status, principal_of(&cached.owner)?))
}

/// The principal of a stored user.
pub(crate) fn principal_of(user: &headgate_metadata::record::UserRecord) -> Option<Principal> {
    let account = AccountId::parse(&user.account.to_string())?;
    Some(Principal::user(account, user.arn(), user.name.clone(), user.user_id.clone()))
}

/// The ARNs of a cluster.
pub(crate) fn arns_of(cluster: &ClusterRecord, region: &str) -> ClusterArns {
    let account =
        AccountId::parse(&cluster.account.to_string()).expect("an account id displays as twelve digits");
    ClusterArns::new("aws", region, &account, &cluster.name, &cluster.arn_uuid)
}

/// Only users and roles have policies; a principal of another kind has none and so no identity to connect with.
fn identity_of(verified: &VerifiedLogin, material: &KeyMaterial, context: &LoginContext) -> Option<Identity> {
    let actor = actor_of(&verified.principal)?;
    Some(Identity {
        arn: verified.principal.arn().into(),
        access_key_id: Some(verified.access_key_id.as_str().into()),
        temporary: verified.token_issued_at.is_some(),
        actor: Arc::new(actor),
        session_policy: material.session().and_then(|session| session.policy.as_deref()).map(Into::into),
        source: Source {
            address: context.source.ip().to_canonical(),
            secure: context.secure,
            user_agent: verified.user_agent.as_deref().map(Into::into),
            token_issued_at: verified.token_issued_at,
        },
        principal: verified.principal.clone(),
    })
}

/// The user or role whose policies are the principal's.
pub(crate) fn actor_of(principal: &Principal) -> Option<Actor> {
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

/// Notes when a long-term key was used.
fn note_use(shared: &Shared, claim: &ClaimedLogin, material: &KeyMaterial, now: UnixTime) {
    if material.session().is_none() {
        let used = KeyUseRecord {
            at: TimestampMs::new(u64::try_from(now.as_millis()).unwrap_or(0)),
            service: claim.scope().service().to_owned(),
            region: claim.scope().region().to_owned(),
        };
        shared.parts.principals.uses().observe(claim.access_key_id(), used);
    }
}

async fn check_connect(
    shared: &Shared,
    identity: &Identity,
    cluster: &ClusterRecord,
    arns: &ClusterArns,
) -> Result<(), Refusal> {
    let subject = Subject { arns, cluster };
    let resource = arns.cluster().to_owned();
    let effect = match shared.authorizer.decide(identity, &subject, rights::SASL_AUTHENTICATE, resource) {
        Effect::Allow => return Ok(()),
        effect => effect,
    };
    let denied = AccessDenied {
        action: rights::SASL_AUTHENTICATE.name().to_owned(),
        resource: arns.cluster().to_owned(),
        principal: identity.principal.arn().to_owned(),
        effect,
    };
    // A denial names the cluster and its account, which are not a stranger's to know.
    if identity.actor.account != cluster.account {
        // For a cluster that does not exist the store is asked, so here too: the answers must take the same time.
        look_again(shared).await?;
        let text = no_cluster_for(shared, cluster.id, identity);
        return Err(Refusal::Hidden { text, reason: denied.to_string() });
    }
    Err(LoginRejected::ConnectDenied(denied).into())
}
