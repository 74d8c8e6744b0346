//! JoinGroup (classic protocol): answered when the rebalance is over.

use std::time::Duration;

use bytes::Bytes;
use headgate_storage_client::{GroupError, Join, Joined};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::select;

use super::{Call, text};
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::{GROUP_BYTES_MAX, GROUP_PATIENCE, identity};
use crate::refusal::Refusal;
use crate::session::Session;

/// The most a member's protocols and their metadata may take together: as much as Apache Kafka can store of a whole group.
const METADATA_BYTES_MAX: usize = 1024 * 1024;

/// From this version on a first join is answered with the member id to use (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// From this version on the leader may be told that the assignment stands (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;
/// From this version on the protocol's name may be null.
const NULL_PROTOCOL_FROM: i16 = 7;

pub(super) async fn handle(session: &Session, call: &Call, request: JoinGroupRequest) -> JoinGroupResponse {
    let member = request.member_id.clone();
    match join(session, call, request).await {
        Ok(joined) => accepted(call, joined),
        Err((code, Some(assigned))) => refused(call, code, text(assigned.to_string())),
        Err((code, None)) => refused(call, code, member),
    }
}

/// The error is the wire code, with the member id to use where that is what is missing.
async fn join(
    session: &Session,
    call: &Call,
    request: JoinGroupRequest,
) -> Result<Joined, (i16, Option<std::sync::Arc<str>>)> {
    if !is_of_honest_size(&request) {
        return Err((error_code::of_refusal(Refusal::InvalidRequest), None));
    }
    let milliseconds = |raw: i32| Duration::from_millis(u64::try_from(raw).unwrap_or(0));
    let session_timeout = milliseconds(request.session_timeout_ms);
    // Version 0 has no rebalance timeout: the session's stands for it.
    let rebalance_timeout =
        if call.version == 0 { session_timeout } else { milliseconds(request.rebalance_timeout_ms) };
    let patience = rebalance_timeout.max(session_timeout) + GROUP_PATIENCE;
    let group = session.reach_group(call, rights::JOIN_GROUP, &request.group_id, patience).await;
    let group = group.map_err(|code| (code, None))?;
    if request.member_id.is_empty() {
        group.admit(session).await.map_err(|code| (code, None))?;
    }
    let instance = request.group_instance_id.as_deref();
    let join = Join {
        identity: identity(&request.member_id, instance),
        protocol_type: (*request.protocol_type).into(),
        // Metadata outlives the frame it came in.
        protocols: request
            .protocols
            .iter()
            .map(|protocol| ((*protocol.name).into(), Bytes::copy_from_slice(&protocol.metadata)))
            .collect(),
        session_timeout,
        rebalance_timeout,
        member_id_required: call.version >= MEMBER_ID_REQUIRED_FROM && instance.is_none(),
        supports_skip_assignment: call.version >= SKIP_ASSIGNMENT_FROM,
    };
    session.note_member(session_timeout);
    let joined = select! {
        biased;
        joined = session.shared.parts.storage.join_group(&group.caller, &group.address, join) => joined,
        () = session.pointless() => return Err((error_code::of_refusal(Refusal::NotCoordinator), None)),
    };
    joined.map_err(|error| {
        let code = error_code::of_group(&error);
        match error {
            GroupError::MemberIdRequired { member } => (code, Some(member)),
            _ => (code, None),
        }
    })
}

/// What a member says of itself is kept as long as it is one, so it must not be as long as a request may be.
fn is_of_honest_size(request: &JoinGroupRequest) -> bool {
    let instance = request.group_instance_id.as_deref().unwrap_or_default();
    let names = request.protocols.iter().map(|protocol| &*protocol.name);
    let mut names = names.chain([&*request.member_id, instance, &*request.protocol_type]);
    let metadata: usize =
        request.protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum();
    metadata <= METADATA_BYTES_MAX && names.all(|name| name.len() <= GROUP_BYTES_MAX)
}

fn accepted(call: &Call, joined: Joined) -> JoinGroupResponse {
    let member = |member: headgate_storage_client::JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.identity.member.to_string()))
            .with_group_instance_id(member.identity.instance.map(|instance| text(instance.to_string())))
            .with_metadata(member.metadata)
    };
    let mut response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(joined.protocol_type.to_string())))
        .with_protocol_name(Some(text(joined.protocol.to_string())))
        .with_leader(text(joined.leader.to_string()))
        .with_member_id(text(joined.member.to_string()))
        .with_members(joined.members.into_iter().map(member).collect());
    if call.version >= SKIP_ASSIGNMENT_FROM {
        response.skip_assignment = joined.skip_assignment;
    }
    response
}

fn refused(call: &Call, code: i16, member: StrBytes) -> JoinGroupResponse {
    let protocol = (call.version < NULL_PROTOCOL_FROM).then(StrBytes::new);
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_type(None)
        .with_protocol_name(protocol)
        .with_member_id(member)
}
