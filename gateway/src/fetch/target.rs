//! From a topic and partition as the client names them to a place in storage, or to the reason why not.

use std::collections::HashMap;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{LeaderEpoch, Offset, TopicId};
use headgate_storage_client::PartitionRead;

use super::session::{TopicRef, Wanted};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// What becomes of one partition of a Fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// It is read.
    Read(PartitionRead),
    /// It is answered with this code.
    Failed(i16),
}

/// Resolves all partitions of a request. Each topic is authorized once.
pub(crate) fn resolve(session: &Session, view: &ClusterView, wanted: &[Wanted]) -> Vec<Target> {
    let mut allowed: HashMap<&TopicRef, Result<(), Refusal>> = HashMap::new();
    let mut targets = Vec::with_capacity(wanted.len());
    for partition in wanted {
        let right =
            *allowed.entry(&partition.topic).or_insert_with(|| authorize(session, view, &partition.topic));
        targets.push(
            right
                .and_then(|()| place(view, partition))
                .map_or_else(|refusal| Target::Failed(error_code::of_refusal(refusal)), Target::Read),
        );
    }
    targets
}

fn authorize(session: &Session, view: &ClusterView, topic: &TopicRef) -> Result<(), Refusal> {
    let name = match topic {
        TopicRef::Name(name) => name,
        // Foreign, deleted and never existing ids look the same.
        TopicRef::Id(id) => {
            let record = TopicId::from_uuid(*id).and_then(|id| view.topic_by_id(id));
            record.map(|record| record.name.as_str()).ok_or(Refusal::UnknownTopicId)?
        }
    };
    if session.may_on_topic(view, rights::FETCH, name) { Ok(()) } else { Err(Refusal::TopicDenied) }
}

fn place(view: &ClusterView, wanted: &Wanted) -> Result<PartitionRead, Refusal> {
    let topic = match &wanted.topic {
        TopicRef::Name(name) => view.topic(name),
        TopicRef::Id(id) => TopicId::from_uuid(*id).and_then(|id| view.topic_by_id(id)),
    };
    let topic = topic.ok_or(Refusal::UnknownTopic)?;
    let partition = Session::partition(view, topic, wanted.partition).ok_or(Refusal::UnknownTopic)?;
    let offset = Offset::from_wire(wanted.offset).ok_or(Refusal::InvalidRequest)?;
    Ok(PartitionRead {
        partition,
        offset,
        bytes_max: u64::try_from(wanted.bytes_max).unwrap_or(0),
        current_epoch: u32::try_from(wanted.leader_epoch).ok().map(LeaderEpoch::new),
    })
}
