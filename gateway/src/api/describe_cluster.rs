//! DescribeCluster: the brokers (KIP-700). Whoever may connect may ask.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{Call, text};
use crate::authorized_operations;
use crate::brokers::ListedBroker;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// `endpoint_type` of brokers.
const BROKERS: i8 = 1;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if call.version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(error_code::of_refusal(Refusal::MismatchedEndpoint))
            .with_error_message(Some(text("The request was sent to an endpoint of the wrong type.")));
    }
    let operations = match session.view().await {
        Ok(view) if request.include_cluster_authorized_operations => {
            authorized_operations::of_cluster(session, &view)
        }
        _ => authorized_operations::NOT_ASKED,
    };
    let brokers = session.brokers();
    let broker = |broker: &ListedBroker| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.id.get() as i32))
            .with_host(text(broker.host.to_string()))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.as_deref().map(text))
    };
    DescribeClusterResponse::default()
        .with_cluster_id(text(session.cluster.to_string()))
        .with_controller_id(BrokerId(brokers.controller().get() as i32))
        .with_brokers(brokers.present().map(broker).collect())
        .with_cluster_authorized_operations(operations)
}
