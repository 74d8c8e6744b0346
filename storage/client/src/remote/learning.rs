//! What the nodes have seen of the owners of slots, asked while the metadata store does not answer here: a gateway that is cut off from
//! it goes on to serve, also what moves meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use headgate_metadata::slot_owners::SlotOwner;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Routes;
use super::message::{OwnerTold, OwnersCall};

/// How many are asked at a time: the one that is wrong itself may be among them.
const NODES_ASKED: usize = 3;
/// How often, whoever waits.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// How long they may take.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// When the nodes were asked last.
#[derive(Default)]
pub(super) struct Learned(Mutex<Turn>);

#[derive(Default)]
struct Turn {
    /// Others are asked each time.
    next: usize,
    at: Option<Instant>,
}

impl Routes {
    /// Asks some of the nodes. Cancel safe.
    pub(super) async fn learn_from_nodes(&self) {
        let mut turn = self.learned.0.lock().await;
        if turn.at.is_some_and(|at| at.elapsed() < ASKED_EVERY) {
            return;
        }
        let nodes = self.owners.nodes();
        let asked =
            nodes.iter().cycle().skip(turn.next % nodes.len().max(1)).take(NODES_ASKED.min(nodes.len()));
        let deadline = Instant::now() + ANSWER_MAX;
        let answers = join_all(asked.map(|node| self.ask_node(node, 0, deadline, OwnersCall {}))).await;
        for told in answers.into_iter().flatten() {
            let owner = |OwnerTold { slot, wal, epoch }| (slot, SlotOwner { wal, epoch });
            self.owners.learn(told.owners.into_iter().map(owner));
        }
        *turn = Turn { next: turn.next + NODES_ASKED, at: Some(Instant::now()) };
    }
}
