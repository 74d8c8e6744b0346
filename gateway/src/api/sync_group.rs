//! SyncGroup (classic protocol): answered when the leader has assigned.

use std::time::Duration;

use bytes::Bytes;
use headgate_storage_client::{Sync, Synced};
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use tokio::select;

use super::{Call, text};
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::identity;
use crate::refusal::Refusal;
use crate::session::Session;

/// How long a member may wait for its leader: longer than any rebalance takes.
const PATIENCE: Duration = Duration::from_hours(1);

pub(super) async fn handle(session: &Session, call: &Call, request: SyncGroupRequest) -> SyncGroupResponse {
    match sync(session, call, request).await {
        Ok(synced) => {
            let mut response = SyncGroupResponse::default().with_assignment(synced.assignment);
            if call.version >= 5 {
                response.protocol_type = Some(text(synced.protocol_type.to_string()));
                response.protocol_name = Some(text(synced.protocol.to_string()));
            }
            response
        }
        Err(code) => SyncGroupResponse::default().with_error_code(code),
    }
}

async fn sync(session: &Session, call: &Call, request: SyncGroupRequest) -> Result<Synced, i16> {
    let group = session.reach_group(call, rights::SYNC_GROUP, &request.group_id, PATIENCE).await?;
    let sync = Sync {
        identity: identity(&request.member_id, request.group_instance_id.as_deref()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_deref().map(Into::into),
        protocol: request.protocol_name.as_deref().map(Into::into),
        // Assignments outlive the frame they came in.
        assignments: request
            .assignments
            .iter()
            .map(|entry| ((*entry.member_id).into(), Bytes::copy_from_slice(&entry.assignment)))
            .collect(),
    };
    let synced = select! {
        biased;
        synced = session.shared.parts.storage.sync_group(&group.caller, &group.address, sync) => synced,
        () = session.pointless() => return Err(error_code::of_refusal(Refusal::NotCoordinator)),
    };
    synced.map_err(|error| error_code::of_group(&error))
}
