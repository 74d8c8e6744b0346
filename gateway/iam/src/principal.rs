//! Who a credential belongs to.

use std::fmt;

use crate::arn::AccountId;

/// What sort of identity a principal is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The account itself. It gets no implicit rights here: give it an administrator policy.
    Root,
    /// An IAM user.
    User {
        /// The user's name, without its path: the value of `aws:username`.
        name: String,
    },
    /// A session of a role.
    RoleSession {
        /// ARN of the role, `arn:aws:iam::<account>:role/<name>`: the value of `aws:PrincipalArn`.
        role_arn: String,
        /// The session's name. It is part of the identity: a re-authentication under another name is refused.
        session_name: String,
    },
}

/// A principal: a user, a role session or an account, named by its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    account: AccountId,
    arn: String,
    id: String,
    kind: PrincipalKind,
}

impl Principal {
    /// The user whose ARN is given whole, because a path may stand before the name.
    /// `id` is the unique id (`AIDA…`), the value of `aws:userid`.
    pub fn user(account: AccountId, arn: String, name: String, id: String) -> Self {
        Self { account, arn, id, kind: PrincipalKind::User { name } }
    }

    /// A session of a role; `arn` is `arn:aws:sts::<account>:assumed-role/<role>/<session>`, `id` is
    /// `AROA…:<session>`.
    pub fn role_session(
        account: AccountId,
        arn: String,
        role_arn: String,
        session_name: String,
        id: String,
    ) -> Self {
        Self { account, arn, id, kind: PrincipalKind::RoleSession { role_arn, session_name } }
    }

    /// The account's root.
    pub fn root(account: AccountId) -> Self {
        let arn = format!("arn:aws:iam::{account}:root");
        Self { id: account.to_string(), arn, account, kind: PrincipalKind::Root }
    }

    /// The account the principal belongs to.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The ARN that names the principal in logs, denials and Kafka's `IAM:<arn>`.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The unique id, the value of `aws:userid`. May be empty where none is known.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What sort of identity it is.
    pub fn kind(&self) -> &PrincipalKind {
        &self.kind
    }

    /// The ARN policies are attached to, the value of `aws:PrincipalArn`: a role session's is its role's.
    pub fn policy_arn(&self) -> &str {
        match &self.kind {
            PrincipalKind::RoleSession { role_arn, .. } => role_arn,
            PrincipalKind::Root | PrincipalKind::User { .. } => &self.arn,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.arn)
    }
}
