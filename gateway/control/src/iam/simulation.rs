//! SimulatePrincipalPolicy and SimulateCustomPolicy: may this one do that, and if not, which statement says so?

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, Policy, PolicyKind};
use headgate_iam::{
    AccessRequest, Effect, PolicySources, Principal, RequestContext, StatementRef, UnixTime, evaluate,
};
use headgate_metadata::principals::{Actor, ActorKind, GrantedPolicy, Grants, PolicySource};
use headgate_metadata::record::{GroupRecord, RoleRecord, UserRecord};

use super::identity::existing;
use super::{paging, required};
use crate::authenticate::{Rights, role_principal, user_principal};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

/// Questions in one call at most: actions times resources.
const QUESTIONS_MAX: usize = 1_000;

/// What the simulated request is said to be.
struct Facts {
    now: UnixTime,
    source_ip: Option<IpAddr>,
    secure_transport: bool,
    user_agent: Option<String>,
    /// By lower-case name.
    other: Vec<(String, String)>,
}

/// The policies that are tried, in the order that they are named in.
#[derive(Default)]
struct Tried {
    policies: Vec<Arc<Policy>>,
    /// The word that the service's model has for where each comes from.
    sources: Vec<&'static str>,
    tags: Vec<(String, String)>,
}

pub(super) async fn principal(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let source = required(form, "PolicySourceArn")?;
    call.authorize(source, Circumstances::default())?;
    let (principal, grants) = subject(call, source).await?;
    let mut tried = Tried::granted(&grants)?;
    tried.add_given(form)?;
    answer(call, form, &principal, &tried)
}

pub(super) async fn custom(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let mut tried = Tried::default();
    tried.add_given(form)?;
    if tried.policies.is_empty() {
        return Err(ApiError::missing("PolicyInputList"));
    }
    // Whoever asks stands for whoever would have these policies.
    answer(call, form, &call.caller.principal.clone(), &tried)
}

/// The user, group or role of an ARN, as a principal, with what its policies are now. A group has no principal of its own: its
/// policies are asked as if somebody had them alone.
async fn subject(call: &Call<'_>, arn: &str) -> Result<(Principal, Arc<Grants>), ApiError> {
    let wrong = || {
        let message = "PolicySourceArn must be the ARN of a user, group or role of this account.";
        ApiError::new(ApiError::INVALID_INPUT, message)
    };
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let resource = arn.strip_prefix(&format!("arn:aws:iam::{account}:")).ok_or_else(wrong)?;
    let (kind, name) = resource.split_once('/').ok_or_else(wrong)?;
    let principals = &call.api.components.principals;
    let own = |kind, id: &str| {
        let actor = Actor { account, kind, name: name.to_owned(), id: id.to_owned() };
        principals.principal(&actor).map(|cached| cached.grants)
    };
    // What was changed before this call must be in what it answers.
    call.see_principals(store.revision().await?).await;
    let (principal, grants) = match kind {
        "user" => {
            let user = existing::<UserRecord>(call, name).await?;
            (user_principal(&user)?, own(ActorKind::User, &user.user_id))
        }
        "role" => {
            let role = existing::<RoleRecord>(call, name).await?;
            let principal = role_principal(&role, "simulation")?;
            (principal, own(ActorKind::Role, &role.role_id))
        }
        "group" => {
            existing::<GroupRecord>(call, name).await?;
            (call.caller.principal.clone(), principals.group_grants(account, name).map(Arc::new))
        }
        _ => return Err(wrong()),
    };
    Ok((principal, grants.ok_or_else(ApiError::internal)?))
}

impl Tried {
    fn granted(grants: &Grants) -> Result<Self, ApiError> {
        let Rights { policies, tags, .. } = Rights::compile(grants, None)?;
        let source = |policy: &GrantedPolicy| match policy.source {
            PolicySource::User => "user",
            PolicySource::Group => "group",
            PolicySource::Role => "role",
            PolicySource::Managed => "user-managed",
        };
        Ok(Self { policies, sources: grants.policies.iter().map(source).collect(), tags })
    }

    /// Adds the policies of the request.
    fn add_given(&mut self, form: &Parameters) -> Result<(), ApiError> {
        for (index, document) in form.members("PolicyInputList").into_iter().enumerate() {
            let name = format!("PolicyInputList.{}", index + 1);
            let policy =
                Policy::parse(&name, PolicyKind::Identity, document, IDENTITY_POLICY_CHARACTERS_MAX)?;
            self.policies.push(Arc::new(policy));
            self.sources.push("none");
        }
        Ok(())
    }

    fn source_of(&self, statement: &StatementRef) -> &'static str {
        let index = self.policies.iter().position(|policy| policy.name() == statement.policy());
        index.and_then(|index| self.sources.get(index)).copied().unwrap_or("none")
    }
}

fn answer(
    call: &Call<'_>,
    form: &Parameters,
    principal: &Principal,
    tried: &Tried,
) -> Result<Option<Xml>, ApiError> {
    let questions = questions(form)?;
    let facts = Facts::read(form, call.request.now)?;
    let other: Vec<_> = facts.other.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut context = RequestContext::new(principal, facts.now);
    context.source_ip = facts.source_ip;
    context.secure_transport = facts.secure_transport;
    context.user_agent = facts.user_agent.as_deref();
    context.region = Some(&call.api.config.region);
    context.principal_tags = &tried.tags;
    context.service_keys = &other;
    let sources = PolicySources { identity: &tried.policies, ..PolicySources::default() };
    let xml = Xml::new().members("EvaluationResults", questions, |xml, (action, resource)| {
        let request = AccessRequest { action, resource, context: &context };
        shown(xml, tried, action, resource, &evaluate(sources, &request).effect)
    });
    Ok(Some(paging::end(xml, None)))
}

/// Every action on every resource.
fn questions(form: &Parameters) -> Result<Vec<(&str, &str)>, ApiError> {
    let actions = form.members("ActionNames");
    if actions.is_empty() {
        return Err(ApiError::missing("ActionNames"));
    }
    let mut resources = form.members("ResourceArns");
    if resources.is_empty() {
        resources.push("*");
    }
    if actions.len() * resources.len() > QUESTIONS_MAX {
        let message =
            format!("At most {QUESTIONS_MAX} combinations of actions and resources are simulated at once.");
        return Err(ApiError::parameter("actionNames", message));
    }
    Ok(actions.iter().flat_map(|action| resources.iter().map(move |resource| (*action, *resource))).collect())
}

fn shown(xml: Xml, tried: &Tried, action: &str, resource: &str, effect: &Effect) -> Xml {
    let (word, statement) = match effect {
        Effect::Allow => ("allowed", None),
        Effect::ExplicitDeny(statement) => ("explicitDeny", Some(statement)),
        Effect::ImplicitDeny => ("implicitDeny", None),
    };
    xml.text("EvalActionName", action)
        .text("EvalResourceName", resource)
        .text("EvalDecision", word)
        .members("MatchedStatements", statement, |xml, statement| {
            xml.text("SourcePolicyId", &statement.to_string())
                .text("SourcePolicyType", tried.source_of(statement))
        })
        .element("MissingContextValues", |element| element)
}

impl Facts {
    /// Reads `ContextEntries`. Keys that say who asks are the user's own and cannot be told otherwise.
    fn read(form: &Parameters, now: UnixTime) -> Result<Self, ApiError> {
        let mut facts =
            Self { now, source_ip: None, secure_transport: true, user_agent: None, other: Vec::new() };
        for (key, values) in context_entries(form) {
            let wrong = || ApiError::parameter("contextEntries", format!("The value for {key} is invalid."));
            let first = values.first().copied().ok_or_else(wrong)?;
            match key.as_str() {
                "aws:currenttime" | "aws:epochtime" => {
                    facts.now = UnixTime::parse_condition_date(first).ok_or_else(wrong)?;
                }
                "aws:sourceip" => facts.source_ip = Some(first.parse().map_err(|_| wrong())?),
                "aws:securetransport" => facts.secure_transport = first.parse().map_err(|_| wrong())?,
                "aws:useragent" => facts.user_agent = Some(first.to_owned()),
                _ => facts.other.extend(values.iter().map(|value| (key.clone(), (*value).to_owned()))),
            }
        }
        Ok(facts)
    }
}

/// `ContextEntries.member.N.ContextKeyName` with its `ContextKeyValues.member.M`, keys in lower case.
fn context_entries(form: &Parameters) -> BTreeMap<String, Vec<&str>> {
    let entry = |number: u32| {
        let entry = format!("ContextEntries.member.{number}");
        let key = form.get(&format!("{entry}.ContextKeyName"))?;
        Some((key.to_ascii_lowercase(), form.members(&format!("{entry}.ContextKeyValues"))))
    };
    (1..).map_while(entry).collect()
}
