//! LeaveGroup (classic protocol): one member before version 3, several from then on (KIP-345).

use headgate_storage_client::Leave;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::Call;
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::{GROUP_PATIENCE, identity};
use crate::session::Session;

/// From this version on several members leave with one request.
const SEVERAL_FROM: i16 = 3;

pub(super) async fn handle(session: &Session, call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members = match call.version {
        ..SEVERAL_FROM => vec![MemberIdentity::default().with_member_id(request.member_id.clone())],
        _ => request.members,
    };
    let codes = match leave(session, call, &request.group_id, &members).await {
        Ok(codes) => codes,
        Err(code) => return LeaveGroupResponse::default().with_error_code(code),
    };
    if call.version < SEVERAL_FROM {
        return LeaveGroupResponse::default()
            .with_error_code(codes.first().copied().unwrap_or(error_code::NONE));
    }
    let response = |(member, code): (MemberIdentity, i16)| {
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code)
    };
    LeaveGroupResponse::default().with_members(members.into_iter().zip(codes).map(response).collect())
}

/// One wire code per member; the error is the group's.
async fn leave(
    session: &Session,
    call: &Call,
    group: &str,
    members: &[MemberIdentity],
) -> Result<Vec<i16>, i16> {
    let group = session.reach_group(call, rights::LEAVE_GROUP, group, GROUP_PATIENCE).await?;
    let leaving = members
        .iter()
        .map(|member| Leave { identity: identity(&member.member_id, member.group_instance_id.as_deref()) })
        .collect();
    let outcomes = session.shared.parts.storage.leave_group(&group.caller, &group.address, leaving).await;
    let outcomes = outcomes.map_err(|error| error_code::of_group(&error))?;
    let code =
        |outcome: &Result<(), _>| outcome.as_ref().err().map_or(error_code::NONE, error_code::of_group);
    Ok(outcomes.iter().map(code).collect())
}
