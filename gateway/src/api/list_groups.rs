//! ListGroups: the groups of the cluster that the principal may see, by state and type.
//!
//! Clients ask every broker listed and append the answers, so a broker that was dialled by its name gives its own alone.

use std::collections::BTreeSet;

use headgate_metadata::catalog::ClusterView;
use headgate_storage_client::GroupListing;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::describe_groups::state_name;
use super::{Call, text};
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::GROUP_PATIENCE;
use crate::refusal::Refusal;
use crate::session::Session;

/// The type of groups of the classic protocol.
const CLASSIC: &str = "classic";

pub(super) async fn handle(session: &Session, call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    match list(session, call).await {
        Ok((view, groups)) => {
            let all = session.sees_cluster(&view, rights::LIST_GROUPS_ALL);
            let visible = |group: &GroupListing| {
                all || session.sees_group(&view, rights::LIST_GROUPS_ONE, &group.group)
            };
            let brokers = session.brokers();
            let wanted = |group: &GroupListing| {
                brokers.answer_for_group(session.cluster, &group.group)
                    && named(&request.states_filter, state_name(group.state))
                    && named(&request.types_filter, CLASSIC)
            };
            let groups =
                groups.iter().filter(|group| wanted(group) && visible(group)).map(|group| entry(call, group));
            ListGroupsResponse::default().with_groups(groups.collect())
        }
        Err(code) => ListGroupsResponse::default().with_error_code(code),
    }
}

async fn list(
    session: &Session,
    call: &Call,
) -> Result<(std::sync::Arc<ClusterView>, Vec<GroupListing>), i16> {
    let view = session.view().await.map_err(|_| error_code::of_refusal(Refusal::CoordinatorUnavailable))?;
    let caller = session.caller(call, GROUP_PATIENCE, view.revision);
    let slots: BTreeSet<_> = view.cluster.slot_set.iter().copied().collect();
    let slots: Vec<_> = slots.into_iter().collect();
    let groups = session.shared.parts.storage.list_groups(&caller, &slots).await;
    groups.map(|groups| (view, groups)).map_err(|error| error_code::of_group(&error))
}

/// An empty filter lets everything through.
fn named(filter: &[StrBytes], word: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
}

fn entry(call: &Call, group: &GroupListing) -> ListedGroup {
    let mut entry = ListedGroup::default()
        .with_group_id(GroupId(text(group.group.to_string())))
        .with_protocol_type(text(group.protocol_type.to_string()));
    if call.version >= 4 {
        entry.group_state = text(state_name(group.state));
    }
    if call.version >= 5 {
        entry.group_type = text(CLASSIC);
    }
    entry
}
