//! CreateUser, GetUser, ListUsers, DeleteUser.

use std::collections::BTreeMap;

use headgate_iam::generate_user_id;
use headgate_metadata::record::UserRecord;
use headgate_metadata::users;

use super::names::{USER_NAME_MAX, checked};
use super::{existing, failed, paging, required, subject, time};
use crate::call::{Call, TagContext};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

/// Every call here ends in an XML result or an error.
type Result<T> = std::result::Result<T, ApiError>;

pub(super) async fn create(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>> {
    let name = checked(required(form, "UserName")?, "userName", USER_NAME_MAX)?;
    call.authorize(&call.user_arn(&name), TagContext::default())?;
    for unsupported in ["Tags", "PermissionsBoundary"] {
        if form.names(unsupported) {
            return Err(ApiError::new(
                ApiError::INVALID_INPUT,
                format!("{unsupported} of users are not supported."),
            ));
        }
    }
    if form.get("Path").is_some_and(|path| path != "/") {
        return Err(ApiError::new(ApiError::INVALID_INPUT, "Only the path / is supported."));
    }
    let random = &call.api.components.random;
    let user = UserRecord {
        name: name.clone(),
        user_id: generate_user_id(&mut |bytes| random(bytes)),
        account: call.caller.account,
        created: call.now(),
        policies: BTreeMap::new(),
        access_keys: Vec::new(),
        tags: BTreeMap::new(),
    };
    let created = users::create(&*call.api.components.store, &user).await;
    let revision = created.map_err(|error| failed(error, &name, ""))?;
    call.see_principals(revision).await;
    Ok(Some(Xml::new().element("User", |xml| shown(xml, &user))))
}

pub(super) async fn get(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>> {
    let name = subject(call, form)?;
    call.authorize(&call.user_arn(&name), TagContext::default())?;
    let user = existing(call, &name).await?;
    Ok(Some(Xml::new().element("User", |xml| shown(xml, &user))))
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>> {
    call.authorize(&call.user_arn(""), TagContext::default())?;
    let mut all = users::list(&*call.api.components.store, call.caller.account).await?;
    // Every user has the path `/`, so any longer prefix matches none.
    all.retain(|_| form.get("PathPrefix").is_none_or(|prefix| prefix == "/"));
    let page = paging::paged(all, |user| &user.name, form)?;
    let xml = Xml::new().members("Users", &page.items, shown);
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>> {
    let name = checked(required(form, "UserName")?, "userName", USER_NAME_MAX)?;
    call.authorize(&call.user_arn(&name), TagContext::default())?;
    let deleted = users::delete(&*call.api.components.store, call.caller.account, &name).await;
    let revision = deleted.map_err(|error| failed(error, &name, ""))?;
    call.see_principals(revision).await;
    Ok(None)
}

fn shown(xml: Xml, user: &UserRecord) -> Xml {
    xml.text("Path", "/")
        .text("UserName", &user.name)
        .text("UserId", &user.user_id)
        .text("Arn", &user.arn())
        .text("CreateDate", &time(user.created))
}
