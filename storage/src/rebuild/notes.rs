//! What is not in the logs: nodes of which nothing was given, and tenants' records that the backup lacks.

use std::collections::{BTreeMap, BTreeSet};

use headgate_metadata::id::{ClusterId, NodeId, TopicId};

use super::life::Seen;
use super::logs::Logs;
use super::loss::Loss;
use super::survey::Survey;
use super::{Known, REBUILT};

/// Nodes of which nothing was given, and copies that are damaged. Of everything that a fleet acknowledges there are two copies at
/// least, so one may be away; of what a node alone does there is one.
pub(super) fn absent(
    known: &Known,
    logs: &Logs,
    given: &BTreeSet<NodeId>,
    notes: &mut Vec<String>,
) -> Vec<Loss> {
    if given.is_empty() {
        return vec![Loss::NoWals];
    }
    let unsealed = known.view.wals.values().filter(|wal| wal.sealed_end().is_none());
    let owners = unsealed.map(|wal| wal.record.wal.node);
    let owners = owners.chain(logs.iter().filter(|(_, log)| log.copies > 0).map(|(wal, _)| wal.node));
    let mut absent: BTreeSet<NodeId> = known.view.nodes.keys().copied().chain(owners).collect();
    absent.retain(|node| !given.contains(node) && *node != REBUILT);
    for node in &absent {
        notes.push(format!("the WALs of node {node} were not given; it cannot come back with them"));
    }
    let mut losses = Vec::new();
    for (wal, log) in logs.iter().filter(|(_, log)| log.copies > 0 && !log.damage.is_empty()) {
        notes.extend(log.damage.iter().map(|damage| format!("not used: WAL {wal} on {damage}")));
        if !log.is_decided && log.damage.len() + absent.len() > 1 {
            losses.push(Loss::Copies { wal: *wal, from: log.end, reasons: log.damage.clone() });
        }
    }
    let is_lone = known.view.nodes.is_empty()
        && known.view.wals.values().any(|wal| {
            let mut holders = wal.holders().iter();
            wal.sealed_end().is_none() && holders.all(|(node, _)| absent.contains(node))
        });
    if absent.len() > 1 || is_lone {
        losses.push(Loss::Nodes(absent));
    }
    losses
}

/// Tenants' records are not in logs: they come from the backup, or are missing.
pub(super) fn topics(known: &Known, survey: &Survey, logs: &Logs, seen: &Seen, notes: &mut Vec<String>) {
    let mut named: BTreeMap<(ClusterId, TopicId), u32> = BTreeMap::new();
    let mut removed: BTreeSet<(ClusterId, Option<TopicId>)> = seen.removed.iter().copied().collect();
    let in_manifests = survey.manifests.values().flat_map(|manifest| &manifest.partitions);
    for (key, is_removed) in in_manifests {
        if *is_removed {
            removed.insert((key.cluster, Some(key.topic)));
        } else {
            let partitions = named.entry((key.cluster, key.topic)).or_default();
            *partitions = (*partitions).max(key.partition.get() + 1);
        }
    }
    let in_copies = logs.values().flat_map(|log| log.unflushed.iter().chain(log.lives.values()));
    for offsets in in_copies.flat_map(|life| &life.partitions) {
        let key = offsets.partition;
        let partitions = named.entry((key.cluster, key.topic)).or_default();
        *partitions = (*partitions).max(key.partition.get() + 1);
    }
    let is_gone = |(cluster, topic): (ClusterId, TopicId)| {
        removed.contains(&(cluster, Some(topic))) || removed.contains(&(cluster, None))
    };
    for ((cluster, topic), partitions) in named {
        let is_known = known.topics.contains_key(&(cluster, topic)) || known.is_removed(cluster, topic);
        if !is_known && !is_gone((cluster, topic)) {
            notes.push(format!(
                "topic {topic} of cluster {cluster}, with {partitions} partitions or more, is not in the metadata store: it was created after the backup"
            ));
        }
    }
    for ((cluster, topic), name) in &known.topics {
        if is_gone((*cluster, *topic)) {
            notes.push(format!(
                "topic {name} ({topic}) of cluster {cluster} was removed after the backup; remove it again"
            ));
        }
    }
}
