//! The requests of the matrix, and what their answers say of each thing asked for.

mod client_quotas;
mod data;
mod groups;
mod other;
mod topics;

pub(crate) use client_quotas::{alter_client_quotas, describe_client_quotas};
pub(crate) use data::{fetch, list_offsets, offset_for_leader_epoch, produce, produce_in_transaction};
pub(crate) use groups::{
    commit, delete_groups, describe_groups, fetch_all_offsets, fetch_offsets, find_coordinator,
    find_transaction_coordinator, heartbeat, join, leave, list_groups, sync,
};
pub(crate) use other::{
    api_versions, describe_cluster, init_producer_id, init_transactional_producer_id, sasl_authenticate,
    sasl_handshake,
};
pub(crate) use topics::{
    all_topics, alter_broker_configs, alter_configs, create_and_describe_topics, create_by_asking,
    create_partitions, create_topics, delete_topics, delete_topics_by_id, describe_broker_configs,
    describe_configs, topics_by_id, topics_by_name,
};

use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::row::{Asked, Seen};

fn seen(code: i16) -> Seen {
    if code == 0 { Seen::Done } else { Seen::Code(code) }
}

/// `Done` for each thing that a list has.
fn listed(asked: &Asked, found: &[String]) -> Vec<Seen> {
    let of = |name: &String| if found.contains(name) { Seen::Done } else { Seen::LeftOut };
    asked.names.iter().map(of).collect()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

impl Asked {
    /// The group of an API that takes one.
    fn group(&self) -> GroupId {
        group_id(&self.names[0])
    }

    fn groups(&self) -> Vec<GroupId> {
        self.names.iter().map(|name| group_id(name)).collect()
    }

    fn topics(&self) -> Vec<TopicName> {
        self.names.iter().map(|name| topic_name(name)).collect()
    }
}
