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
use headgate_metadata::id::{AccountId, Revision};
use headgate_metadata::principals::{CachedUser, Principals};
use moka::sync::Cache;

use crate::clock::WallClock;

/// Decisions kept at most; about 200 bytes each.
const DECISIONS_MAX: u64 = 100_000;
/// Users whose compiled policies are kept.
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
    /// The user whose policies apply.
    pub(crate) account: AccountId,
    pub(crate) user: String,
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
    compiled: Cache<(AccountId, String, Revision), Compiled>,
    decisions: Cache<DecisionKey, Effect>,
}

/// A user's policies; `None` when one of them does not parse.
type Compiled = Option<Arc<[Arc<Policy>]>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct DecisionKey {
    principal: Arc<str>,
    policy_version: Revision,
    source: Option<Source>,
    tags: BTreeMap<String, String>,
    action: KafkaAction,
    resource: String,
}

impl Authorizer {
    pub(crate) fn new(principals: Arc<Principals>, clock: Arc<dyn WallClock>, region: String) -> Self {
        let (compiled, decisions) = (Cache::new(COMPILED_MAX), Cache::new(DECISIONS_MAX));
        Self { principals, clock, region, compiled, decisions }
    }

    /// What the principal's policies say of `action` on the resource with this ARN.
    pub(crate) fn decide(
        &self,
        identity: &Identity,
        subject: &Subject<'_>,
        action: KafkaAction,
        resource: String,
    ) -> Effect {
        let Some(user) = self.user(identity) else {
            return Effect::ImplicitDeny;
        };
        let mut key = DecisionKey {
            principal: Arc::clone(&identity.arn),
            policy_version: user.policy_version,
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
        let Some(policies) = self.policies(&user) else {
            return Effect::ImplicitDeny;
        };
        let tags = tag_list(subject.tags);
        let context = self.context(identity, &tags);
        let sources = PolicySources { identity: &policies, resource: None };
        let request = AccessRequest { action: action.name(), resource: &key.resource, context: &context };
        let decision = evaluate(sources, &request);
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
        let user = self.user(identity);
        let Some(policies) = user.and_then(|user| self.policies(&user)) else {
            return Effect::ImplicitDeny;
        };
        let tags = tag_list(subject.tags);
        let context = self.context(identity, &tags);
        let sources = PolicySources { identity: &policies, resource: None };
        let action = KafkaAction::WriteData.name();
        match deny_could_match(sources, &context, action, subject.arns.topic_prefix()).statement {
            Some(statement) => Effect::ExplicitDeny(statement),
            None => Effect::Allow,
        }
    }

    /// Whether the credential behind a connection may still be used: its key is active, its user exists.
    pub(crate) fn still_valid(&self, identity: &Identity) -> bool {
        let user_exists = self.user(identity).is_some();
        match &identity.access_key_id {
            Some(key) if !identity.temporary => {
                let status = self.principals.key(key).map(|cached| cached.key.status);
                user_exists && status == Some(headgate_metadata::record::AccessKeyStatus::Active)
            }
            Some(_) | None => user_exists,
        }
    }

    /// The user behind an identity. One of the same name that was made later is somebody else.
    fn user(&self, identity: &Identity) -> Option<CachedUser> {
        let cached = self.principals.user(identity.account, &identity.user)?;
        (cached.user.user_id == identity.principal.id()).then_some(cached)
    }

    fn context<'a>(&'a self, identity: &'a Identity, tags: &'a [(String, String)]) -> RequestContext<'a> {
        let mut context = RequestContext::new(&identity.principal, self.clock.now());
        context.source_ip = Some(identity.source.address);
        context.secure_transport = identity.source.secure;
        context.user_agent = identity.source.user_agent.as_deref();
        context.token_issued_at = identity.source.token_issued_at;
        context.region = Some(&self.region);
        context.resource_tags = tags;
        context
    }

    /// The user's compiled policies; `None` if one does not parse.
    fn policies(&self, user: &CachedUser) -> Compiled {
        let key = (user.user.account, user.user.name.clone(), user.policy_version);
        self.compiled.get_with(key, || compile(user))
    }
}

fn compile(user: &CachedUser) -> Compiled {
    let parse = |(name, text): (&String, &String)| {
        Policy::parse(name, PolicyKind::Identity, text, IDENTITY_POLICY_CHARACTERS_MAX)
            .map(Arc::new)
            .inspect_err(|error| tracing::error!(user = %user.user.name, policy = %name, %error, "stored policy invalid"))
    };
    user.user.policies.iter().map(parse).collect::<Result<_, _>>().ok()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
