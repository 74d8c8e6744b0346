//! Kafka's APIs: one file each, listed in [`table`].

pub(crate) mod table;

mod codec;

mod alter_client_quotas;
pub(crate) mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(crate) mod own_requests;
mod produce;
mod sync_group;

pub(crate) use codec::{Malformed, WalkedBody, decode, message, put_header, respond, take_header, text};

use std::sync::Arc;

use headgate_storage_client::RequestId;

/// One request, as far as its header says.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Names it in logs and denials.
    pub(crate) request: RequestId,
    /// The API's key.
    pub(crate) key: i16,
    /// The API's version.
    pub(crate) version: i16,
    /// What the client matches the response by.
    pub(crate) correlation_id: i32,
    /// Kafka's `client.id`, copied out of the frame.
    pub(crate) client_id: Arc<str>,
}
