//! AttachUserPolicy, DetachUserPolicy, ListAttachedUserPolicies, and the same of groups and roles.

use headgate_metadata::identities::IdentityError;
use headgate_metadata::managed_policies;

use super::identity::{Carrier, authorized, existing, failed, name_of};
use super::managed_policies::{PolicyName, unknown_policy};
use super::paging;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

/// The condition key that tells which policy is attached.
const POLICY_ARN_KEY: &str = "iam:policyarn";

/// The identity and policy a call names, once it is allowed on the identity.
fn named<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<(String, PolicyName), ApiError> {
    let (name, policy) = (name_of::<C>(form)?, PolicyName::of(call, form)?);
    let keys = &[(POLICY_ARN_KEY, &*policy.arn)];
    call.authorize(&call.iam_arn(C::KIND, &name), Circumstances { keys, ..Circumstances::default() })?;
    Ok((name, policy))
}

fn failed_on<C: Carrier>(error: IdentityError, name: &str, policy: &PolicyName) -> ApiError {
    match error {
        IdentityError::UnknownPolicy => unknown_policy(&policy.arn),
        other => failed::<C>(other, name, &policy.name),
    }
}

pub(super) async fn attach<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, policy) = named::<C>(call, form)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let attached = managed_policies::attach::<C>(store, account, &name, &policy.name).await;
    call.see_principals(attached.map_err(|error| failed_on::<C>(error, &name, &policy))?).await;
    Ok(None)
}

pub(super) async fn detach<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, policy) = named::<C>(call, form)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let detached = managed_policies::detach::<C>(store, account, &name, &policy.name).await;
    call.see_principals(detached.map_err(|error| failed_on::<C>(error, &name, &policy))?).await;
    Ok(None)
}

pub(super) async fn list<C: Carrier>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<C>(call, form)?;
    let found = existing::<C>(call, &name).await?;
    let page = paging::paged(found.attached(), |name| name, form)?;
    let xml = Xml::new().members("AttachedPolicies", page.items, |xml, name| {
        xml.text("PolicyName", name).text("PolicyArn", &call.iam_arn("policy", name))
    });
    Ok(Some(paging::end(xml, page.next.as_deref())))
}
