//! Sending appends: at once where the way is clear, else held and sent again in their order (`gateway/PROTOCOL.md` §3).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use headgate_metadata::id::SlotId;
use tokio::time::{Instant, timeout_at};

use super::Routes;
use super::ask::{Pause, Tried};
use super::lane::{Lane, Outcome, Pending, Verdict};
use crate::spawn;
use crate::wire::{CallError, Connection, Message};
use crate::{Append, Caller, Completion};

/// A client connection and a slot.
type Key = (u64, SlotId);

/// The lanes of a gateway. A lane is here while something in it is unanswered.
pub(super) struct Lanes {
    routes: Routes,
    busy: DashMap<Key, Lane>,
    /// The last round given to any lane: a lane that is made anew begins above all that any owner has seen of it.
    rounds: AtomicU64,
}

impl Lanes {
    pub(super) fn new(routes: Routes) -> Arc<Self> {
        Arc::new(Self { routes, busy: DashMap::new(), rounds: AtomicU64::new(1) })
    }

    /// Takes the append's place in its lane now.
    pub(super) fn submit(self: &Arc<Self>, caller: &Caller, append: Append) -> Completion<Outcome> {
        let (answer, completion) = Completion::channel();
        let slot = append.partition.slot;
        let key = (caller.connection, slot);
        let pending = Pending::new(caller, append, answer);
        let node = self.routes.owners.node_of(slot);
        let ready = node.and_then(|node| self.routes.pool.ready(&node, caller.connection));
        let mut lane = self.busy.entry(key).or_insert_with(|| Lane::new(self.rounds.load(Ordering::Relaxed)));
        let number = lane.number();
        match ready {
            Some(connection) if lane.is_open_for(&connection) => {
                self.send(&mut lane, key, number, pending, connection);
            }
            _ => {
                lane.hold(number, pending);
                self.ensure_driven(&mut lane, key);
            }
        }
        completion
    }

    /// The call takes its place on the connection before the lane is let go.
    fn send(
        self: &Arc<Self>,
        lane: &mut Lane,
        key: Key,
        number: u64,
        pending: Pending,
        connection: Connection,
    ) {
        let tried = self.routes.owner_tried(key.1);
        let call = connection.call(pending.call(lane.round));
        lane.in_flight += 1;
        lane.connection = Some(connection);
        // Ends with the call, and that with its connection.
        spawn::detached(Arc::clone(self).settle(key, number, pending, tried, call));
    }

    async fn settle(
        self: Arc<Self>,
        key: Key,
        number: u64,
        pending: Pending,
        tried: Tried,
        call: impl Future<Output = Result<Message, CallError>>,
    ) {
        let verdict = pending.judge(call.await);
        {
            let mut lane = self.busy.get_mut(&key).expect("a lane with calls in flight stays");
            lane.in_flight -= 1;
            match verdict {
                Verdict::Final(outcome) => {
                    lane.failed = None;
                    lane.pause = Pause::new();
                    pending.finish(outcome);
                }
                Verdict::Again(error) => {
                    tracing::debug!(slot = %key.1, %error, "append held");
                    lane.take_back(number, pending, error, tried);
                    self.ensure_driven(&mut lane, key);
                }
            }
            if lane.in_flight > 0 {
                return;
            }
            lane.settled.notify_one();
        }
        self.forget_if_idle(key);
    }

    fn ensure_driven(self: &Arc<Self>, lane: &mut Lane, key: Key) {
        if !lane.driven {
            lane.driven = true;
            // Ends when nothing is held: at the last deadline of what is.
            spawn::detached(Arc::clone(self).drive(key));
        }
    }

    /// Sends what is held, all of it in order, once everything sent before is answered and the owner may have changed its mind.
    async fn drive(self: Arc<Self>, key: Key) {
        let (client, slot) = key;
        loop {
            self.until_settled(key).await;
            let Some((deadline, wait)) = self.next_attempt(key) else { return self.forget_if_idle(key) };
            if let Some((tried, until)) = wait {
                self.routes.news(slot, tried, until).await;
            }
            let Some(node) = self.routes.owner(slot, deadline).await else { continue };
            let connected = timeout_at(deadline, self.routes.pool.connection(&node, client)).await;
            let tried = self.routes.owner_tried(slot);
            let mut lane = self.busy.get_mut(&key).expect("a lane that is driven stays");
            let Ok(Ok(connection)) = connected else {
                lane.failed = Some(tried);
                continue;
            };
            lane.round = self.rounds.fetch_add(1, Ordering::Relaxed) + 1;
            lane.driven = false;
            for (number, pending) in lane.take_held() {
                self.send(&mut lane, key, number, pending, connection.clone());
            }
            return;
        }
    }

    async fn until_settled(&self, key: Key) {
        loop {
            let settled = {
                let lane = self.busy.get(&key).expect("a lane that is driven stays");
                if lane.in_flight == 0 {
                    return;
                }
                Arc::clone(&lane.settled)
            };
            settled.notified().await;
        }
    }

    /// Until when the next attempt must be made, and what it waits for; `None` = nothing is held any more.
    fn next_attempt(&self, key: Key) -> Option<(Instant, Option<(Tried, Instant)>)> {
        let mut lane = self.busy.get_mut(&key).expect("a lane that is driven stays");
        let now = Instant::now();
        let Some(deadline) = lane.expire(now) else {
            lane.driven = false;
            return None;
        };
        let wait = lane.failed.map(|tried| (tried, (now + lane.pause.next()).min(deadline)));
        Some((deadline, wait))
    }

    fn forget_if_idle(&self, key: Key) {
        self.busy.remove_if(&key, |_, lane| lane.is_idle());
    }
}
