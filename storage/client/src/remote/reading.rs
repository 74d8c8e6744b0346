//! Reading from several owners: one call each at the same time, merged in the order asked (`gateway/PROTOCOL.md` §4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use headgate_metadata::id::NodeId;
use headgate_metadata::record::NodeRecord;
use tokio::time::Instant;

use super::RemoteStorage;
use super::ask::{Pause, deadline_after, remaining};
use super::message::ReadCall;
use crate::{Caller, PartitionRead, ReadError, ReadOutcome, ReadRequest};

/// How long owners that cannot be reached, or do not own, are asked again while nobody else has given anything. Longer than most
/// moves and failovers, shorter than a client's patience with an answer.
const UNREACHED_MAX: Duration = Duration::from_secs(2);

/// Partitions of a request by the node that owns them, by their index in the request.
type ByNode = BTreeMap<NodeId, (Arc<NodeRecord>, Vec<usize>)>;

impl RemoteStorage {
    pub(super) async fn read_all(&self, caller: &Caller, request: &ReadRequest) -> Vec<ReadOutcome> {
        let deadline = deadline_after(caller.patience.min(UNREACHED_MAX));
        let mut outcomes: Vec<Option<ReadOutcome>> = vec![None; request.partitions.len()];
        let mut pause = Pause::new();
        loop {
            let by_node = self.open_by_node(request, &outcomes);
            let share = request.bytes_max / by_node.len().max(1) as u64;
            let asked =
                by_node.values().map(|(node, indexes)| self.read_at(caller, request, share, node, indexes));
            for (index, outcome) in join_all(asked).await.into_iter().flatten() {
                outcomes[index] = Some(outcome);
            }
            let open = outcomes.iter().position(|outcome| outcome.as_ref().is_none_or(is_refusal));
            let Some(open) = open else { break };
            let gave = |outcome: &Option<ReadOutcome>| matches!(outcome, Some(Ok(success)) if success.records_bytes > 0);
            if outcomes.iter().any(gave) || Instant::now() >= deadline {
                break;
            }
            let slot = request.partitions[open].partition.slot;
            let tried = self.routes.owner_tried(slot);
            self.routes.news(slot, tried, (Instant::now() + pause.next()).min(deadline)).await;
        }
        self.merge(request, outcomes)
    }

    /// The partitions without an outcome that stands, as far as they have an owner that may answer.
    fn open_by_node(&self, request: &ReadRequest, outcomes: &[Option<ReadOutcome>]) -> ByNode {
        let mut by_node = ByNode::new();
        for (index, (read, outcome)) in request.partitions.iter().zip(outcomes).enumerate() {
            if outcome.as_ref().is_some_and(|outcome| !is_refusal(outcome)) {
                continue;
            }
            if let Some(node) = self.routes.owners.node_of(read.partition.slot) {
                by_node.entry(node.node).or_insert_with(|| (node, Vec::new())).1.push(index);
            }
        }
        by_node
    }

    /// Reads the partitions of one node; nothing when it does not answer.
    async fn read_at(
        &self,
        caller: &Caller,
        request: &ReadRequest,
        bytes_max: u64,
        node: &NodeRecord,
        indexes: &[usize],
    ) -> Vec<(usize, ReadOutcome)> {
        let partitions: Vec<PartitionRead> = indexes.iter().map(|index| request.partitions[*index]).collect();
        let deadline = deadline_after(caller.patience);
        let call = ReadCall {
            caller: Caller { patience: remaining(deadline), ..caller.clone() },
            request: ReadRequest { partitions, bytes_max, isolation: request.isolation },
        };
        match self.routes.ask_node(node, caller.connection, deadline, call).await {
            Ok(answer) if answer.outcomes.len() == indexes.len() => {
                indexes.iter().copied().zip(answer.outcomes).collect()
            }
            Ok(_) => {
                tracing::error!(node = %node.node, "a read was answered with another number of outcomes");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Keeps data in request order up to the limit, which only the very first data may exceed. A partition whose owner was not
    /// reached, or did not own it, has nothing new: its readers see latency, not errors.
    fn merge(&self, request: &ReadRequest, outcomes: Vec<Option<ReadOutcome>>) -> Vec<ReadOutcome> {
        let mut left = request.bytes_max;
        let mut first = true;
        let kept = request.partitions.iter().zip(outcomes).map(|(read, outcome)| match outcome {
            Some(Ok(mut success)) => {
                self.seen.note(read.partition.key, &success);
                if success.records_bytes > left && !first {
                    success.records = Vec::new();
                    success.records_bytes = 0;
                    success.aborted = Vec::new();
                }
                first &= success.records_bytes == 0;
                left = left.saturating_sub(success.records_bytes);
                Ok(success)
            }
            None | Some(Err(ReadError::NotOwner)) => Ok(self.seen.nothing_new(read)),
            Some(Err(error)) => Err(error),
        });
        kept.collect()
    }
}

fn is_refusal(outcome: &ReadOutcome) -> bool {
    super::ask::Refusable::is_refusal(outcome)
}
