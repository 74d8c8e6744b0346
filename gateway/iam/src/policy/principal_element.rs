//! The Principal element of resource policies: whom a statement is about.

use super::policy_error::PolicyError;
use crate::arn::{AccountId, Arn};
use crate::json::Json;
use crate::principal::{Principal, PrincipalKind};

/// How a statement names the principal of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Naming {
    /// Not at all.
    None,
    /// By its account. Within one account that grants nothing by itself: it leaves the decision to identity policies.
    Account,
    /// Itself, its role, or everyone.
    Direct,
}

/// A compiled Principal or NotPrincipal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PrincipalElement {
    negated: bool,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Everyone,
    Account(AccountId),
    /// A user, a role or a role session.
    Arn(Arn),
    /// A service, an identity provider or a canonical user: nobody who can sign here.
    Foreign,
}

impl PrincipalElement {
    /// Parses `"*"` or `{"AWS": …, "Service": …, …}`.
    pub(crate) fn parse(json: &Json, negated: bool) -> Result<Self, PolicyError> {
        let mut entries = Vec::new();
        match json {
            Json::Text(text) if text == "*" => entries.push(Entry::Everyone),
            Json::Text(text) => return Err(PolicyError::PrincipalInvalid(text.clone())),
            Json::Object(kinds) => {
                for (kind, names) in kinds {
                    for name in texts(names)? {
                        entries.push(Entry::parse(kind, name)?);
                    }
                }
            }
            _ => return Err(PolicyError::Syntax),
        }
        if entries.is_empty() { Err(PolicyError::PrincipalMissing) } else { Ok(Self { negated, entries }) }
    }

    /// How the element names `principal`.
    pub(crate) fn names(&self, principal: &Principal) -> Naming {
        let naming = self.entries.iter().map(|entry| entry.names(principal)).max().unwrap_or(Naming::None);
        match (self.negated, naming) {
            (false, naming) => naming,
            (true, Naming::None) => Naming::Direct,
            (true, Naming::Account | Naming::Direct) => Naming::None,
        }
    }
}

impl Entry {
    fn parse(kind: &str, name: &str) -> Result<Self, PolicyError> {
        let invalid = || PolicyError::PrincipalInvalid(name.to_owned());
        match kind {
            "Service" | "Federated" | "CanonicalUser" => return Ok(Self::Foreign),
            "AWS" => {}
            _ => return Err(PolicyError::PrincipalInvalid(kind.to_owned())),
        }
        if name == "*" {
            return Ok(Self::Everyone);
        }
        if let Some(account) = AccountId::parse(name) {
            return Ok(Self::Account(account));
        }
        let arn = Arn::parse(name).ok_or_else(invalid)?;
        let account = AccountId::parse(arn.account()).ok_or_else(invalid)?;
        let kinds = match arn.service() {
            "iam" => ["user/", "role/"],
            "sts" => ["assumed-role/", "federated-user/"],
            _ => return Err(invalid()),
        };
        if arn.service() == "iam" && arn.resource() == "root" {
            return Ok(Self::Account(account));
        }
        // Wildcards inside a principal are not allowed: they would name people who do not exist yet.
        let named = kinds.iter().any(|kind| arn.resource().starts_with(kind)) && !name.contains(['*', '?']);
        if named { Ok(Self::Arn(arn)) } else { Err(invalid()) }
    }

    fn names(&self, principal: &Principal) -> Naming {
        let named = match self {
            Self::Everyone => true,
            Self::Account(account) if account == principal.account() => {
                return match principal.kind() {
                    PrincipalKind::Root => Naming::Direct,
                    PrincipalKind::User { .. } | PrincipalKind::RoleSession { .. } => Naming::Account,
                };
            }
            Self::Arn(arn) => arn.as_str() == principal.arn() || arn.as_str() == principal.policy_arn(),
            Self::Account(_) | Self::Foreign => false,
        };
        if named { Naming::Direct } else { Naming::None }
    }
}

fn texts(json: &Json) -> Result<Vec<&str>, PolicyError> {
    match json {
        Json::List(items) => items.iter().map(|item| item.as_text().ok_or(PolicyError::Syntax)).collect(),
        item => Ok(vec![item.as_text().ok_or(PolicyError::Syntax)?]),
    }
}
