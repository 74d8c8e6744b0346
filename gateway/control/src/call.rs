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

/// What takes part in a decision beside the caller, the action and the resource's name.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Circumstances<'a> {
    /// The tags of the resource.
    pub(crate) resource_tags: Option<&'a Tags>,
    /// The tags in the request.
    pub(crate) request_tags: Option<&'a Tags>,
    /// The policy that the resource itself has.
    pub(crate) policy: Option<&'a Policy>,
    /// Condition keys of the service.
    pub(crate) keys: &'a [(&'a str, &'a str)],
}

/// A question to the policies.
#[derive(Clone, Copy)]
struct Question<'q> {
    action: &'q str,
    resource: &'q str,
    circumstances: Circumstances<'q>,
}

impl Call<'_> {
    /// Lets the call go on only if a policy allows the action on the resource and none denies it.
    pub(crate) fn authorize(&self, resource: &str, circumstances: Circumstances<'_>) -> Result<(), ApiError> {
        self.authorize_action(&self.action, resource, circumstances)
    }

    /// The same for another action than the call's own.
    pub(crate) fn authorize_action(
        &self,
        action: &str,
        resource: &str,
        circumstances: Circumstances<'_>,
    ) -> Result<(), ApiError> {
        let question = Question { action, resource, circumstances };
        self.check(&question, self.decide(&question))
    }

    /// For the calls that AWS lets everybody make about themselves: only an explicit Deny stops them.
    pub(crate) fn authorize_unless_denied(&self, resource: &str) -> Result<(), ApiError> {
        let question = Question { action: &self.action, resource, circumstances: Circumstances::default() };
        match self.decide(&question) {
            Effect::ImplicitDeny => Ok(()),
            effect => self.check(&question, effect),
        }
    }

    /// Whether the caller may; for filters, which deny nothing that was asked for.
    pub(crate) fn may(&self, action: &str, resource: &str, circumstances: Circumstances<'_>) -> bool {
        self.decide(&Question { action, resource, circumstances }) == Effect::Allow
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
        let Question { action, resource, circumstances } = *question;
        let resource_tags = circumstances.resource_tags.map(pairs).unwrap_or_default();
        let request_tags = circumstances.request_tags.map(pairs).unwrap_or_default();
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
        context.service_keys = circumstances.keys;
        let sources = PolicySources {
            identity: &rights.policies,
            resource: circumstances.policy,
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
