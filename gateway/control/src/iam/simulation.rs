//! SimulatePrincipalPolicy: may this user do that, and if not, which statement says so?

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, Policy, PolicyKind};
use headgate_iam::{AccessRequest, Effect, PolicySources, RequestContext, UnixTime, evaluate};
use headgate_metadata::id::Revision;
use headgate_metadata::principals::CachedUser;

use super::{existing, paging, required};
use crate::authenticate::{compile, principal_of};
use crate::call::{Call, TagContext};
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

pub(super) async fn run(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let source = required(form, "PolicySourceArn")?;
    call.authorize(source, TagContext::default())?;
    let name = source.strip_prefix(&call.user_arn("")).ok_or_else(|| {
        ApiError::new(ApiError::INVALID_INPUT, "PolicySourceArn must be the ARN of a user of this account.")
    })?;
    let user = existing(call, name).await?;
    let cached = CachedUser { user: user.into(), policy_version: Revision::default() };
    let principal = principal_of(&cached)?;
    let policies = policies_of(&cached, form)?;
    let questions = questions(form)?;
    let facts = Facts::read(form, call.request.now)?;
    let other: Vec<_> = facts.other.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut context = RequestContext::new(&principal, facts.now);
    context.source_ip = facts.source_ip;
    context.secure_transport = facts.secure_transport;
    context.user_agent = facts.user_agent.as_deref();
    context.region = Some(&call.api.config.region);
    context.service_keys = &other;
    let xml = Xml::new().members("EvaluationResults", questions, |xml, (action, resource)| {
        let request = AccessRequest { action, resource, context: &context };
        let decision = evaluate(PolicySources { identity: &policies, resource: None }, &request);
        shown(xml, action, resource, &decision.effect)
    });
    Ok(Some(paging::end(xml, None)))
}

/// The user's own policies and those that are tried out with them.
fn policies_of(user: &CachedUser, form: &Parameters) -> Result<Vec<Arc<Policy>>, ApiError> {
    let mut policies = compile(user)?;
    for (index, document) in form.members("PolicyInputList").into_iter().enumerate() {
        let name = format!("PolicyInputList.{}", index + 1);
        let policy = Policy::parse(&name, PolicyKind::Identity, document, IDENTITY_POLICY_CHARACTERS_MAX)?;
        policies.push(Arc::new(policy));
    }
    Ok(policies)
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

fn shown(xml: Xml, action: &str, resource: &str, effect: &Effect) -> Xml {
    let (word, statement) = match effect {
        Effect::Allow => ("allowed", None),
        Effect::ExplicitDeny(statement) => ("explicitDeny", Some(statement)),
        Effect::ImplicitDeny => ("implicitDeny", None),
    };
    xml.text("EvalActionName", action)
        .text("EvalResourceName", resource)
        .text("EvalDecision", word)
        .members("MatchedStatements", statement, |xml, statement| {
            xml.text("SourcePolicyId", &statement.to_string()).text("SourcePolicyType", "IAM Policy")
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
