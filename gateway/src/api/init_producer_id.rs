//! InitProducerId: an id for an idempotent producer (KIP-98). Transactions come later.

use std::time::Duration;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Call;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// How long drawing an id may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match draw(session, call, &request).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(code) => InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

async fn draw(session: &Session, call: &Call, request: &InitProducerIdRequest) -> Result<i64, i16> {
    if request.transactional_id.is_some() {
        return Err(error_code::of_refusal(Refusal::InvalidRequest));
    }
    let view = session.view().await.map_err(error_code::of_refusal)?;
    if !session.may_write_idempotently(&view) {
        return Err(error_code::of_refusal(Refusal::ClusterDenied));
    }
    // An idempotent producer that comes with an id and epoch (KIP-360) gets a new id: that is always safe, and Kafka does
    // the same for producers without a transactional id.
    let caller = session.caller(call, PATIENCE, view.revision);
    let drawn = session.shared.parts.storage.allocate_producer_id(&caller).await;
    drawn.map(|id| id.get() as i64).map_err(error_code::of_undrawn_producer_id)
}
