//! AWS JSON policies: parsed and compiled once, evaluated many times.
//!
//! [`Policy::parse`] compiles a document; [`evaluate`] combines a principal's identity policies with the resource
//! policy of a cluster. Source: IAM User Guide, "IAM JSON policy reference" and "Policy evaluation logic".

mod address;
mod arn_pattern;
mod condition;
mod condition_key;
mod context;
mod document;
mod evaluation;
mod operator;
mod pattern;
mod policy_error;
mod principal_element;
mod statement;

pub use context::{AccessRequest, RequestContext};
pub use document::{
    IDENTITY_POLICY_CHARACTERS_MAX, POLICY_BYTES_MAX, Policy, PolicyKind, RESOURCE_POLICY_CHARACTERS_MAX,
    SESSION_POLICY_CHARACTERS_MAX, TRUST_POLICY_CHARACTERS_MAX,
};
pub use evaluation::{
    AccessDenied, Decision, Effect, PolicySources, PrefixDenial, deny_could_match, evaluate,
};
pub use policy_error::PolicyError;
pub use statement::StatementRef;
