//! DeleteGroups: groups without members, with their offsets.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::Call;
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::GROUP_PATIENCE;
use crate::session::Session;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let code = delete(session, call, &group).await.err().unwrap_or(error_code::NONE);
        results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}

async fn delete(session: &Session, call: &Call, group: &str) -> Result<(), i16> {
    let group = session.reach_group(call, rights::DELETE_GROUPS, group, GROUP_PATIENCE).await?;
    let deleted = session.shared.parts.storage.delete_group(&group.caller, &group.address).await;
    deleted.map_err(|error| error_code::of_group(&error))
}
