//! FindCoordinator: the broker that coordinates a group. Transactions come later and share groups are not served.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Call, text};
use crate::authorize::rights;
use crate::brokers::ListedBroker;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// `key_type` of a group.
const GROUP: i8 = 0;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if call.version >= 4 {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in &request.coordinator_keys {
            coordinators.push(entry(key, find(session, request.key_type, key).await));
        }
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let found = entry(&request.key, find(session, request.key_type, &request.key).await);
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if call.version >= 1 {
        response.error_message = found.error_message;
    }
    response
}

async fn find(session: &Session, key_type: i8, key: &str) -> Result<ListedBroker, Refusal> {
    if key_type != GROUP {
        return Err(Refusal::InvalidRequest);
    }
    let view = session.view().await.map_err(|_| Refusal::CoordinatorUnavailable)?;
    if !session.may_on_group(&view, rights::FIND_COORDINATOR, key) {
        return Err(Refusal::GroupDenied);
    }
    Ok(session.brokers().of_group(session.cluster, key).clone())
}

fn entry(key: &StrBytes, found: Result<ListedBroker, Refusal>) -> Coordinator {
    let entry = Coordinator::default().with_key(key.clone());
    match found {
        Ok(broker) => entry
            .with_node_id(BrokerId(broker.id.get() as i32))
            .with_host(text(broker.host.to_string()))
            .with_port(i32::from(broker.port)),
        Err(refusal) => {
            let message = match refusal {
                Refusal::InvalidRequest => Some(text("only coordinators of groups can be found")),
                _ => None,
            };
            entry
                .with_error_code(error_code::of_refusal(refusal))
                .with_error_message(message)
                .with_node_id(BrokerId(-1))
                .with_port(-1)
        }
    }
}
