//! How the calls name users, groups and roles, and what they answer when something stands against a change.

use headgate_metadata::identities::{
    self, ACCESS_KEYS_MAX, ATTACHED_MAX, Dependent, GROUPS_MAX, Identity, IdentityError, Named, POLICIES_MAX,
    Quota,
};
use headgate_metadata::record::{GroupRecord, ManagedPolicyRecord, RoleRecord, UserRecord};

use super::names::{GROUP_NAME_MAX, POLICY_NAME_MAX, ROLE_NAME_MAX, USER_NAME_MAX, checked};
use super::required;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;

/// What a user, group, role or managed policy is called.
pub(super) trait Called: Named {
    /// In ARNs and texts.
    const KIND: &'static str;
    /// At the beginning of texts.
    const TITLE: &'static str;
    /// The parameter that names one.
    const PARAMETER: &'static str;
    /// The longest name.
    const NAME_MAX: usize;
}

macro_rules! called {
    ($($record:ident: $kind:literal, $title:literal, $parameter:literal, $max:ident;)+) => {$(
        impl Called for $record {
            const KIND: &'static str = $kind;
            const TITLE: &'static str = $title;
            const PARAMETER: &'static str = $parameter;
            const NAME_MAX: usize = $max;
        }
    )+};
}

called! {
    UserRecord: "user", "User", "UserName", USER_NAME_MAX;
    GroupRecord: "group", "Group", "GroupName", GROUP_NAME_MAX;
    RoleRecord: "role", "Role", "RoleName", ROLE_NAME_MAX;
    ManagedPolicyRecord: "policy", "Policy", "PolicyName", POLICY_NAME_MAX;
}

/// The identity a call names, once the call is allowed on it. Whether it exists is the next question.
pub(super) fn authorized<C: Called>(call: &Call<'_>, form: &Parameters) -> Result<String, ApiError> {
    let name = name_of::<C>(form)?;
    call.authorize(&call.iam_arn(C::KIND, &name), Circumstances::default())?;
    Ok(name)
}

/// The name that a call must give.
pub(super) fn name_of<C: Called>(form: &Parameters) -> Result<String, ApiError> {
    checked(required(form, C::PARAMETER)?, &crate::xml::lower_camel(C::PARAMETER), C::NAME_MAX)
}

/// One that must exist. The call must be authorized.
pub(super) async fn existing<C: Called>(call: &Call<'_>, name: &str) -> Result<C, ApiError> {
    let found = identities::load(&*call.api.components.store, call.caller.account, name).await?;
    found.ok_or_else(|| unknown::<C>(name))
}

pub(super) fn unknown<C: Called>(name: &str) -> ApiError {
    ApiError::new(ApiError::NOT_FOUND, format!("The {} with name {name} cannot be found.", C::KIND))
}

/// Refuses parameters that promise what nobody would keep.
pub(super) fn refuse_unsupported(form: &Parameters, kind: &str) -> Result<(), ApiError> {
    if form.names("PermissionsBoundary") {
        let message = format!("PermissionsBoundary of a {kind} is not supported.");
        return Err(ApiError::new(ApiError::INVALID_INPUT, message));
    }
    if form.get("Path").is_some_and(|path| path != "/") {
        return Err(ApiError::new(ApiError::INVALID_INPUT, "Only the path / is supported."));
    }
    Ok(())
}

/// What went wrong with the named identity, and with the policy or key of it that is `thing`, in IAM's words.
pub(super) fn failed<C: Called>(error: IdentityError, name: &str, thing: &str) -> ApiError {
    let new = |code, message: String| ApiError::new(code, message);
    match error {
        IdentityError::Unknown => unknown::<C>(name),
        IdentityError::UnknownPolicy => {
            new(ApiError::NOT_FOUND, format!("The {} policy with name {thing} cannot be found.", C::KIND))
        }
        IdentityError::UnknownKey => {
            new(ApiError::NOT_FOUND, format!("The Access Key with id {thing} cannot be found."))
        }
        IdentityError::UnknownMember => unknown::<UserRecord>(thing),
        IdentityError::Exists => {
            new(ApiError::CONFLICT, format!("{} with name {name} already exists.", C::TITLE))
        }
        IdentityError::InUse(dependent) => new(ApiError::DELETE_CONFLICT, in_use(dependent).to_owned()),
        IdentityError::Full(quota) => new(ApiError::LIMIT_EXCEEDED, full(quota, C::TITLE)),
        IdentityError::VersionInForce => {
            new(ApiError::DELETE_CONFLICT, "Cannot delete the default version of a policy.".to_owned())
        }
        IdentityError::Store(error) => error.into(),
    }
}

fn in_use(dependent: Dependent) -> &'static str {
    match dependent {
        Dependent::AccessKeys => "Cannot delete entity, must delete access keys first.",
        Dependent::Policies => "Cannot delete entity, must delete policies first.",
        Dependent::AttachedPolicies => "Cannot delete entity, must detach all policies first.",
        Dependent::Groups => "Cannot delete entity, must remove user from groups first.",
        Dependent::Members => "Cannot delete entity, must remove users from group first.",
        Dependent::Versions => {
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
             The default version is deleted with the policy."
        }
        Dependent::Attachments => "Cannot delete a policy attached to entities.",
    }
}

fn full(quota: Quota, title: &str) -> String {
    match quota {
        Quota::Policies => format!("Cannot exceed quota for InlinePoliciesPer{title}: {POLICIES_MAX}"),
        Quota::AttachedPolicies => format!("Cannot exceed quota for PoliciesPer{title}: {ATTACHED_MAX}"),
        Quota::Groups => format!("Cannot exceed quota for GroupsPerUser: {GROUPS_MAX}"),
        Quota::AccessKeys => format!("Cannot exceed quota for AccessKeysPerUser: {ACCESS_KEYS_MAX}"),
        Quota::Versions => {
            "A managed policy can have up to 5 versions. Before you create a new version, you must \
                            delete an existing version."
                .to_owned()
        }
    }
}

/// Everything with policies of its own that the calls can name.
pub(super) trait Carrier: Called + Identity {}
impl<C: Called + Identity> Carrier for C {}
