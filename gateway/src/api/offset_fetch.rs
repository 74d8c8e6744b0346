//! OffsetFetch: committed offsets of one group, or from version 8 on of several; of the topics named, or of all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{LeaderEpoch, PartitionId, TopicId};
use headgate_storage_client::{CommittedOffset, FetchOffsets};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::{Call, text};
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::{GROUP_PATIENCE, identity};
use crate::refusal::Refusal;
use crate::session::Session;

/// From this version on one request names several groups.
const SEVERAL_GROUPS_FROM: i16 = 8;
/// From this version on the whole answer has an error code.
const WHOLE_ERROR_FROM: i16 = 2;

/// The partitions of a topic as asked for.
struct AskedTopic {
    name: TopicName,
    partitions: Vec<i32>,
}

/// The partitions of a topic as answered.
struct AnsweredTopic {
    name: TopicName,
    partitions: Vec<AnsweredPartition>,
}

struct AnsweredPartition {
    index: i32,
    committed: Option<CommittedOffset>,
    code: i16,
}

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if call.version >= SEVERAL_GROUPS_FROM {
        let mut groups = Vec::with_capacity(request.groups.len());
        // Answered once, however often it is named: the answer to a small request must not grow without bound.
        let mut seen = HashSet::new();
        for group in request.groups {
            if !seen.insert(group.group_id.clone()) {
                continue;
            }
            groups.push(of_group(session, call, group).await);
        }
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let asked = request.topics.map(|topics| {
        let topic = |topic: kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            AskedTopic { name: topic.name, partitions: topic.partition_indexes }
        };
        topics.into_iter().map(topic).collect::<Vec<_>>()
    });
    match fetch(session, call, &request.group_id, None, asked.as_deref()).await {
        Ok(topics) => OffsetFetchResponse::default().with_topics(topics.into_iter().map(old_topic).collect()),
        Err(code) if call.version >= WHOLE_ERROR_FROM => OffsetFetchResponse::default().with_error_code(code),
        Err(code) => {
            let failed = failed_topics(asked.as_deref().unwrap_or_default(), code);
            OffsetFetchResponse::default().with_topics(failed.into_iter().map(old_topic).collect())
        }
    }
}

async fn of_group(
    session: &Session,
    call: &Call,
    group: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let member = group.member_id.as_deref().filter(|_| group.member_epoch >= 0);
    let member = member.map(|member| (identity(member, None), group.member_epoch));
    let asked = group.topics.map(|topics| {
        let topic = |topic: kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics| {
            AskedTopic { name: topic.name, partitions: topic.partition_indexes }
        };
        topics.into_iter().map(topic).collect::<Vec<_>>()
    });
    let fetched = fetch(session, call, &group.group_id, member, asked.as_deref()).await;
    let response = OffsetFetchResponseGroup::default().with_group_id(GroupId(group.group_id.0));
    match fetched {
        Ok(topics) => response.with_topics(topics.into_iter().map(new_topic).collect()),
        Err(code) => response.with_error_code(code),
    }
}

/// The error is the group's wire code.
async fn fetch(
    session: &Session,
    call: &Call,
    group: &str,
    member: Option<(headgate_storage_client::MemberIdentity, i32)>,
    asked: Option<&[AskedTopic]>,
) -> Result<Vec<AnsweredTopic>, i16> {
    let group = session.reach_group(call, rights::OFFSET_FETCH_GROUP, group, GROUP_PATIENCE).await?;
    let names = asked.unwrap_or_default().iter().map(|topic| &**topic.name);
    let view = session.view_with(names).await.unwrap_or_else(|_| Arc::clone(&group.view));
    let partitions = asked.map(|asked| {
        let of_topic = |topic: &AskedTopic| {
            let id = view.topic(&topic.name).map(|record| record.id);
            let index = |index: &i32| u32::try_from(*index).ok().map(PartitionId::new);
            topic.partitions.iter().filter_map(move |raw| Some((id?, index(raw)?))).collect::<Vec<_>>()
        };
        asked.iter().flat_map(of_topic).collect()
    });
    let fetch = FetchOffsets { identity: member, partitions };
    let committed = session.shared.parts.storage.fetch_offsets(&group.caller, &group.address, fetch).await;
    let committed = committed.map_err(|error| error_code::of_group(&error))?;
    Ok(match asked {
        Some(asked) => of_asked(session, &view, asked, committed),
        None => of_all(session, &view, committed),
    })
}

/// What was asked for, in that order; partitions without an offset have -1 and no error.
fn of_asked(
    session: &Session,
    view: &ClusterView,
    asked: &[AskedTopic],
    committed: Vec<CommittedOffset>,
) -> Vec<AnsweredTopic> {
    let mut by_place: HashMap<(TopicId, i32), CommittedOffset> =
        committed.into_iter().map(|offset| ((offset.topic, offset.partition.get() as i32), offset)).collect();
    let of_topic = |topic: &AskedTopic| {
        if !session.may_on_topic(view, rights::OFFSET_FETCH_TOPIC, &topic.name) {
            return failed_topic(topic, error_code::of_refusal(Refusal::TopicDenied));
        }
        let id = view.topic(&topic.name).map(|record| record.id);
        let partition = |index: &i32| AnsweredPartition {
            index: *index,
            committed: id.and_then(|id| by_place.remove(&(id, *index))),
            code: error_code::NONE,
        };
        AnsweredTopic {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(partition).collect(),
        }
    };
    asked.iter().map(of_topic).collect()
}

/// Everything committed that the principal may see; topics that are gone are left out.
fn of_all(session: &Session, view: &ClusterView, committed: Vec<CommittedOffset>) -> Vec<AnsweredTopic> {
    let mut by_topic: std::collections::BTreeMap<String, Vec<AnsweredPartition>> =
        std::collections::BTreeMap::new();
    for offset in committed {
        let Some(topic) = view.topic_by_id(offset.topic) else { continue };
        let index = offset.partition.get() as i32;
        let entry = AnsweredPartition { index, committed: Some(offset), code: error_code::NONE };
        by_topic.entry(topic.name.clone()).or_default().push(entry);
    }
    by_topic
        .into_iter()
        .filter(|(name, _)| session.sees_topic(view, rights::OFFSET_FETCH_TOPIC, name))
        .map(|(name, partitions)| AnsweredTopic { name: TopicName(text(name)), partitions })
        .collect()
}

fn failed_topics(asked: &[AskedTopic], code: i16) -> Vec<AnsweredTopic> {
    asked.iter().map(|topic| failed_topic(topic, code)).collect()
}

fn failed_topic(topic: &AskedTopic, code: i16) -> AnsweredTopic {
    let failed = |index: &i32| AnsweredPartition { index: *index, committed: None, code };
    AnsweredTopic { name: topic.name.clone(), partitions: topic.partitions.iter().map(failed).collect() }
}

impl AnsweredPartition {
    fn offset(&self) -> i64 {
        self.committed.as_ref().map_or(-1, |committed| committed.offset.to_wire())
    }
    fn epoch(&self) -> i32 {
        self.committed.as_ref().and_then(|committed| committed.epoch).map_or(-1, LeaderEpoch::to_wire)
    }
    fn metadata(&self) -> String {
        self.committed.as_ref().map_or_else(String::new, |committed| committed.metadata.to_string())
    }
}

fn old_topic(topic: AnsweredTopic) -> OffsetFetchResponseTopic {
    let partition = |partition: &AnsweredPartition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.index)
            .with_committed_offset(partition.offset())
            .with_committed_leader_epoch(partition.epoch())
            .with_metadata(Some(text(partition.metadata())))
            .with_error_code(partition.code)
    };
    let partitions = topic.partitions.iter().map(partition).collect();
    OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions)
}

fn new_topic(topic: AnsweredTopic) -> OffsetFetchResponseTopics {
    let partition = |partition: &AnsweredPartition| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(partition.index)
            .with_committed_offset(partition.offset())
            .with_committed_leader_epoch(partition.epoch())
            .with_metadata(Some(text(partition.metadata())))
            .with_error_code(partition.code)
    };
    let partitions = topic.partitions.iter().map(partition).collect();
    OffsetFetchResponseTopics::default().with_name(topic.name).with_partitions(partitions)
}
