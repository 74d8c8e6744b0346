//! Records that grant: groups, roles, managed policies and cluster policies, and what is known of the use of keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, TimestampMs};

/// An IAM group: policies that its members share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The group's name, unique in the account.
    pub name: String,
    /// `AGPA…`.
    pub group_id: String,
    /// The owner.
    pub account: AccountId,
    /// When it was created.
    pub created: TimestampMs,
    /// Inline policies by name, as the JSON text that was put.
    #[serde(default)]
    pub policies: BTreeMap<String, String>,
    /// The names of the managed policies attached to it.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// The names of the users in it; each user names it too.
    #[serde(default)]
    pub members: BTreeSet<String>,
}

impl GroupRecord {
    /// `arn:aws:iam::<account>:group/<name>`.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:group/{}", self.account, self.name)
    }
}

/// An IAM role: policies for whoever its trust policy lets assume it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRecord {
    /// The role's name, unique in the account.
    pub name: String,
    /// `AROA…`.
    pub role_id: String,
    /// The owner.
    pub account: AccountId,
    /// When it was created.
    pub created: TimestampMs,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// How long a session may be asked for, in seconds.
    pub session_seconds_max: u32,
    /// Who may assume it, as the JSON text that was put.
    pub trust_policy: String,
    /// Inline policies by name, as the JSON text that was put.
    #[serde(default)]
    pub policies: BTreeMap<String, String>,
    /// The names of the managed policies attached to it.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl RoleRecord {
    /// `arn:aws:iam::<account>:role/<name>`.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{}", self.account, self.name)
    }
}

/// A managed policy: versions of a document, one of them in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedPolicyRecord {
    /// The policy's name, unique in the account.
    pub name: String,
    /// `ANPA…`.
    pub policy_id: String,
    /// The owner.
    pub account: AccountId,
    /// When it was created.
    pub created: TimestampMs,
    /// When a version was last made, deleted or put in force.
    pub updated: TimestampMs,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// The versions, oldest first. A number is never used twice.
    pub versions: Vec<PolicyVersionRecord>,
    /// The number of the version in force.
    pub default_version: u32,
    /// The number of the next version.
    pub next_version: u32,
    /// To how many users, groups and roles it is attached; each of them names it.
    #[serde(default)]
    pub attachments: u32,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl ManagedPolicyRecord {
    /// `arn:aws:iam::<account>:policy/<name>`.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:policy/{}", self.account, self.name)
    }

    /// The version of this number.
    pub fn version(&self, number: u32) -> Option<&PolicyVersionRecord> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The document in force; `None` only for a record that was damaged.
    pub fn document(&self) -> Option<&str> {
        self.version(self.default_version).map(|version| version.document.as_str())
    }
}

/// One version of a managed policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersionRecord {
    /// Its number; `v1` is 1.
    pub number: u32,
    /// The JSON text that was put.
    pub document: String,
    /// When it was made.
    pub created: TimestampMs,
}

/// The last use of an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUseRecord {
    /// When.
    pub at: TimestampMs,
    /// For what, as in credential scopes: `kafka`, `iam`, `kafka-cluster`.
    pub service: String,
    /// The region it was signed for.
    pub region: String,
}
