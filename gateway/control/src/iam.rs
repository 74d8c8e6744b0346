//! The `iam` service (AWS Query, 2010-05-08): users, groups, roles, policies, access keys.

use headgate_iam::{PrincipalKind, UnixTime};
use headgate_metadata::id::TimestampMs;
use headgate_metadata::record::{GroupRecord, ManagedPolicyRecord, RoleRecord, UserRecord};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::request::ApiRequest;
use crate::service::Dialect;
use crate::xml::Xml;

mod access_keys;
mod attachments;
mod groups;
mod identity;
mod inline_policies;
mod managed_policies;
mod names;
mod paging;
mod roles;
mod simulation;
mod tags;
mod users;

/// Declares the calls from one list, so that none is routed and not run.
macro_rules! operations {
    ($($name:ident => $run:path;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Name {
            $($name,)+
        }

        impl Name {
            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            async fn run(self, call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
                match self {
                    $(Self::$name => $run(call, form).await,)+
                }
            }
        }
    };
}

operations! {
    CreateUser => users::create;
    GetUser => users::get;
    ListUsers => users::list;
    DeleteUser => users::delete;
    TagUser => tags::add::<UserRecord>;
    UntagUser => tags::remove::<UserRecord>;
    ListUserTags => tags::list::<UserRecord>;
    PutUserPolicy => inline_policies::put::<UserRecord>;
    GetUserPolicy => inline_policies::get::<UserRecord>;
    DeleteUserPolicy => inline_policies::delete::<UserRecord>;
    ListUserPolicies => inline_policies::list::<UserRecord>;
    AttachUserPolicy => attachments::attach::<UserRecord>;
    DetachUserPolicy => attachments::detach::<UserRecord>;
    ListAttachedUserPolicies => attachments::list::<UserRecord>;

    CreateAccessKey => access_keys::create;
    UpdateAccessKey => access_keys::update;
    DeleteAccessKey => access_keys::delete;
    ListAccessKeys => access_keys::list;
    GetAccessKeyLastUsed => access_keys::last_used;

    CreateGroup => groups::create;
    GetGroup => groups::get;
    ListGroups => groups::list;
    DeleteGroup => groups::delete;
    AddUserToGroup => groups::add_user;
    RemoveUserFromGroup => groups::remove_user;
    ListGroupsForUser => groups::of_user;
    PutGroupPolicy => inline_policies::put::<GroupRecord>;
    GetGroupPolicy => inline_policies::get::<GroupRecord>;
    DeleteGroupPolicy => inline_policies::delete::<GroupRecord>;
    ListGroupPolicies => inline_policies::list::<GroupRecord>;
    AttachGroupPolicy => attachments::attach::<GroupRecord>;
    DetachGroupPolicy => attachments::detach::<GroupRecord>;
    ListAttachedGroupPolicies => attachments::list::<GroupRecord>;

    CreateRole => roles::create;
    GetRole => roles::get;
    ListRoles => roles::list;
    UpdateRole => roles::update;
    UpdateRoleDescription => roles::update_description;
    UpdateAssumeRolePolicy => roles::update_trust;
    DeleteRole => roles::delete;
    ListInstanceProfilesForRole => roles::instance_profiles;
    TagRole => tags::add::<RoleRecord>;
    UntagRole => tags::remove::<RoleRecord>;
    ListRoleTags => tags::list::<RoleRecord>;
    PutRolePolicy => inline_policies::put::<RoleRecord>;
    GetRolePolicy => inline_policies::get::<RoleRecord>;
    DeleteRolePolicy => inline_policies::delete::<RoleRecord>;
    ListRolePolicies => inline_policies::list::<RoleRecord>;
    AttachRolePolicy => attachments::attach::<RoleRecord>;
    DetachRolePolicy => attachments::detach::<RoleRecord>;
    ListAttachedRolePolicies => attachments::list::<RoleRecord>;

    CreatePolicy => managed_policies::create;
    GetPolicy => managed_policies::get;
    ListPolicies => managed_policies::list;
    DeletePolicy => managed_policies::delete;
    CreatePolicyVersion => managed_policies::create_version;
    GetPolicyVersion => managed_policies::get_version;
    ListPolicyVersions => managed_policies::list_versions;
    DeletePolicyVersion => managed_policies::delete_version;
    SetDefaultPolicyVersion => managed_policies::set_default_version;
    ListEntitiesForPolicy => managed_policies::entities;
    TagPolicy => tags::add::<ManagedPolicyRecord>;
    UntagPolicy => tags::remove::<ManagedPolicyRecord>;
    ListPolicyTags => tags::list::<ManagedPolicyRecord>;

    SimulatePrincipalPolicy => simulation::principal;
    SimulateCustomPolicy => simulation::custom;
}

/// A call with its parameters.
pub(crate) struct Operation {
    name: Name,
    form: Parameters,
}

impl Operation {
    pub(crate) fn route(request: &ApiRequest) -> Result<Self, ApiError> {
        let form = request.form()?;
        let name = action(&form, Dialect::IAM, &request.raw_path)?;
        let name = Name::from_text(&name).ok_or_else(|| unknown_action(&name, Dialect::IAM))?;
        Ok(Self { name, form })
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name.text()
    }

    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        let result = self.name.run(call, &self.form).await?;
        Ok(Answer::query(Dialect::IAM, self.name(), &call.request.id, result))
    }
}

/// The `Action` of a Query call; path and version must be the service's.
pub(crate) fn action(form: &Parameters, dialect: Dialect, raw_path: &str) -> Result<String, ApiError> {
    let Some(action) = form.get("Action").filter(|_| matches!(raw_path, "" | "/")) else {
        return Err(ApiError::new(
            ApiError::UNKNOWN_OPERATION,
            "The request must contain the parameter Action.",
        ));
    };
    let Dialect::Query { version, .. } = dialect else { return Ok(action.to_owned()) };
    if form.get("Version").is_some_and(|asked| asked != version) {
        return Err(unknown_action(action, dialect));
    }
    Ok(action.to_owned())
}

/// The answer to an action that is not offered.
pub(crate) fn unknown_action(action: &str, dialect: Dialect) -> ApiError {
    let version = match dialect {
        Dialect::Query { version, .. } => version,
        Dialect::Json => "",
    };
    let shown: String = action.chars().take(128).collect();
    ApiError::new(
        ApiError::UNKNOWN_OPERATION,
        format!("Could not find operation {shown} for version {version}"),
    )
}

/// A parameter that must be there.
pub(crate) fn required<'f>(form: &'f Parameters, name: &str) -> Result<&'f str, ApiError> {
    form.get(name).ok_or_else(|| ApiError::missing(name))
}

/// The user a call is about: the named one, or the caller.
fn subject(call: &Call<'_>, form: &Parameters) -> Result<String, ApiError> {
    match (form.get("UserName"), call.caller.principal.kind()) {
        (Some(name), _) => checked_user_name(name),
        (None, PrincipalKind::User { name }) => Ok(name.clone()),
        (None, PrincipalKind::RoleSession { .. } | PrincipalKind::Root) => {
            let message = "Must specify userName when calling with non-User credentials";
            Err(ApiError::parameter("userName", message))
        }
    }
}

/// A user name from another service's call.
pub(crate) fn checked_user_name(name: &str) -> Result<String, ApiError> {
    names::checked(name, "userName", names::USER_NAME_MAX)
}

/// A role name from another service's call.
pub(crate) fn checked_role_name(name: &str) -> Result<String, ApiError> {
    names::checked(name, "roleName", names::ROLE_NAME_MAX)
}

/// A time as the Query services write it.
fn time(at: TimestampMs) -> String {
    UnixTime::from_millis(at.get() as i64).to_string()
}
