//! Cluster-hours and partition-hours, from the metadata journal.
//!
//! The rule: a cluster or partition is billed for exactly the time it existed, to the millisecond. One that existed for
//! 90 seconds of an hour is billed 0.025 hours. (MSK Serverless bills whole hourly units; this never costs more.)
//! A cluster exists from its creation to the request to delete it, a partition from the journal entry that first counts
//! it to the deletion of its topic or cluster. Leaders only: copies of a partition are not billed.

use std::collections::BTreeMap;

use headgate_metadata::id::{ClusterId, PartitionId, TimestampMs, TopicId};
use headgate_metadata::record::{JournalChange, JournalRecord};

use crate::period::Hour;

/// A stretch of time something existed for; open-ended while it still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existence {
    /// The first moment.
    pub from: TimestampMs,
    /// The first moment after it.
    pub to: Option<TimestampMs>,
}

impl Existence {
    /// The milliseconds of `hour` it existed for, as far as they are past at `as_of`.
    pub fn ms_in(&self, hour: Hour, as_of: TimestampMs) -> u64 {
        let to = self.to.unwrap_or(as_of).min(as_of).min(hour.end());
        to.get().saturating_sub(self.from.max(hour.start()).get())
    }

    /// The hours it touches up to `as_of`: the first, and the first after the last.
    pub fn hours(&self, as_of: TimestampMs) -> (Hour, Hour) {
        let to = self.to.unwrap_or(as_of).min(as_of);
        (Hour::of(self.from), Hour::of(to).next())
    }
}

/// The life of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicHistory {
    /// Its name, for reports.
    pub name: String,
    /// When each partition came into being, by index: partitions are only ever added.
    partitions: Vec<TimestampMs>,
    deleted: Option<TimestampMs>,
}

/// The life of one cluster and its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterHistory {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Its name, for reports.
    pub name: String,
    created: TimestampMs,
    deleted: Option<TimestampMs>,
    topics: BTreeMap<TopicId, TopicHistory>,
}

/// A journal that tells no possible story. The bill must not be issued; the metadata store has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal of cluster {cluster} at {}: {defect}", at.get())]
pub struct JournalError {
    /// Whose journal.
    pub cluster: ClusterId,
    /// The time of the record that does not fit.
    pub at: TimestampMs,
    /// What does not fit.
    pub defect: JournalDefect,
}

/// What does not fit in a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalDefect {
    /// Something happened before the cluster was created.
    #[error("the cluster was not created before")]
    NotCreated,
    /// The cluster was created a second time.
    #[error("the cluster exists already")]
    CreatedAgain,
    /// A topic was made or grown, or the cluster deleted, after the cluster's deletion.
    #[error("the cluster was deleted before")]
    ClusterGone,
    /// A topic was grown after its deletion; topic ids are never reused.
    #[error("topic {0} was deleted before")]
    TopicGone(TopicId),
    /// A topic was deleted that never was.
    #[error("topic {0} was never created")]
    UnknownTopic(TopicId),
    /// Partitions cannot be taken away.
    #[error("topic {topic} has {had} partitions and cannot have {now}")]
    Shrunk {
        /// Which topic.
        topic: TopicId,
        /// How many it had.
        had: u32,
        /// How many the record says.
        now: u32,
    },
    /// More partitions than a cell can hold; the record is damaged.
    #[error("topic {topic} cannot have {now} partitions")]
    TooMany {
        /// Which topic.
        topic: TopicId,
        /// How many the record says.
        now: u32,
    },
}

/// The most partitions of a topic that are believed. Kafka's own tools stop far below.
const PARTITIONS_MAX: u32 = 1_000_000;

impl ClusterHistory {
    /// Reads a cluster's journal, given in the order of its changes; a record that is read twice changes nothing. `None`
    /// for a journal without records.
    ///
    /// Times are taken as they were written. The clocks of writers may differ by a little, so they need not grow; an end
    /// that lies before its beginning is no time at all.
    pub fn read(cluster: ClusterId, journal: &[JournalRecord]) -> Result<Option<Self>, JournalError> {
        let mut history = None;
        let mut read: BTreeMap<TimestampMs, Vec<&JournalChange>> = BTreeMap::new();
        for record in journal {
            let at = record.at;
            let same_moment = read.entry(at).or_default();
            if same_moment.contains(&&record.change) {
                continue;
            }
            same_moment.push(&record.change);
            apply(&mut history, cluster, record).map_err(|defect| JournalError { cluster, at, defect })?;
        }
        Ok(history)
    }

    /// When the cluster existed.
    pub const fn existence(&self) -> Existence {
        Existence { from: self.created, to: self.deleted }
    }

    /// Its topics in order of their ids, deleted ones included.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &TopicHistory)> {
        self.topics.iter().map(|(&topic, history)| (topic, history))
    }

    /// A topic's life, if it ever was.
    pub fn topic(&self, topic: TopicId) -> Option<&TopicHistory> {
        self.topics.get(&topic)
    }

    /// When a topic stopped existing, by its own deletion or the cluster's, whichever was first.
    pub fn removed_at(&self, topic: TopicId) -> Option<TimestampMs> {
        let deleted = self.topics.get(&topic).and_then(|topic| topic.deleted);
        match (deleted, self.deleted) {
            (Some(topic), Some(cluster)) => Some(topic.min(cluster)),
            (topic, cluster) => topic.or(cluster),
        }
    }

    /// When each partition of a topic existed, by index.
    pub fn partitions(&self, topic: TopicId) -> impl Iterator<Item = (PartitionId, Existence)> {
        let to = self.removed_at(topic);
        let partitions = self.topics.get(&topic).map_or(&[][..], |topic| &topic.partitions);
        (0..).zip(partitions).map(move |(index, &from)| (PartitionId::new(index), Existence { from, to }))
    }
}

fn apply(
    history: &mut Option<ClusterHistory>,
    cluster: ClusterId,
    record: &JournalRecord,
) -> Result<(), JournalDefect> {
    let at = record.at;
    let Some(known) = history else {
        let JournalChange::ClusterCreated { name } = &record.change else {
            return Err(JournalDefect::NotCreated);
        };
        let (name, topics) = (name.clone(), BTreeMap::new());
        *history = Some(ClusterHistory { cluster, name, created: at, deleted: None, topics });
        return Ok(());
    };
    match &record.change {
        JournalChange::ClusterCreated { .. } => Err(JournalDefect::CreatedAgain),
        // What a deleted cluster held may be cleaned up later; it is no longer billed, so nothing is left to note.
        JournalChange::TopicDeleted { .. } if known.deleted.is_some() => Ok(()),
        _ if known.deleted.is_some() => Err(JournalDefect::ClusterGone),
        JournalChange::ClusterDeleted => {
            known.deleted = Some(at);
            Ok(())
        }
        JournalChange::TopicPartitions { topic, name, partitions } => {
            known.grow(at, *topic, name, *partitions)
        }
        JournalChange::TopicDeleted { topic } => known.delete_topic(at, *topic),
    }
}

impl ClusterHistory {
    fn grow(&mut self, at: TimestampMs, topic: TopicId, name: &str, now: u32) -> Result<(), JournalDefect> {
        if now > PARTITIONS_MAX {
            return Err(JournalDefect::TooMany { topic, now });
        }
        let new = || TopicHistory { name: name.to_owned(), partitions: Vec::new(), deleted: None };
        let history = self.topics.entry(topic).or_insert_with(new);
        if history.deleted.is_some() {
            return Err(JournalDefect::TopicGone(topic));
        }
        let had = history.partitions.len() as u32;
        if now < had {
            return Err(JournalDefect::Shrunk { topic, had, now });
        }
        history.partitions.resize(now as usize, at);
        Ok(())
    }

    fn delete_topic(&mut self, at: TimestampMs, topic: TopicId) -> Result<(), JournalDefect> {
        let history = self.topics.get_mut(&topic).ok_or(JournalDefect::UnknownTopic(topic))?;
        if history.deleted.is_some() {
            return Err(JournalDefect::TopicGone(topic));
        }
        history.deleted = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
