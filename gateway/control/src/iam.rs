//! The `iam` service (AWS Query, 2010-05-08): users, inline policies, access keys.

use headgate_iam::UnixTime;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::record::UserRecord;
use headgate_metadata::users::{self, UserError};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::request::ApiRequest;
use crate::service::Dialect;
use crate::xml::Xml;

mod access_keys;
mod memberships;
mod names;
mod paging;
mod policies;
mod simulation;
mod user;

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
    CreateUser => user::create;
    GetUser => user::get;
    ListUsers => user::list;
    DeleteUser => user::delete;
    PutUserPolicy => policies::put;
    GetUserPolicy => policies::get;
    DeleteUserPolicy => policies::delete;
    ListUserPolicies => policies::list;
    CreateAccessKey => access_keys::create;
    UpdateAccessKey => access_keys::update;
    DeleteAccessKey => access_keys::delete;
    ListAccessKeys => access_keys::list;
    ListGroupsForUser => memberships::groups;
    ListAttachedUserPolicies => memberships::attached_policies;
    SimulatePrincipalPolicy => simulation::run;
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
fn required<'f>(form: &'f Parameters, name: &str) -> Result<&'f str, ApiError> {
    form.get(name).ok_or_else(|| ApiError::missing(name))
}

/// The user a call is about: the named one, or the caller.
fn subject(call: &Call<'_>, form: &Parameters) -> Result<String, ApiError> {
    match form.get("UserName") {
        Some(name) => names::checked(name, "userName", names::USER_NAME_MAX),
        None => Ok(call.caller.user.user.name.clone()),
    }
}

/// A user name from another service's call.
pub(crate) fn checked_user_name(name: &str) -> Result<String, ApiError> {
    names::checked(name, "userName", names::USER_NAME_MAX)
}

/// A user that must exist. The call must be authorized.
async fn existing(call: &Call<'_>, name: &str) -> Result<UserRecord, ApiError> {
    let found = users::load(&*call.api.components.store, call.caller.account, name).await?;
    found.ok_or_else(|| no_such_user(name))
}

fn no_such_user(name: &str) -> ApiError {
    ApiError::new(ApiError::NOT_FOUND, format!("The user with name {name} cannot be found."))
}

/// What went wrong with the named user, policy or key, in IAM's words.
fn failed(error: UserError, user: &str, thing: &str) -> ApiError {
    let new = |code, message: String| ApiError::new(code, message);
    match error {
        UserError::UnknownUser => no_such_user(user),
        UserError::UnknownPolicy => {
            new(ApiError::NOT_FOUND, format!("The user policy with name {thing} cannot be found."))
        }
        UserError::UnknownKey => {
            new(ApiError::NOT_FOUND, format!("The Access Key with id {thing} cannot be found."))
        }
        UserError::Exists => new(ApiError::CONFLICT, format!("User with name {user} already exists.")),
        UserError::InUse { keys, .. } => {
            let first = if keys > 0 { "access keys" } else { "policies" };
            new(ApiError::DELETE_CONFLICT, format!("Cannot delete entity, must delete {first} first."))
        }
        UserError::TooManyKeys => {
            let quota = users::ACCESS_KEYS_PER_USER_MAX;
            new(ApiError::LIMIT_EXCEEDED, format!("Cannot exceed quota for AccessKeysPerUser: {quota}"))
        }
        UserError::Store(error) => error.into(),
    }
}

/// A time as the Query services write it.
fn time(at: TimestampMs) -> String {
    UnixTime::from_millis(at.get() as i64).to_string()
}
