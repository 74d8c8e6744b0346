//! PutUserPolicy, GetUserPolicy, DeleteUserPolicy, ListUserPolicies, and the same of groups and roles.

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, Policy, PolicyKind};
use headgate_metadata::identities::{self, IdentityError};

use super::identity::{Carrier, authorized, existing, failed};
use super::names::{POLICY_NAME_MAX, checked};
use super::{paging, required};
use crate::call::Call;
use crate::error::ApiError;
use crate::percent::{self, Parameters};
use crate::xml::Xml;

/// The identity and policy a call names, once it is allowed on the identity.
fn named<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<(String, String), ApiError> {
    let policy = checked(required(form, "PolicyName")?, "policyName", POLICY_NAME_MAX)?;
    Ok((authorized::<C>(call, form)?, policy))
}

pub(super) async fn put<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, policy) = named::<C>(call, form)?;
    let document = required(form, "PolicyDocument")?;
    Policy::parse(&policy, PolicyKind::Identity, document, IDENTITY_POLICY_CHARACTERS_MAX)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let put = identities::put_policy::<C>(store, account, &name, &policy, document).await;
    call.see_principals(put.map_err(|error| failed::<C>(error, &name, &policy))?).await;
    Ok(None)
}

pub(super) async fn get<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, policy) = named::<C>(call, form)?;
    let found = existing::<C>(call, &name).await?;
    let unknown = || failed::<C>(IdentityError::UnknownPolicy, &name, &policy);
    let document = found.policies().get(&policy).ok_or_else(unknown)?;
    let xml = Xml::new()
        .text(C::PARAMETER, &name)
        .text("PolicyName", &policy)
        .text("PolicyDocument", &percent::encode(document));
    Ok(Some(xml))
}

pub(super) async fn delete<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, policy) = named::<C>(call, form)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let deleted = identities::delete_policy::<C>(store, account, &name, &policy).await;
    call.see_principals(deleted.map_err(|error| failed::<C>(error, &name, &policy))?).await;
    Ok(None)
}

pub(super) async fn list<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<C>(call, form)?;
    let found = existing::<C>(call, &name).await?;
    let page = paging::paged(found.policies().keys(), |name| name, form)?;
    let xml = Xml::new().members("PolicyNames", page.items, |xml, name| xml.content(name));
    Ok(Some(paging::end(xml, page.next.as_deref())))
}
