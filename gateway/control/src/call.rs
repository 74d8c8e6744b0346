//! One call under way: who asks for which action, and what the audit line will say of it.

use headgate_iam::{AccessDenied, AccessRequest, Effect, Policy, PolicySources, RequestContext, evaluate};
use headgate_metadata::id::{ClusterId, Revision, TimestampMs};

use crate::api::Api;
use crate::authenticate::Caller;
use crate::error::ApiError;
use crate::request::ApiRequest;
use crate::tags::{Tags, pairs};
use crate::trail::Trail;

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

/// A question to the policies.
#[derive(Clone, Copy, Default)]
struct Question<'q> {
    action: &'q str,
    resource: &'q str,
    tags: TagContext<'q>,
    /// That of the resource.
    policy: Option<&'q Policy>,
    /// Condition keys of the service.
    keys: &'q [(&'q str, &'q str)],
}

impl Call<'_> {
    /// Lets the call go on only if a policy allows the action on the resource and none denies it.
    pub(crate) fn authorize(&self, resource: &str, tags: TagContext<'_>) -> Result<(), ApiError> {
        self.authorize_action(&self.action, resource, tags)
    }

    /// The same for another action than the call's own.
    pub(crate) fn authorize_action(
        &self,
        action: &str,
        resource: &str,
        tags: TagContext<'_>,
    ) -> Result<(), ApiError> {
        let question = Question { action, resource, tags, ..Question::default() };
        self.check(&question, self.decide(&question))
    }

    /// For a resource that may have a policy of its own, which takes part; `keys` are the service's own condition keys.
    pub(crate) fn authorize_with(
        &self,
        resource: &str,
        policy: Option<&Policy>,
        keys: &[(&str, &str)],
    ) -> Result<(), ApiError> {
        let action = &*self.action;
        let question = Question { action, resource, policy, keys, ..Question::default() };
        self.check(&question, self.decide(&question))
    }

    /// For the calls that AWS lets everybody make about themselves: only an explicit Deny stops them.
    pub(crate) fn authorize_unless_denied(&self, resource: &str) -> Result<(), ApiError> {
        let question = Question { action: &self.action, resource, ..Question::default() };
        match self.decide(&question) {
            Effect::ImplicitDeny => Ok(()),
            effect => self.check(&question, effect),
        }
    }

    /// Whether the caller may; for filters, which deny nothing that was asked for.
    pub(crate) fn may(&self, action: &str, resource: &str, tags: TagContext<'_>) -> bool {
        self.decide(&Question { action, resource, tags, ..Question::default() }) == Effect::Allow
    }

    fn check(&self, question: &Question<'_>, effect: Effect) -> Result<(), ApiError> {
        if effect == Effect::Allow {
            return Ok(());
        }
        let (action, resource) = (question.action.to_owned(), question.resource.to_owned());
        let principal = self.caller.principal.arn().to_owned();
        Err(AccessDenied { action, resource, principal, effect }.into())
    }

    fn decide(&self, question: &Question<'_>) -> Effect {
        // The first resource asked for is the one the audit line names.
        drop(self.trail.resource.set(question.resource.to_owned()));
        let resource_tags = question.tags.resource.map(pairs).unwrap_or_default();
        let request_tags = question.tags.request.map(pairs).unwrap_or_default();
        let rights = &self.caller.rights;
        let mut context = RequestContext::new(&self.caller.principal, self.request.now);
        context.source_ip = Some(self.request.source.ip());
        context.secure_transport = self.request.secure;
        context.user_agent = self.request.header("user-agent");
        context.token_issued_at = self.caller.token_issued_at;
        context.region = Some(&self.api.config.region);
        context.principal_tags = &rights.tags;
        context.resource_tags = &resource_tags;
        context.request_tags = &request_tags;
        context.service_keys = question.keys;
        let (action, resource) = (question.action, question.resource);
        let sources = PolicySources {
            identity: &rights.policies,
            resource: question.policy,
            session: rights.session.as_ref(),
        };
        evaluate(sources, &AccessRequest { action, resource, context: &context }).effect
    }

    /// Names the cluster in the audit line.
    pub(crate) fn note_cluster(&self, cluster: ClusterId) {
        drop(self.trail.cluster.set(cluster.to_string()));
    }

    pub(crate) fn now(&self) -> TimestampMs {
        TimestampMs::new(u64::try_from(self.request.now.as_millis()).unwrap_or(0))
    }

    /// The ARN of a user, group, role or policy of the caller's account.
    pub(crate) fn iam_arn(&self, kind: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:{kind}/{name}", self.caller.account)
    }

    /// The ARN of a user of the caller's account.
    pub(crate) fn user_arn(&self, name: &str) -> String {
        self.iam_arn("user", name)
    }

    /// Waits until this process has seen an own change, so that the caller's next request finds it. The change stands in any
    /// case, so a watch that is behind is no error of this call.
    pub(crate) async fn see_principals(&self, revision: Revision) {
        if let Err(error) = self.api.components.principals.catch_up(revision).await {
            tracing::warn!(%error, "principals are behind");
        }
    }
}
