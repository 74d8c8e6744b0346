//! Policies, compiled once for each version.

use std::sync::Arc;

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, RESOURCE_POLICY_CHARACTERS_MAX};
use headgate_iam::{Policy, PolicyKind, PolicySources};
use headgate_metadata::catalog::CachedClusterPolicy;
use headgate_metadata::id::{ClusterId, Revision};
use headgate_metadata::principals::{CachedPrincipal, Grants};
use moka::sync::Cache;

use super::Identity;

/// Principals, clusters, and sessions, whose compiled policies are kept.
const COMPILED_MAX: u64 = 10_000;
/// What denials call the policy of a cluster.
const CLUSTER_POLICY: &str = "cluster-policy";
/// What denials call the policy that narrows a session.
const SESSION_POLICY: &str = "session policy";

type IdentityPolicies = Arc<[Arc<Policy>]>;

/// The policies that bear on a principal's requests to a cluster.
pub(super) struct Bearing {
    identity: IdentityPolicies,
    cluster: Option<Arc<Policy>>,
    session: Option<Arc<Policy>>,
}

impl Bearing {
    pub(super) fn sources(&self) -> PolicySources<'_> {
        PolicySources {
            identity: &self.identity,
            resource: self.cluster.as_deref(),
            session: self.session.as_deref(),
        }
    }
}

/// Compiled policies; `None` inside where one does not parse.
pub(super) struct Policies {
    /// By [`CachedPrincipal::version`].
    identity: Cache<u64, Option<IdentityPolicies>>,
    resource: Cache<(ClusterId, Revision), Option<Arc<Policy>>>,
    /// By their text.
    session: Cache<Arc<str>, Option<Arc<Policy>>>,
}

impl Policies {
    pub(super) fn new() -> Self {
        let (identity, resource) = (Cache::new(COMPILED_MAX), Cache::new(COMPILED_MAX));
        Self { identity, resource, session: Cache::new(COMPILED_MAX) }
    }

    /// `None` if one of the policies does not parse: it could have held a Deny, so nothing is allowed then.
    pub(super) fn bearing(
        &self,
        identity: &Identity,
        cached: &CachedPrincipal,
        cluster: ClusterId,
        policy: Option<&CachedClusterPolicy>,
    ) -> Option<Bearing> {
        let of_principal = self.identity.get_with(cached.version, || compile_identity(&cached.grants))?;
        let of_cluster = match policy {
            None => None,
            Some(policy) => {
                let compile = || compile_resource(cluster, policy);
                Some(self.resource.get_with((cluster, policy.version), compile)?)
            }
        };
        let of_session = match &identity.session_policy {
            None => None,
            Some(text) => {
                let compile = || parse_identity(SESSION_POLICY, text);
                Some(self.session.get_with(Arc::clone(text), compile)?)
            }
        };
        Some(Bearing { identity: of_principal, cluster: of_cluster, session: of_session })
    }
}

fn compile_identity(grants: &Grants) -> Option<IdentityPolicies> {
    grants.policies.iter().map(|policy| parse_identity(&policy.name, &policy.document)).collect()
}

fn parse_identity(name: &str, text: &str) -> Option<Arc<Policy>> {
    Policy::parse(name, PolicyKind::Identity, text, IDENTITY_POLICY_CHARACTERS_MAX)
        .map(Arc::new)
        .inspect_err(|error| tracing::error!(policy = %name, %error, "stored policy invalid"))
        .ok()
}

fn compile_resource(cluster: ClusterId, policy: &CachedClusterPolicy) -> Option<Arc<Policy>> {
    let text = policy.document.as_deref()?;
    Policy::parse(CLUSTER_POLICY, PolicyKind::Resource, text, RESOURCE_POLICY_CHARACTERS_MAX)
        .map(Arc::new)
        .inspect_err(|error| tracing::error!(%cluster, %error, "stored cluster policy invalid"))
        .ok()
}
