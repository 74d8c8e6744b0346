//! CreateUser, GetUser, ListUsers, DeleteUser.

use std::collections::{BTreeMap, BTreeSet};

use headgate_iam::generate_user_id;
use headgate_metadata::record::UserRecord;
use headgate_metadata::users;

use super::identity::{authorized, existing, failed, name_of, refuse_unsupported};
use super::{paging, subject, tags, time};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

pub(super) async fn create(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, tags) = (name_of::<UserRecord>(form)?, tags::given(form)?);
    let request = Circumstances { request_tags: Some(&tags), ..Circumstances::default() };
    call.authorize(&call.user_arn(&name), request)?;
    refuse_unsupported(form, "user")?;
    let random = &call.api.components.random;
    let user = UserRecord {
        name: name.clone(),
        user_id: generate_user_id(&mut |bytes| random(bytes)),
        account: call.caller.account,
        created: call.now(),
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        groups: BTreeSet::new(),
        access_keys: Vec::new(),
        tags,
    };
    let created = users::create(&*call.api.components.store, &user).await;
    call.see_principals(created.map_err(|error| failed::<UserRecord>(error, &name, ""))?).await;
    Ok(Some(Xml::new().element("User", |xml| tags::shown_if_any(shown(xml, &user), &user.tags))))
}

pub(super) async fn get(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = subject(call, form)?;
    call.authorize(&call.user_arn(&name), Circumstances::default())?;
    let user = existing::<UserRecord>(call, &name).await?;
    Ok(Some(Xml::new().element("User", |xml| tags::shown_if_any(shown(xml, &user), &user.tags))))
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    call.authorize(&call.user_arn(""), Circumstances::default())?;
    let all = users::list(&*call.api.components.store, call.caller.account).await?;
    let page = paging::paged(paging::under_path(all, form), |user| &user.name, form)?;
    let xml = Xml::new().members("Users", &page.items, shown);
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<UserRecord>(call, form)?;
    let deleted = users::delete(&*call.api.components.store, call.caller.account, &name).await;
    call.see_principals(deleted.map_err(|error| failed::<UserRecord>(error, &name, ""))?).await;
    Ok(None)
}

pub(super) fn shown(xml: Xml, user: &UserRecord) -> Xml {
    xml.text("Path", "/")
        .text("UserName", &user.name)
        .text("UserId", &user.user_id)
        .text("Arn", &user.arn())
        .text("CreateDate", &time(user.created))
}
