//! DescribeGroups: members and assignments of classic groups.

use std::collections::HashSet;
use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_storage_client::{GroupDescription, GroupState, MemberDescription};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::{Call, text};
use crate::authorize::rights;
use crate::authorized_operations;
use crate::error_code;
use crate::group_access::GROUP_PATIENCE;
use crate::refusal::Refusal;
use crate::session::Session;

/// From this version on an unknown group is an error; before, it is described as dead (KIP-1043).
const UNKNOWN_IS_AN_ERROR_FROM: i16 = 6;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    // Described once, however often it is named: the answer to a small request must not grow without bound.
    let mut seen = HashSet::new();
    for group in request.groups {
        if !seen.insert(group.clone()) {
            continue;
        }
        groups.push(match describe(session, call, &group).await {
            Ok((view, description)) => {
                let mut entry = described(call, group.clone(), description);
                // Only versions that have the field can ask for it.
                if request.include_authorized_operations {
                    entry.authorized_operations = authorized_operations::of_group(session, &view, &group);
                }
                entry
            }
            Err(code) => DescribedGroup::default().with_group_id(group).with_error_code(code),
        });
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

async fn describe(
    session: &Session,
    call: &Call,
    group: &str,
) -> Result<(Arc<ClusterView>, GroupDescription), i16> {
    let group = session.reach_group(call, rights::DESCRIBE_GROUPS, group, GROUP_PATIENCE).await?;
    let description = session.shared.parts.storage.describe_group(&group.caller, &group.address).await;
    description.map(|description| (group.view, description)).map_err(|error| error_code::of_group(&error))
}

fn described(call: &Call, group: GroupId, description: GroupDescription) -> DescribedGroup {
    let mut entry = DescribedGroup::default()
        .with_group_state(text(state_name(description.state)))
        .with_protocol_type(text(description.protocol_type.to_string()))
        .with_protocol_data(text(description.protocol.to_string()))
        .with_members(description.members.into_iter().map(|member| described_member(call, member)).collect());
    if description.state == GroupState::Dead && call.version >= UNKNOWN_IS_AN_ERROR_FROM {
        entry.error_code = error_code::of_refusal(Refusal::UnknownGroup);
        entry.error_message = Some(text(format!("Group {} not found.", &**group)));
    }
    entry.with_group_id(group)
}

fn described_member(call: &Call, member: MemberDescription) -> DescribedGroupMember {
    let mut entry = DescribedGroupMember::default()
        .with_member_id(text(member.identity.member.to_string()))
        .with_client_id(text(member.client_id.to_string()))
        .with_client_host(text(member.client_host.to_string()))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment);
    if call.version >= 4 {
        entry.group_instance_id = member.identity.instance.map(|instance| text(instance.to_string()));
    }
    entry
}

/// Kafka's word for the state.
pub(super) fn state_name(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Stable => "Stable",
        GroupState::Dead => "Dead",
    }
}
