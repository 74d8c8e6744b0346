//! One call under way: who asks for which action, and what the audit line will say of it.

use std::sync::OnceLock;

use headgate_iam::{AccessRequest, Effect, PolicySources, RequestContext, evaluate};
use headgate_metadata::id::{ClusterId, Revision, TimestampMs};

use crate::api::Api;
use crate::authenticate::Caller;
use crate::error::ApiError;
use crate::request::ApiRequest;
use crate::tags::{Tags, pairs};

/// What becomes known of a call while it runs, for its audit line.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) action: OnceLock<String>,
    pub(crate) principal: OnceLock<String>,
    pub(crate) resource: OnceLock<String>,
    pub(crate) cluster: OnceLock<String>,
}

/// A call whose caller is proven.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    pub(crate) request: &'a ApiRequest,
    pub(crate) caller: &'a Caller,
    pub(crate) action: String,
    pub(crate) trail: &'a Trail,
}

/// The tags that policies may ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TagContext<'a> {
    /// Those of the resource.
    pub(crate) resource: Option<&'a Tags>,
    /// Those in the request.
    pub(crate) request: Option<&'a Tags>,
}

/// How a call without an Allow is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unless {
    Allowed,
    Denied,
}

impl Call<'_> {
    /// Lets the call go on only if a policy allows the action on the resource and none denies it.
    pub(crate) fn authorize(&self, resource: &str, tags: TagContext<'_>) -> Result<(), ApiError> {
        self.decide(resource, tags, Unless::Allowed)
    }

    /// For the calls that AWS lets everybody make about themselves: only an explicit Deny stops them.
    pub(crate) fn authorize_unless_denied(&self, resource: &str) -> Result<(), ApiError> {
        self.decide(resource, TagContext::default(), Unless::Denied)
    }

    fn decide(&self, resource: &str, tags: TagContext<'_>, unless: Unless) -> Result<(), ApiError> {
        // The first resource asked for is the one the audit line names.
        drop(self.trail.resource.set(resource.to_owned()));
        let resource_tags = tags.resource.map(pairs).unwrap_or_default();
        let request_tags = tags.request.map(pairs).unwrap_or_default();
        let mut context = RequestContext::new(&self.caller.principal, self.request.now);
        context.source_ip = Some(self.request.source.ip());
        context.secure_transport = self.request.secure;
        context.user_agent = self.request.header("user-agent");
        context.token_issued_at = self.caller.token_issued_at;
        context.region = Some(&self.api.config.region);
        context.resource_tags = &resource_tags;
        context.request_tags = &request_tags;
        let request = AccessRequest { action: &self.action, resource, context: &context };
        let decision = evaluate(PolicySources { identity: &self.caller.policies, resource: None }, &request);
        if unless == Unless::Denied && decision.effect == Effect::ImplicitDeny {
            return Ok(());
        }
        Ok(decision.into_result(&request)?)
    }

    /// Names the cluster in the audit line.
    pub(crate) fn note_cluster(&self, cluster: ClusterId) {
        drop(self.trail.cluster.set(cluster.to_string()));
    }

    pub(crate) fn now(&self) -> TimestampMs {
        TimestampMs::new(u64::try_from(self.request.now.as_millis()).unwrap_or(0))
    }

    /// The ARN of a user of the caller's account.
    pub(crate) fn user_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:user/{name}", self.caller.account)
    }

    /// Waits until this process has seen an own change, so that the caller's next request finds it. The change stands in any
    /// case, so a watch that is behind is no error of this call.
    pub(crate) async fn see_principals(&self, revision: Revision) {
        if let Err(error) = self.api.components.principals.catch_up(revision).await {
            tracing::warn!(%error, "principals are behind");
        }
    }
}
