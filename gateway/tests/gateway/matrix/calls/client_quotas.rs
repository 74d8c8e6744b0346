//! Calls about quotas of users and client ids.

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use super::super::row::{Asked, Seen};
use super::{seen, text};
use crate::support::Client;

pub(crate) async fn describe_client_quotas(client: &mut Client, version: i16, _: &Asked) -> Vec<Seen> {
    let answer = client.call(version, &DescribeClientQuotasRequest::default()).await;
    vec![seen(answer.error_code)]
}

pub(crate) async fn alter_client_quotas(client: &mut Client, version: i16, _: &Asked) -> Vec<Seen> {
    let entity =
        EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text("app")));
    let op = OpData::default().with_key(text("producer_byte_rate")).with_value(1_000.0);
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
    let answer = client.call(version, &AlterClientQuotasRequest::default().with_entries(vec![entry])).await;
    answer.entries.iter().map(|entry| seen(entry.error_code)).collect()
}
