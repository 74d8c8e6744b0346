//! One question to all owners of a set of slots; the answer is whole or there is none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use headgate_metadata::id::{NodeId, SlotId};
use headgate_metadata::record::NodeRecord;
use tokio::time::Instant;

use super::Routes;
use super::ask::{Pause, Refusable, Unanswered, remaining};
use super::message::Operation;

impl Routes {
    /// Asks the owners of `slots` until each slot is covered by an answer that is no refusal. Only for questions that may be
    /// asked twice. `question` is built for the slots of one owner, with the patience left. `None` = not all answered in time.
    pub(super) async fn ask_all<O: Operation<Answer: Refusable>>(
        &self,
        slots: &[SlotId],
        client: u64,
        deadline: Instant,
        question: impl Fn(Vec<SlotId>, Duration) -> O,
    ) -> Option<Vec<O::Answer>> {
        let mut open = slots.to_vec();
        let mut answers = Vec::new();
        let mut pause = Pause::new();
        while let Some(first) = open.first().copied() {
            let tried = self.owner_tried(first);
            let asked = self.by_node(&open).into_values().map(|(node, slots)| {
                let call = question(slots.clone(), remaining(deadline));
                async move { (self.ask_node(&node, client, deadline, call).await, slots) }
            });
            for (answer, covered) in join_all(asked).await {
                match answer {
                    Ok(answer) if !answer.is_refusal() => {
                        open.retain(|slot| !covered.contains(slot));
                        answers.push(answer);
                    }
                    Ok(_) | Err(Unanswered::Refused | Unanswered::Unknown) => {}
                }
            }
            if open.is_empty() {
                break;
            }
            self.news(first, tried, (Instant::now() + pause.next()).min(deadline)).await;
            if Instant::now() >= deadline {
                return None;
            }
        }
        Some(answers)
    }

    /// The slots that have an owner, by owner.
    fn by_node(&self, slots: &[SlotId]) -> BTreeMap<NodeId, (Arc<NodeRecord>, Vec<SlotId>)> {
        let mut by_node = BTreeMap::new();
        for slot in slots {
            if let Some(node) = self.owners.node_of(*slot) {
                by_node.entry(node.node).or_insert_with(|| (node, Vec::new())).1.push(*slot);
            }
        }
        by_node
    }
}
