//! PutUserPolicy, GetUserPolicy, DeleteUserPolicy, ListUserPolicies.

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, Policy, PolicyKind};
use headgate_metadata::users::{self, UserError};

use super::names::{POLICY_NAME_MAX, USER_NAME_MAX, checked};
use super::{existing, failed, paging, required};
use crate::call::{Call, TagContext};
use crate::error::ApiError;
use crate::percent::{self, Parameters};
use crate::xml::Xml;

/// Inline policies of one user at most: as many as AWS lets one attach to a user by default.
const POLICIES_MAX: usize = 10;

/// The user and policy a call names, once it is allowed on the user.
fn named(call: &Call<'_>, form: &Parameters) -> Result<(String, String), ApiError> {
    let user = checked(required(form, "UserName")?, "userName", USER_NAME_MAX)?;
    let policy = checked(required(form, "PolicyName")?, "policyName", POLICY_NAME_MAX)?;
    call.authorize(&call.user_arn(&user), TagContext::default())?;
    Ok((user, policy))
}

pub(super) async fn put(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (user, policy) = named(call, form)?;
    let document = required(form, "PolicyDocument")?;
    Policy::parse(&policy, PolicyKind::Identity, document, IDENTITY_POLICY_CHARACTERS_MAX)?;
    let before = existing(call, &user).await?;
    if !before.policies.contains_key(&policy) && before.policies.len() >= POLICIES_MAX {
        let message = format!("Cannot exceed quota for PoliciesPerUser: {POLICIES_MAX}");
        return Err(ApiError::new(ApiError::LIMIT_EXCEEDED, message));
    }
    let store = &*call.api.components.store;
    let put = users::put_policy(store, call.caller.account, &user, &policy, document).await;
    let revision = put.map_err(|error| failed(error, &user, &policy))?;
    call.see_principals(revision).await;
    Ok(None)
}

pub(super) async fn get(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (user, policy) = named(call, form)?;
    let found = existing(call, &user).await?;
    let unknown = || failed(UserError::UnknownPolicy, &user, &policy);
    let document = found.policies.get(&policy).ok_or_else(unknown)?;
    let xml = Xml::new()
        .text("UserName", &user)
        .text("PolicyName", &policy)
        .text("PolicyDocument", &percent::encode(document));
    Ok(Some(xml))
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (user, policy) = named(call, form)?;
    let deleted =
        users::delete_policy(&*call.api.components.store, call.caller.account, &user, &policy).await;
    let revision = deleted.map_err(|error| failed(error, &user, &policy))?;
    call.see_principals(revision).await;
    Ok(None)
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let user = checked(required(form, "UserName")?, "userName", USER_NAME_MAX)?;
    call.authorize(&call.user_arn(&user), TagContext::default())?;
    let found = existing(call, &user).await?;
    let page = paging::paged(found.policies.keys(), |name| name, form)?;
    let xml = Xml::new().members("PolicyNames", page.items, |xml, name| xml.content(name));
    Ok(Some(paging::end(xml, page.next.as_deref())))
}
