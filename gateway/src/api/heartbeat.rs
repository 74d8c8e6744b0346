//! Heartbeat (classic protocol): keeps a member's session alive.

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::Call;
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::{GROUP_PATIENCE, identity};
use crate::session::Session;

pub(super) async fn handle(session: &Session, call: &Call, request: HeartbeatRequest) -> HeartbeatResponse {
    let code = beat(session, call, &request).await.err().unwrap_or(error_code::NONE);
    HeartbeatResponse::default().with_error_code(code)
}

async fn beat(session: &Session, call: &Call, request: &HeartbeatRequest) -> Result<(), i16> {
    let group = session.reach_group(call, rights::HEARTBEAT, &request.group_id, GROUP_PATIENCE).await?;
    let member = identity(&request.member_id, request.group_instance_id.as_deref());
    let storage = &session.shared.parts.storage;
    let beat = storage.heartbeat(&group.caller, &group.address, member, request.generation_id).await;
    beat.map_err(|error| error_code::of_group(&error))
}
