//! Policies, compiled once for each version.

use std::sync::Arc;

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, RESOURCE_POLICY_CHARACTERS_MAX};
use headgate_iam::{Policy, PolicyKind, PolicySources};
use headgate_metadata::catalog::CachedClusterPolicy;
use headgate_metadata::id::{AccountId, ClusterId, Revision};
use headgate_metadata::principals::CachedUser;
use moka::sync::Cache;

/// Users, and clusters, whose compiled policies are kept.
const COMPILED_MAX: u64 = 10_000;
/// What denials call the policy of a cluster.
const CLUSTER_POLICY: &str = "cluster-policy";

type IdentityPolicies = Arc<[Arc<Policy>]>;

/// The policies that bear on a principal's requests to a cluster.
pub(super) struct Bearing {
    identity: IdentityPolicies,
    cluster: Option<Arc<Policy>>,
}

impl Bearing {
    pub(super) fn sources(&self) -> PolicySources<'_> {
        PolicySources { identity: &self.identity, resource: self.cluster.as_deref() }
    }
}

/// Compiled policies; `None` inside where one does not parse.
pub(super) struct Policies {
    of_users: Cache<(AccountId, String, Revision), Option<IdentityPolicies>>,
    of_clusters: Cache<(ClusterId, Revision), Option<Arc<Policy>>>,
}

impl Policies {
    pub(super) fn new() -> Self {
        Self { of_users: Cache::new(COMPILED_MAX), of_clusters: Cache::new(COMPILED_MAX) }
    }

    /// `None` if one of the policies does not parse: it could have held a Deny, so nothing is allowed then.
    pub(super) fn bearing(
        &self,
        user: &CachedUser,
        cluster: ClusterId,
        policy: Option<&CachedClusterPolicy>,
    ) -> Option<Bearing> {
        let of_user = (user.user.account, user.user.name.clone(), user.policy_version);
        let identity = self.of_users.get_with(of_user, || compile_identity(user))?;
        let Some(policy) = policy else { return Some(Bearing { identity, cluster: None }) };
        let of_cluster = (cluster, policy.version);
        let compiled = self.of_clusters.get_with(of_cluster, || compile_resource(cluster, policy))?;
        Some(Bearing { identity, cluster: Some(compiled) })
    }
}

fn compile_identity(user: &CachedUser) -> Option<IdentityPolicies> {
    let parse = |(name, text): (&String, &String)| {
        Policy::parse(name, PolicyKind::Identity, text, IDENTITY_POLICY_CHARACTERS_MAX)
            .map(Arc::new)
            .inspect_err(|error| tracing::error!(user = %user.user.name, policy = %name, %error, "stored policy invalid"))
    };
    user.user.policies.iter().map(parse).collect::<Result<_, _>>().ok()
}

fn compile_resource(cluster: ClusterId, policy: &CachedClusterPolicy) -> Option<Arc<Policy>> {
    let text = policy.document.as_deref()?;
    Policy::parse(CLUSTER_POLICY, PolicyKind::Resource, text, RESOURCE_POLICY_CHARACTERS_MAX)
        .map(Arc::new)
        .inspect_err(|error| tracing::error!(%cluster, %error, "stored cluster policy invalid"))
        .ok()
}
