//! Who may do what: policies of the principal, evaluated per action and resource, decisions cached
//! (`gateway/PROTOCOL.md` §8).
//!
//! Invariants: a decision is kept only for the policy version it was made from and, where it read the connection's
//! attributes, only for equal ones; one that read the clock is never kept. A policy that does not parse denies everything.

pub(crate) mod rights;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use headgate_iam::policy::IDENTITY_POLICY_CHARACTERS_MAX;
use headgate_iam::{
    AccessRequest, ClusterArns, Effect, KafkaAction, Policy, PolicyKind, PolicySources, Principal,
    RequestContext, UnixTime, deny_could_match, evaluate,
};
use headgate_metadata::principals::{Actor, CachedPrincipal, Grants, Principals};
use moka::sync::Cache;

use crate::clock::WallClock;

/// Decisions kept at most; about 200 bytes each.
const DECISIONS_MAX: u64 = 100_000;
/// Principals, and sessions, whose compiled policies are kept.
const COMPILED_MAX: u64 = 10_000;

/// A proven principal and the attributes of its connection that policies may ask for.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) principal: Principal,
    /// The principal's ARN, as calls to storage carry it.
    pub(crate) arn: Arc<str>,
    /// The key that signed; `None` on the plaintext listener.
    pub(crate) access_key_id: Option<Arc<str>>,
    /// Whether the key is a temporary one, which is stored nowhere.
    pub(crate) temporary: bool,
    /// The user or role whose policies apply.
    pub(crate) actor: Arc<Actor>,
    /// The text of the policy that narrows the session, if it was given one.
    pub(crate) session_policy: Option<Arc<str>>,
    pub(crate) source: Source,
}

/// What policies may ask of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) address: IpAddr,
    pub(crate) secure: bool,
    pub(crate) user_agent: Option<Arc<str>>,
    pub(crate) token_issued_at: Option<UnixTime>,
}

/// The cluster a decision is about.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) arns: &'a ClusterArns,
    pub(crate) tags: &'a BTreeMap<String, String>,
}

/// Decides, and remembers.
pub(crate) struct Authorizer {
    principals: Arc<Principals>,
    clock: Arc<dyn WallClock>,
    region: String,
    compiled: Cache<u64, Compiled>,
    session_policies: Cache<Arc<str>, Option<Arc<Policy>>>,
    decisions: Cache<DecisionKey, Effect>,
}

/// The policies that bear on a request.
struct Bearing {
    policies: Arc<[Arc<Policy>]>,
    session: Option<Arc<Policy>>,
}

impl Bearing {
    fn sources(&self) -> PolicySources<'_> {
        PolicySources { identity: &self.policies, resource: None, session: self.session.as_deref() }
    }
}

/// A principal's policies; `None` when one of them does not parse.
type Compiled = Option<Arc<[Arc<Policy>]>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct DecisionKey {
    principal: Arc<str>,
    policy_version: u64,
    session_policy: Option<Arc<str>>,
    source: Option<Source>,
    tags: BTreeMap<String, String>,
    action: KafkaAction,
    resource: String,
}

impl Authorizer {
    pub(crate) fn new(principals: Arc<Principals>, clock: Arc<dyn WallClock>, region: String) -> Self {
        let (compiled, session_policies) = (Cache::new(COMPILED_MAX), Cache::new(COMPILED_MAX));
        let decisions = Cache::new(DECISIONS_MAX);
        Self { principals, clock, region, compiled, session_policies, decisions }
    }

    /// What the principal's policies say of `action` on the resource with this ARN.
    pub(crate) fn decide(
        &self,
        identity: &Identity,
        subject: &Subject<'_>,
        action: KafkaAction,
        resource: String,
    ) -> Effect {
        let Some(cached) = self.principals.principal(&identity.actor) else {
            return Effect::ImplicitDeny;
        };
        let mut key = DecisionKey {
            principal: Arc::clone(&identity.arn),
            policy_version: cached.version,
            session_policy: identity.session_policy.clone(),
            source: None,
            tags: subject.tags.clone(),
            action,
            resource,
        };
        if let Some(effect) = self.decisions.get(&key) {
            return effect;
        }
        key.source = Some(identity.source.clone());
        if let Some(effect) = self.decisions.get(&key) {
            return effect;
        }
        let Some(bearing) = self.policies(identity, &cached) else {
            return Effect::ImplicitDeny;
        };
        let (principal_tags, tags) = (tag_list(&cached.grants.tags), tag_list(subject.tags));
        let context = self.context(identity, &principal_tags, &tags);
        let request = AccessRequest { action: action.name(), resource: &key.resource, context: &context };
        let decision = evaluate(bearing.sources(), &request);
        if !decision.reads_time {
            if !decision.reads_source {
                key.source = None;
            }
            self.decisions.insert(key, decision.effect.clone());
        }
        decision.effect
    }

    /// Whether the principal may use an idempotent producer: `WriteDataIdempotently` on the cluster, or `WriteData` on all
    /// topics, with any Deny that can match a topic counted as a denial.
    pub(crate) fn decide_idempotence(&self, identity: &Identity, subject: &Subject<'_>) -> Effect {
        let cluster = subject.arns.cluster().to_owned();
        let on_cluster = self.decide(identity, subject, KafkaAction::WriteDataIdempotently, cluster);
        if on_cluster == Effect::Allow {
            return Effect::Allow;
        }
        if self.decide(identity, subject, KafkaAction::WriteData, subject.arns.topic("*")) != Effect::Allow {
            return on_cluster;
        }
        let Some(cached) = self.principals.principal(&identity.actor) else {
            return Effect::ImplicitDeny;
        };
        let Some(bearing) = self.policies(identity, &cached) else {
            return Effect::ImplicitDeny;
        };
        let (principal_tags, tags) = (tag_list(&cached.grants.tags), tag_list(subject.tags));
        let context = self.context(identity, &principal_tags, &tags);
        let action = KafkaAction::WriteData.name();
        match deny_could_match(bearing.sources(), &context, action, subject.arns.topic_prefix()).statement {
            Some(statement) => Effect::ExplicitDeny(statement),
            None => Effect::Allow,
        }
    }

    /// Whether the credential behind a connection may still be used: its key is active, its user or role exists.
    pub(crate) fn still_valid(&self, identity: &Identity) -> bool {
        let actor_exists = self.principals.exists(&identity.actor);
        match &identity.access_key_id {
            Some(key) if !identity.temporary => {
                let status = self.principals.key(key).map(|cached| cached.key.status);
                actor_exists && status == Some(headgate_metadata::record::AccessKeyStatus::Active)
            }
            Some(_) | None => actor_exists,
        }
    }

    fn context<'a>(
        &'a self,
        identity: &'a Identity,
        principal_tags: &'a [(String, String)],
        resource_tags: &'a [(String, String)],
    ) -> RequestContext<'a> {
        let mut context = RequestContext::new(&identity.principal, self.clock.now());
        context.source_ip = Some(identity.source.address);
        context.secure_transport = identity.source.secure;
        context.user_agent = identity.source.user_agent.as_deref();
        context.token_issued_at = identity.source.token_issued_at;
        context.region = Some(&self.region);
        context.principal_tags = principal_tags;
        context.resource_tags = resource_tags;
        context
    }

    /// The principal's compiled policies and that of its session; `None` if one does not parse.
    fn policies(&self, identity: &Identity, cached: &CachedPrincipal) -> Option<Bearing> {
        let policies = self.compiled.get_with(cached.version, || compile(&cached.grants))?;
        let Some(text) = &identity.session_policy else { return Some(Bearing { policies, session: None }) };
        let parse = || parse("session policy", text);
        let session = self.session_policies.get_with(Arc::clone(text), parse)?;
        Some(Bearing { policies, session: Some(session) })
    }
}

fn compile(grants: &Grants) -> Compiled {
    grants.policies.iter().map(|policy| parse(&policy.name, &policy.document)).collect()
}

fn parse(name: &str, text: &str) -> Option<Arc<Policy>> {
    Policy::parse(name, PolicyKind::Identity, text, IDENTITY_POLICY_CHARACTERS_MAX)
        .map(Arc::new)
        .inspect_err(|error| tracing::error!(policy = %name, %error, "stored policy invalid"))
        .ok()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
