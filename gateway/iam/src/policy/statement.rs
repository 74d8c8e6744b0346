//! One statement of a policy, compiled.

use std::fmt;
use std::sync::Arc;

use super::arn_pattern::ArnPattern;
use super::condition::{Condition, parse_conditions};
use super::context::Reading;
use super::document::PolicyKind;
use super::pattern::{Case, Match, Pattern, Syntax};
use super::policy_error::PolicyError;
use super::principal_element::{Naming, PrincipalElement};
use crate::json::Json;

/// Names a statement to a reader: `<policy>/<Sid>`, or `<policy>/#<number>` counted from 1 for one without Sid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatementRef {
    policy: Arc<str>,
    statement: Arc<str>,
}

impl StatementRef {
    /// The policy's name.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The statement's Sid, or `#` and its number.
    pub fn statement(&self) -> &str {
        &self.statement
    }
}

impl fmt::Display for StatementRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.policy, self.statement)
    }
}

/// Whether a statement allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatementEffect {
    Allow,
    Deny,
}

/// A list of patterns (of actions or of ARNs), or everything but them.
#[derive(Clone, Debug, PartialEq)]
struct PatternList<P> {
    negated: bool,
    patterns: Vec<P>,
}

/// A compiled statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) reference: StatementRef,
    pub(crate) sid: Option<String>,
    pub(crate) effect: StatementEffect,
    principals: Option<PrincipalElement>,
    actions: PatternList<Pattern>,
    resources: PatternList<ArnPattern>,
    conditions: Vec<Condition>,
}

impl Statement {
    /// Compiles one statement; `number` counts from 1, `variables` tells whether `${…}` has a meaning.
    pub(crate) fn parse(
        json: &Json,
        policy: &Arc<str>,
        kind: PolicyKind,
        number: usize,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let Json::Object(elements) = json else {
            return Err(PolicyError::Syntax);
        };
        check_element_names(elements)?;
        let element = |name: &str| elements.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let sid = match element("Sid") {
            None => None,
            Some(sid) => {
                Some(sid.as_text().ok_or(PolicyError::Syntax)?.to_owned()).filter(|sid| !sid.is_empty())
            }
        };
        if sid.as_ref().is_some_and(|sid| !is_sid(sid, kind)) {
            return Err(PolicyError::SidInvalid);
        }
        let effect = match element("Effect").and_then(Json::as_text) {
            Some("Allow") => StatementEffect::Allow,
            Some("Deny") => StatementEffect::Deny,
            _ => return Err(PolicyError::Effect),
        };
        let label = sid.clone().unwrap_or_else(|| format!("#{number}"));
        Ok(Self {
            reference: StatementRef { policy: Arc::clone(policy), statement: label.into() },
            sid,
            effect,
            principals: parse_principals(kind, element("Principal"), element("NotPrincipal"))?,
            actions: parse_actions(element("Action"), element("NotAction"))?,
            resources: parse_resources(kind, element("Resource"), element("NotResource"), variables)?,
            conditions: element("Condition")
                .map_or(Ok(Vec::new()), |json| parse_conditions(json, variables))?,
        })
    }

    /// How the statement applies to `action` on the resource being read: not at all, or as it names the principal.
    /// Statements of identity policies name theirs directly.
    pub(crate) fn applies(&self, action: &str, reading: &Reading<'_>) -> Naming {
        let selected = self.selects_action(action, reading)
            && self.resources.selects(self.effect, |pattern| pattern.matches(reading.resource(), reading));
        if selected { self.names_if_conditions_hold(reading) } else { Naming::None }
    }

    /// As [`Statement::applies`], for some resource whose name is the one being read and then only characters that
    /// are `legal`.
    pub(crate) fn could_apply_under(
        &self,
        action: &str,
        legal: fn(char) -> bool,
        reading: &Reading<'_>,
    ) -> Naming {
        let prefix = reading.resource();
        let resources = &self.resources.patterns;
        let selected = if self.resources.negated {
            !resources.iter().any(|pattern| pattern.covers_all_under(prefix, reading))
        } else {
            resources.iter().any(|pattern| pattern.could_match_under(prefix, legal, reading))
        };
        let selected = selected && self.selects_action(action, reading);
        if selected { self.names_if_conditions_hold(reading) } else { Naming::None }
    }

    fn selects_action(&self, action: &str, reading: &Reading<'_>) -> bool {
        self.actions.selects(self.effect, |pattern| pattern.matches(action, reading))
    }

    fn names_if_conditions_hold(&self, reading: &Reading<'_>) -> Naming {
        let naming =
            self.principals.as_ref().map_or(Naming::Direct, |element| element.names(reading.principal()));
        if naming != Naming::None && self.conditions.iter().all(|condition| condition.holds(reading)) {
            naming
        } else {
            Naming::None
        }
    }
}

impl<P> PatternList<P> {
    /// Whether the element covers what `matches` compares. A variable without a value selects nothing; in a negated
    /// list it would by that select everything, which only a Deny may do.
    fn selects(&self, effect: StatementEffect, matches: impl Fn(&P) -> Match) -> bool {
        let mut unresolved = false;
        for pattern in &self.patterns {
            match matches(pattern) {
                Match::Yes => return !self.negated,
                Match::No => {}
                Match::Unresolved => unresolved = true,
            }
        }
        self.negated && !(unresolved && effect == StatementEffect::Allow)
    }
}

/// The longest Sid accepted: denials carry it to clients and into logs.
const SID_LENGTH_MAX: usize = 256;

/// IAM wants letters and digits; resource policies may use any text.
fn is_sid(sid: &str, kind: PolicyKind) -> bool {
    let allowed = |character: char| match kind {
        PolicyKind::Identity => character.is_ascii_alphanumeric(),
        PolicyKind::Resource | PolicyKind::Trust => !character.is_control(),
    };
    sid.len() <= SID_LENGTH_MAX && sid.chars().all(allowed)
}

fn check_element_names(elements: &[(String, Json)]) -> Result<(), PolicyError> {
    const KNOWN: [&str; 9] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    if elements.iter().all(|(name, _)| KNOWN.contains(&name.as_str())) {
        Ok(())
    } else {
        Err(PolicyError::Syntax)
    }
}

fn parse_principals(
    kind: PolicyKind,
    principal: Option<&Json>,
    not_principal: Option<&Json>,
) -> Result<Option<PrincipalElement>, PolicyError> {
    match (kind, principal, not_principal) {
        (PolicyKind::Identity, None, None) => Ok(None),
        (PolicyKind::Identity, _, _) => Err(PolicyError::PrincipalProhibited),
        (_, Some(json), None) => PrincipalElement::parse(json, false).map(Some),
        (_, None, Some(json)) => PrincipalElement::parse(json, true).map(Some),
        (_, None, None) => Err(PolicyError::PrincipalMissing),
        (_, Some(_), Some(_)) => Err(PolicyError::Syntax),
    }
}

fn parse_actions(
    action: Option<&Json>,
    not_action: Option<&Json>,
) -> Result<PatternList<Pattern>, PolicyError> {
    let (negated, texts) = one_of(action, not_action, PolicyError::Actions)?;
    let compile = |text: &String| {
        let vendor_named = text.split_once(':').is_some_and(|(vendor, name)| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !vendor.is_empty() && !name.is_empty() && vendor.bytes().all(plain)
        });
        if text != "*" && !vendor_named {
            return Err(PolicyError::ActionVendor(text.clone()));
        }
        let syntax = Syntax { wildcards: true, variables: false };
        Pattern::compile(text, syntax, Case::Insensitive).ok_or(PolicyError::Actions)
    };
    Ok(PatternList { negated, patterns: texts.iter().map(compile).collect::<Result<_, _>>()? })
}

fn parse_resources(
    kind: PolicyKind,
    resource: Option<&Json>,
    not_resource: Option<&Json>,
    variables: bool,
) -> Result<PatternList<ArnPattern>, PolicyError> {
    let (negated, texts) = match (kind, resource, not_resource) {
        (PolicyKind::Trust, None, None) => (false, vec!["*".to_owned()]),
        (PolicyKind::Trust, _, _) => return Err(PolicyError::ResourceProhibited),
        _ => one_of(resource, not_resource, PolicyError::Resources)?,
    };
    let compile = |text: &String| {
        let is_arn = text.starts_with("arn:") && text.bytes().filter(|byte| *byte == b':').count() >= 5;
        // A wildcard may stand for several fields, as in `arn:aws:kafka:*`.
        let is_wide_arn = text.starts_with("arn:") && text.contains('*');
        if text != "*" && !is_arn && !is_wide_arn {
            return Err(PolicyError::ResourceFormat(text.clone()));
        }
        ArnPattern::compile(text, variables).ok_or_else(|| PolicyError::Variable(text.clone()))
    };
    Ok(PatternList { negated, patterns: texts.iter().map(compile).collect::<Result<_, _>>()? })
}

/// Exactly one of an element and its negation, with at least one text.
fn one_of(
    plain: Option<&Json>,
    negated: Option<&Json>,
    missing: PolicyError,
) -> Result<(bool, Vec<String>), PolicyError> {
    let (is_negated, json) = match (plain, negated) {
        (Some(json), None) => (false, json),
        (None, Some(json)) => (true, json),
        (None, None) => return Err(missing),
        (Some(_), Some(_)) => return Err(PolicyError::Syntax),
    };
    let text = |item: &Json| item.as_text().map(str::to_owned).ok_or(PolicyError::Syntax);
    let texts = match json {
        Json::List(items) => items.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        item => vec![text(item)?],
    };
    if texts.is_empty() { Err(missing) } else { Ok((is_negated, texts)) }
}
