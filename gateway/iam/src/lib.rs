//! Identity and access: who signed a request, and what policies let them do.
//!
//! Callers are the gateway (logins, authorization of Kafka requests) and the control API (signed HTTP requests, IAM
//! calls, sessions); below are only the cryptography crates.
//! Not here: storage of keys and policies, caches, clocks, random numbers (all are arguments), Kafka and HTTP
//! messages, which cluster a host name belongs to.
//! Start at [`ClaimedLogin::parse`] and [`ClaimedLogin::verify`] for logins, [`ClaimedRequest::parse`] for HTTP
//! requests, [`Policy::parse`] and [`evaluate`] for policies; [`session_token`] and [`secret_box`] keep secrets.

pub mod access_key;
pub mod action;
pub mod arn;
pub mod cluster_arns;
pub mod credential;
mod json;
pub mod login;
mod login_rejected;
pub mod master_key;
pub mod msk_iam;
mod oauthbearer;
pub mod policy;
pub mod principal;
pub mod secret_box;
pub mod session_token;
pub mod sigv4;
pub mod unix_time;

pub use access_key::{
    AccessKeyKind, RandomSource, SecretKey, generate_access_key_id, generate_group_id, generate_policy_id,
    generate_role_id, generate_user_id,
};
pub use action::{KafkaAction, ResourceType};
pub use arn::{AccountId, Arn};
pub use cluster_arns::ClusterArns;
pub use credential::{KeyMaterial, KeyStatus, Session};
pub use login::{ClaimedLogin, LoginExpectations, LoginRejected, Mechanism, VerifiedLogin};
pub use master_key::MasterKey;
pub use policy::{
    AccessDenied, AccessRequest, Decision, Effect, Policy, PolicyError, PolicyKind, PolicySources,
    PrefixDenial, RequestContext, StatementRef, deny_could_match, evaluate,
};
pub use principal::{Principal, PrincipalKind};
pub use session_token::SessionClaims;
pub use sigv4::{
    BodyHash, ClaimedRequest, CredentialScope, ErrorCode, HttpRequest, RequestExpectations, RequestRejected,
    SigningKey, VerifiedRequest,
};
pub use unix_time::UnixTime;
