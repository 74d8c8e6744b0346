//! CreateRole, GetRole, ListRoles, UpdateRole, UpdateRoleDescription, UpdateAssumeRolePolicy, DeleteRole.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use headgate_iam::generate_role_id;
use headgate_iam::policy::{Policy, PolicyKind, TRUST_POLICY_CHARACTERS_MAX};
use headgate_metadata::identities;
use headgate_metadata::record::RoleRecord;

use super::identity::{authorized, existing, failed, name_of, refuse_unsupported};
use super::{paging, required, tags, time};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::{self, Parameters};
use crate::xml::Xml;

/// How long sessions of a role may be made, in seconds: an hour to twelve.
const SESSION_SECONDS: RangeInclusive<u32> = 3_600..=43_200;
/// The longest description, in characters.
const DESCRIPTION_CHARACTERS_MAX: usize = 1_000;

pub(super) async fn create(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, tags) = (name_of::<RoleRecord>(form)?, tags::given(form)?);
    let request = Circumstances { request_tags: Some(&tags), ..Circumstances::default() };
    call.authorize(&call.iam_arn("role", &name), request)?;
    refuse_unsupported(form, "role")?;
    let random = &call.api.components.random;
    let role = RoleRecord {
        name: name.clone(),
        role_id: generate_role_id(&mut |bytes| random(bytes)),
        account: call.caller.account,
        created: call.now(),
        description: description(form)?.unwrap_or_default(),
        session_seconds_max: session_seconds(form)?.unwrap_or(*SESSION_SECONDS.start()),
        trust_policy: trust_policy(required(form, "AssumeRolePolicyDocument")?)?,
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        tags,
    };
    let created = identities::create(&*call.api.components.store, &role).await;
    call.see_principals(created.map_err(|error| failed::<RoleRecord>(error, &name, ""))?).await;
    Ok(Some(whole(&role)))
}

pub(super) async fn get(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<RoleRecord>(call, form)?;
    Ok(Some(whole(&existing::<RoleRecord>(call, &name).await?)))
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    call.authorize(&call.iam_arn("role", ""), Circumstances::default())?;
    let all = identities::list::<RoleRecord>(&*call.api.components.store, call.caller.account).await?;
    let page = paging::paged(paging::under_path(all, form), |role| &role.name, form)?;
    let xml = Xml::new().members("Roles", &page.items, shown);
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

pub(super) async fn update(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    changed(call, form).await?;
    // The action has a result, although nothing is in it.
    Ok(Some(Xml::new()))
}

pub(super) async fn update_description(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    required(form, "Description")?;
    Ok(Some(whole(&changed(call, form).await?)))
}

async fn changed(call: &Call<'_>, form: &Parameters) -> Result<RoleRecord, ApiError> {
    let name = authorized::<RoleRecord>(call, form)?;
    let (description, seconds) = (description(form)?, session_seconds(form)?);
    change(call, &name, |role| {
        if let Some(description) = &description {
            role.description.clone_from(description);
        }
        role.session_seconds_max = seconds.unwrap_or(role.session_seconds_max);
    })
    .await
}

pub(super) async fn update_trust(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<RoleRecord>(call, form)?;
    let trust = trust_policy(required(form, "PolicyDocument")?)?;
    change(call, &name, |role| role.trust_policy.clone_from(&trust)).await?;
    Ok(None)
}

async fn change(
    call: &Call<'_>,
    name: &str,
    change: impl Fn(&mut RoleRecord) + Send + Sync,
) -> Result<RoleRecord, ApiError> {
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let changed = identities::change::<RoleRecord>(store, account, name, |role| {
        change(role);
        Ok(())
    });
    let (role, revision) = changed.await.map_err(|error| failed::<RoleRecord>(error, name, ""))?;
    call.see_principals(revision).await;
    Ok(role)
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<RoleRecord>(call, form)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let deleted = identities::delete::<RoleRecord>(store, account, &name).await;
    call.see_principals(deleted.map_err(|error| failed::<RoleRecord>(error, &name, ""))?).await;
    Ok(None)
}

/// There are no instance profiles; tools ask for them before they delete a role.
pub(super) async fn instance_profiles(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<RoleRecord>(call, form)?;
    existing::<RoleRecord>(call, &name).await?;
    Ok(Some(paging::end(Xml::new().element("InstanceProfiles", |list| list), None)))
}

fn trust_policy(document: &str) -> Result<String, ApiError> {
    Policy::parse("trust policy", PolicyKind::Trust, document, TRUST_POLICY_CHARACTERS_MAX)?;
    Ok(document.to_owned())
}

fn description(form: &Parameters) -> Result<Option<String>, ApiError> {
    let Some(text) = form.get("Description") else { return Ok(None) };
    if text.chars().count() > DESCRIPTION_CHARACTERS_MAX {
        let message = format!("A description has at most {DESCRIPTION_CHARACTERS_MAX} characters.");
        return Err(ApiError::parameter("description", message));
    }
    Ok(Some(text.to_owned()))
}

fn session_seconds(form: &Parameters) -> Result<Option<u32>, ApiError> {
    let Some(text) = form.get("MaxSessionDuration") else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| SESSION_SECONDS.contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        let (least, most) = (SESSION_SECONDS.start(), SESSION_SECONDS.end());
        ApiError::parameter(
            "maxSessionDuration",
            format!("MaxSessionDuration must be from {least} to {most}."),
        )
    })
}

fn whole(role: &RoleRecord) -> Xml {
    Xml::new().element("Role", |xml| tags::shown_if_any(shown(xml, role), &role.tags))
}

fn shown(xml: Xml, role: &RoleRecord) -> Xml {
    xml.text("Path", "/")
        .text("RoleName", &role.name)
        .text("RoleId", &role.role_id)
        .text("Arn", &role.arn())
        .text("CreateDate", &time(role.created))
        .text("AssumeRolePolicyDocument", &percent::encode(&role.trust_policy))
        .text_if("Description", Some(&*role.description).filter(|text| !text.is_empty()))
        .text("MaxSessionDuration", &role.session_seconds_max.to_string())
}
