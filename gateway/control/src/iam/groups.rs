//! CreateGroup, GetGroup, ListGroups, DeleteGroup; AddUserToGroup, RemoveUserFromGroup, ListGroupsForUser.

use std::collections::{BTreeMap, BTreeSet};

use headgate_iam::generate_group_id;
use headgate_metadata::record::{GroupRecord, UserRecord};
use headgate_metadata::{groups, identities, users};

use super::identity::{authorized, existing, failed, name_of, refuse_unsupported};
use super::{paging, time};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

pub(super) async fn create(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<GroupRecord>(call, form)?;
    refuse_unsupported(form, "group")?;
    let random = &call.api.components.random;
    let group = GroupRecord {
        name: name.clone(),
        group_id: generate_group_id(&mut |bytes| random(bytes)),
        account: call.caller.account,
        created: call.now(),
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        members: BTreeSet::new(),
    };
    let created = identities::create(&*call.api.components.store, &group).await;
    call.see_principals(created.map_err(|error| failed::<GroupRecord>(error, &name, ""))?).await;
    Ok(Some(Xml::new().element("Group", |xml| shown(xml, &group))))
}

pub(super) async fn get(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<GroupRecord>(call, form)?;
    let group = existing::<GroupRecord>(call, &name).await?;
    let page = paging::paged(&group.members, |name| name, form)?;
    let mut members = Vec::with_capacity(page.items.len());
    for member in page.items {
        // One that went away between the two reads is no member any more.
        members.extend(users::load(&*call.api.components.store, call.caller.account, member).await?);
    }
    let xml =
        Xml::new().element("Group", |xml| shown(xml, &group)).members("Users", &members, super::users::shown);
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    call.authorize(&call.iam_arn("group", ""), Circumstances::default())?;
    let all = identities::list::<GroupRecord>(&*call.api.components.store, call.caller.account).await?;
    groups_page(paging::under_path(all, form), form)
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<GroupRecord>(call, form)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let deleted = identities::delete::<GroupRecord>(store, account, &name).await;
    call.see_principals(deleted.map_err(|error| failed::<GroupRecord>(error, &name, ""))?).await;
    Ok(None)
}

pub(super) async fn add_user(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (group, user) = (authorized::<GroupRecord>(call, form)?, name_of::<UserRecord>(form)?);
    let added = groups::add(&*call.api.components.store, call.caller.account, &group, &user).await;
    call.see_principals(added.map_err(|error| failed::<GroupRecord>(error, &group, &user))?).await;
    Ok(None)
}

pub(super) async fn remove_user(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (group, user) = (authorized::<GroupRecord>(call, form)?, name_of::<UserRecord>(form)?);
    let removed = groups::remove(&*call.api.components.store, call.caller.account, &group, &user).await;
    call.see_principals(removed.map_err(|error| failed::<GroupRecord>(error, &group, &user))?).await;
    Ok(None)
}

pub(super) async fn of_user(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = authorized::<UserRecord>(call, form)?;
    let user = existing::<UserRecord>(call, &name).await?;
    let mut found = Vec::with_capacity(user.groups.len());
    for group in &user.groups {
        let store = &*call.api.components.store;
        found.extend(identities::load::<GroupRecord>(store, call.caller.account, group).await?);
    }
    groups_page(found, form)
}

fn groups_page(groups: Vec<GroupRecord>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let page = paging::paged(groups, |group| &group.name, form)?;
    let xml = Xml::new().members("Groups", &page.items, shown);
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

fn shown(xml: Xml, group: &GroupRecord) -> Xml {
    xml.text("Path", "/")
        .text("GroupName", &group.name)
        .text("GroupId", &group.group_id)
        .text("Arn", &group.arn())
        .text("CreateDate", &time(group.created))
}
