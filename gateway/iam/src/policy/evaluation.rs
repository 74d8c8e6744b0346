//! The decision: explicit deny, then allow, then implicit deny.
//!
//! Within one account an identity policy or a resource policy that names the principal itself is enough. Across
//! accounts both must allow. A resource policy that names only the principal's account delegates: within one account
//! it adds nothing to the identity policies. A role is assumed by whom its trust policy names, never by identity policies
//! alone. A session policy narrows whatever else allows: it must allow too.

use std::fmt;
use std::sync::Arc;

use super::context::{AccessRequest, Reading, RequestContext};
use super::document::{Policy, PolicyKind};
use super::principal_element::Naming;
use super::statement::{Statement, StatementRef};

/// The policies that bear on one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicySources<'p> {
    /// Those of the principal: its own and its groups'.
    pub identity: &'p [Arc<Policy>],
    /// That of the cluster, or a role's trust policy, if it has one.
    pub resource: Option<&'p Policy>,
    /// That of the session, if it was given one when the role was assumed.
    pub session: Option<&'p Policy>,
}

impl<'p> PolicySources<'p> {
    /// All policies.
    fn all(&self) -> impl Iterator<Item = &'p Policy> + use<'p> {
        self.identity.iter().map(|policy| &**policy).chain(self.resource).chain(self.session)
    }
}

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Go ahead.
    Allow,
    /// A statement forbids it, whatever others allow.
    ExplicitDeny(StatementRef),
    /// Nothing allows it.
    ImplicitDeny,
}

/// What the policies say, and what that depends on beyond policies, principal, action and resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub effect: Effect,
    /// The answer depends on the clock: do not keep it.
    pub reads_time: bool,
    /// The answer depends on the connection or session (source address, TLS, user agent, time of issue), on tags or on
    /// keys of this very request: keep it only for equal ones.
    pub reads_source: bool,
}

impl Decision {
    /// Whether the request may go ahead.
    pub fn is_allowed(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// The denial in words, or `Ok` if there is none.
    pub fn into_result(self, request: &AccessRequest<'_>) -> Result<(), AccessDenied> {
        match self.effect {
            Effect::Allow => Ok(()),
            effect => Err(AccessDenied {
                action: request.action.to_owned(),
                resource: request.resource.to_owned(),
                principal: request.context.principal.arn().to_owned(),
                effect,
            }),
        }
    }
}

impl fmt::Display for Effect {
    /// The reason class of a denial: `explicit deny in <statement>` or `no statement allows it`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => formatter.write_str("allowed"),
            Self::ExplicitDeny(statement) => write!(formatter, "explicit deny in {statement}"),
            Self::ImplicitDeny => formatter.write_str("no statement allows it"),
        }
    }
}

/// A denial that names everything its reader needs: `<action> on <resource> denied for <principal>: <reason>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} on {resource} denied for {principal}: {effect}")]
pub struct AccessDenied {
    /// What was to be done.
    pub action: String,
    /// On what.
    pub resource: String,
    /// By whom.
    pub principal: String,
    /// Why not.
    pub effect: Effect,
}

/// Decides one request. Costs no allocation unless a pattern that is compared holds a variable.
pub fn evaluate(sources: PolicySources<'_>, request: &AccessRequest<'_>) -> Decision {
    let reading = Reading::new(request.context, request.resource);
    let effect = decide(sources, request, &reading);
    Decision { effect, reads_time: reading.read_time(), reads_source: reading.read_source() }
}

fn decide(sources: PolicySources<'_>, request: &AccessRequest<'_>, reading: &Reading<'_>) -> Effect {
    let applies = |statement: &Statement| statement.applies(request.action, reading);
    if let Some(statement) = sources.all().flat_map(Policy::denies).find(|deny| applies(deny) != Naming::None)
    {
        return Effect::ExplicitDeny(statement.reference.clone());
    }
    let allows =
        |policy: &Policy, weakest: Naming| policy.allows().iter().any(|allow| applies(allow) >= weakest);
    if sources.session.is_some_and(|policy| !allows(policy, Naming::Account)) {
        return Effect::ImplicitDeny;
    }
    let identity_allows = || sources.identity.iter().any(|policy| allows(policy, Naming::Account));
    let resource_allows = |weakest: Naming| sources.resource.is_some_and(|policy| allows(policy, weakest));
    let same_account =
        reading.resource().owner().is_none_or(|owner| owner == reading.principal().account().as_str());
    let trusted = sources.resource.is_some_and(|policy| policy.kind() == PolicyKind::Trust);
    let both_allow = || resource_allows(Naming::Account) && identity_allows();
    let allowed = match (same_account, trusted) {
        (true, false) => identity_allows() || resource_allows(Naming::Direct),
        (true, true) => resource_allows(Naming::Direct) || both_allow(),
        (false, _) => both_allow(),
    };
    if allowed { Effect::Allow } else { Effect::ImplicitDeny }
}

/// Whether a denial could reach into a set of resources, and what that depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixDenial {
    /// The first Deny that could apply; `None` if none could.
    pub statement: Option<StatementRef>,
    /// As [`Decision::reads_time`].
    pub reads_time: bool,
    /// As [`Decision::reads_source`].
    pub reads_source: bool,
}

/// Whether any Deny on `action` whose conditions hold now could match a topic of a cluster; `topic_prefix` is what the
/// ARNs of its topics begin with, [`crate::ClusterArns::topic_prefix`] (gateway/PROTOCOL.md §8: idempotent producers).
///
/// It errs on the side of denial: a variable in a pattern could be anything, and a NotResource is believed to spare
/// the cluster only if one of its patterns plainly covers all of its topics.
pub fn deny_could_match(
    sources: PolicySources<'_>,
    context: &RequestContext<'_>,
    action: &str,
    topic_prefix: &str,
) -> PrefixDenial {
    let reading = Reading::new(context, topic_prefix);
    let statement = sources
        .all()
        .flat_map(Policy::denies)
        .find(|deny| deny.could_apply_under(action, is_topic_character, &reading) != Naming::None)
        .map(|deny| deny.reference.clone());
    PrefixDenial { statement, reads_time: reading.read_time(), reads_source: reading.read_source() }
}

/// The characters of Kafka's topic names.
fn is_topic_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}
