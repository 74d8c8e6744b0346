//! Waiting for data at several owners at once, until their sum suffices.
//!
//! An owner tells only that it holds at least what it was asked for. So each is asked for its known part and an equal share of what
//! is missing: if the sum is there, at least one of them holds that much. Its part is known then, and the rest is asked anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headgate_metadata::id::{NodeId, Offset};
use headgate_metadata::record::NodeRecord;
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};

use super::RemoteStorage;
use super::ask::{Pause, deadline_after, remaining};
use super::message::AwaitDataCall;
use crate::{Caller, PartitionAddress};

/// With more than one owner, less than this part of what was asked may be missing at the end: the last bytes are not worth the
/// questions.
const MISSING_PART: u64 = 8;

type From = (PartitionAddress, Offset);

/// What waits at one owner.
struct Part {
    node: Arc<NodeRecord>,
    from: Vec<From>,
    /// So many bytes are known to be there.
    known: u64,
}

impl RemoteStorage {
    pub(super) async fn await_sum(&self, caller: &Caller, from: &[From], bytes_min: u64) {
        if bytes_min == 0 || from.is_empty() {
            return;
        }
        let deadline = deadline_after(caller.patience);
        let mut changes = self.routes.owners.changes();
        loop {
            changes.mark_unchanged();
            let parts = self.parts(from);
            let owners: Vec<_> =
                from.iter().map(|(partition, _)| self.routes.owner_tried(partition.slot)).collect();
            let moved = async {
                loop {
                    // The sender is held by the table itself.
                    drop(changes.changed().await);
                    let slots = from.iter().map(|(partition, _)| partition.slot);
                    if slots.zip(&owners).any(|(slot, owner)| self.routes.owner_tried(slot) != *owner) {
                        return;
                    }
                }
            };
            select! {
                biased;
                () = self.until_sum(caller, deadline, parts, bytes_min) => return,
                () = sleep_until(deadline) => return,
                () = moved => {}
            }
        }
    }

    /// The partitions by owner; those without one are left out until they have one.
    fn parts(&self, from: &[From]) -> Vec<Part> {
        let mut parts: BTreeMap<NodeId, Part> = BTreeMap::new();
        for (partition, offset) in from {
            if let Some(node) = self.routes.owners.node_of(partition.slot) {
                let part = || Part { node: Arc::clone(&node), from: Vec::new(), known: 0 };
                parts.entry(node.node).or_insert_with(part).from.push((*partition, *offset));
            }
        }
        parts.into_values().collect()
    }

    async fn until_sum(&self, caller: &Caller, deadline: Instant, mut parts: Vec<Part>, bytes_min: u64) {
        let negligible = if parts.len() > 1 { bytes_min / MISSING_PART } else { 0 };
        loop {
            let known = parts.iter().map(|part| part.known).fold(0, u64::saturating_add);
            let missing = bytes_min.saturating_sub(known);
            if missing <= negligible {
                return;
            }
            let share = missing.div_ceil(parts.len().max(1) as u64);
            let mut asked: FuturesUnordered<_> = parts
                .iter()
                .enumerate()
                .map(|(index, part)| async move {
                    self.until_part(caller, deadline, part, part.known + share).await;
                    index
                })
                .collect();
            // Without any owner there is nothing to wait for but the deadline and a change of owners.
            let Some(index) = asked.next().await else { return std::future::pending().await };
            drop(asked);
            parts[index].known += share;
        }
    }

    /// Waits at one owner, again and again while it cannot be reached; the others go on waiting meanwhile.
    async fn until_part(&self, caller: &Caller, deadline: Instant, part: &Part, bytes_min: u64) {
        let mut pause = Pause::new();
        loop {
            let call = AwaitDataCall {
                caller: Caller { patience: remaining(deadline), ..caller.clone() },
                from: part.from.clone(),
                bytes_min,
            };
            if self.routes.ask_node(&part.node, caller.connection, deadline, call).await.is_ok() {
                return;
            }
            sleep(pause.next()).await;
        }
    }
}
