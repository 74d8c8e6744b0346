//! A policy document, parsed and compiled.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::policy_error::PolicyError;
use super::statement::{Statement, StatementEffect};
use crate::json::Json;

/// The longest identity policy, in characters that are not white space: AWS's quota for managed policies.
pub const IDENTITY_POLICY_CHARACTERS_MAX: usize = 6_144;

/// The longest cluster policy, in characters that are not white space: Amazon MSK's 20 KB.
pub const RESOURCE_POLICY_CHARACTERS_MAX: usize = 20 * 1024;

/// The longest text that is looked at at all, white space included: the bound of IAM's `PolicyDocument` parameter.
pub const POLICY_BYTES_MAX: usize = 131_072;

/// The longest trust policy, in characters that are not white space: AWS's default quota.
pub const TRUST_POLICY_CHARACTERS_MAX: usize = 2_048;

/// The longest session policy, in characters, as AWS bounds the parameter.
pub const SESSION_POLICY_CHARACTERS_MAX: usize = 2_048;

/// What a policy is attached to; resource and trust policies name principals, identity policies must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// A user's, group's, role's or session's.
    Identity,
    /// A cluster's.
    Resource,
    /// Who may assume a role: it is about that role alone, so it names no resource.
    Trust,
}

/// A compiled policy. Cheap to evaluate, meant to be shared behind an `Arc`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    name: Arc<str>,
    kind: PolicyKind,
    denies: Vec<Statement>,
    allows: Vec<Statement>,
}

impl Policy {
    /// Parses and compiles a document. `name` is what denials call it; `characters_max` bounds it without white
    /// space. A missing Version means 2008-10-17, in which `${…}` has no meaning.
    pub fn parse(
        name: &str,
        kind: PolicyKind,
        text: &str,
        characters_max: usize,
    ) -> Result<Self, PolicyError> {
        let characters = text.chars().filter(|character| !character.is_whitespace()).count();
        if text.len() > POLICY_BYTES_MAX || characters > characters_max {
            return Err(PolicyError::TooLong(characters_max));
        }
        let Some(Json::Object(elements)) = Json::parse(text.as_bytes()) else {
            return Err(PolicyError::Syntax);
        };
        if elements.iter().any(|(key, _)| !matches!(key.as_str(), "Version" | "Id" | "Statement")) {
            return Err(PolicyError::Syntax);
        }
        let element = |name: &str| elements.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        if element("Id").is_some_and(|id| id.as_text().is_none()) {
            return Err(PolicyError::Syntax);
        }
        let variables = match element("Version").map(Json::as_text) {
            Some(Some("2012-10-17")) => true,
            None | Some(Some("2008-10-17")) => false,
            Some(_) => return Err(PolicyError::Version),
        };
        let statements = match element("Statement") {
            Some(Json::List(statements)) if !statements.is_empty() => statements.as_slice(),
            Some(statement @ Json::Object(_)) => std::slice::from_ref(statement),
            Some(Json::List(_)) | None => return Err(PolicyError::NoStatement),
            Some(_) => return Err(PolicyError::Syntax),
        };
        Self::compile(name, kind, statements, variables)
    }

    fn compile(
        name: &str,
        kind: PolicyKind,
        statements: &[Json],
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let name: Arc<str> = name.into();
        let mut sids = BTreeSet::new();
        let (mut denies, mut allows) = (Vec::new(), Vec::new());
        for (index, json) in statements.iter().enumerate() {
            let statement = Statement::parse(json, &name, kind, index + 1, variables)?;
            if statement.sid.as_ref().is_some_and(|sid| !sids.insert(sid.clone())) {
                return Err(PolicyError::SidRepeated);
            }
            match statement.effect {
                StatementEffect::Deny => denies.push(statement),
                StatementEffect::Allow => allows.push(statement),
            }
        }
        Ok(Self { name, kind, denies, allows })
    }

    /// The name given to [`Policy::parse`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the policy is attached to.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    pub(crate) fn denies(&self) -> &[Statement] {
        &self.denies
    }

    pub(crate) fn allows(&self) -> &[Statement] {
        &self.allows
    }
}
