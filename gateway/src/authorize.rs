//! Who may do what: policies of the principal and of the cluster, evaluated per action and resource, decisions cached
//! (`gateway/PROTOCOL.md` §8).
//!
//! Within the cluster's own account either of the two may allow; from another account both must. An explicit Deny in either
//! wins. A policy that does not parse denies everything.

mod decisions;
mod policies;
pub(crate) mod rights;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use headgate_iam::{
    AccessRequest, ClusterArns, Effect, KafkaAction, Principal, RequestContext, UnixTime, deny_could_match,
    evaluate,
};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::principals::{Actor, Grants, Principals};
use headgate_metadata::record::{AccessKeyStatus, ClusterRecord};

use self::decisions::{DecisionKey, Decisions, Facts};
use self::policies::Policies;
use crate::clock::WallClock;

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
    pub(crate) cluster: &'a ClusterRecord,
}

/// Decides, and remembers.
pub(crate) struct Authorizer {
    principals: Arc<Principals>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn WallClock>,
    region: String,
    policies: Policies,
    decisions: Decisions,
}

impl Authorizer {
    pub(crate) fn new(
        principals: Arc<Principals>,
        catalog: Arc<Catalog>,
        clock: Arc<dyn WallClock>,
        region: String,
    ) -> Self {
        let (policies, decisions) = (Policies::new(), Decisions::new());
        Self { principals, catalog, clock, region, policies, decisions }
    }

    /// What the policies say of `action` on the resource with this ARN.
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
        let cluster = subject.cluster;
        let policy = self.catalog.policy(cluster.id);
        let mut key = DecisionKey {
            principal: Arc::clone(&identity.arn),
            identity_version: cached.version,
            cluster_version: policy.as_ref().map(|policy| policy.version).unwrap_or_default(),
            session_policy: identity.session_policy.clone(),
            action,
            resource,
            facts: None,
        };
        let facts = || Facts { source: identity.source.clone(), cluster_tags: cluster.tags.clone() };
        if let Some(effect) = self.decisions.find(&mut key, facts) {
            return effect;
        }
        let Some(bearing) = self.policies.bearing(identity, &cached, cluster.id, policy.as_ref()) else {
            return Effect::ImplicitDeny;
        };
        let tags = Tags::of(&cached.grants, cluster);
        let context = self.context(identity, &tags);
        let request = AccessRequest { action: action.name(), resource: &key.resource, context: &context };
        let decision = evaluate(bearing.sources(), &request);
        self.decisions.keep(key, &decision);
        decision.effect
    }

    /// Whether the principal may use an idempotent producer: `WriteDataIdempotently` on the cluster, or `WriteData` on all
    /// topics, with any Deny that can match a topic counted as a denial.
    pub(crate) fn decide_idempotence(&self, identity: &Identity, subject: &Subject<'_>) -> Effect {
        let on_cluster = subject.arns.cluster().to_owned();
        let on_cluster = self.decide(identity, subject, KafkaAction::WriteDataIdempotently, on_cluster);
        if on_cluster == Effect::Allow {
            return Effect::Allow;
        }
        if self.decide(identity, subject, KafkaAction::WriteData, subject.arns.topic("*")) != Effect::Allow {
            return on_cluster;
        }
        let Some(cached) = self.principals.principal(&identity.actor) else {
            return Effect::ImplicitDeny;
        };
        let cluster = subject.cluster;
        let policy = self.catalog.policy(cluster.id);
        let Some(bearing) = self.policies.bearing(identity, &cached, cluster.id, policy.as_ref()) else {
            return Effect::ImplicitDeny;
        };
        let tags = Tags::of(&cached.grants, cluster);
        let context = self.context(identity, &tags);
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
                actor_exists && status == Some(AccessKeyStatus::Active)
            }
            Some(_) | None => actor_exists,
        }
    }

    fn context<'a>(&'a self, identity: &'a Identity, tags: &'a Tags) -> RequestContext<'a> {
        let mut context = RequestContext::new(&identity.principal, self.clock.now());
        context.source_ip = Some(identity.source.address);
        context.secure_transport = identity.source.secure;
        context.user_agent = identity.source.user_agent.as_deref();
        context.token_issued_at = identity.source.token_issued_at;
        context.region = Some(&self.region);
        context.principal_tags = &tags.principal;
        context.resource_tags = &tags.cluster;
        context
    }
}

/// Tags in the form that conditions are read from.
struct Tags {
    principal: Vec<(String, String)>,
    cluster: Vec<(String, String)>,
}

impl Tags {
    fn of(grants: &Grants, cluster: &ClusterRecord) -> Self {
        let list = |tags: &BTreeMap<String, String>| {
            tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        Self { principal: list(&grants.tags), cluster: list(&cluster.tags) }
    }
}
