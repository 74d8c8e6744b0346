//! The simulated network between storage nodes: delay, order within a connection, loss, partitions in one or both directions.
//!
//! A call travels on the connection of its two ends: calls arrive in the order they were sent, like frames on TCP. A blocked
//! direction swallows what is sent; after a while the connection is taken for dead and its calls end without an answer. A peer
//! that is gone is noticed at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use headgate_metadata::id::NodeId;
use headgate_storage::peer::{Network, NoAnswer, PeerCall, PeerReply, PeerRequest, PeerService};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::trace::Trace;

/// After this long a silent connection is taken for dead.
const DEAD_AFTER: Duration = Duration::from_secs(2);

/// All links; clones share them.
#[derive(Clone)]
pub(crate) struct SimulatedNetwork(Arc<Mutex<Links>>, Trace);

struct Links {
    random: StdRng,
    services: BTreeMap<NodeId, Arc<PeerService>>,
    /// Directions in which nothing arrives.
    blocked: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose traffic is slow, by this much each way.
    slow: BTreeMap<NodeId, Duration>,
    pipes: BTreeMap<(NodeId, NodeId), mpsc::UnboundedSender<InFlight>>,
    /// How often each node has lost power: what it had sent and is on its way is lost with it.
    power_cuts: BTreeMap<NodeId, u64>,
}

struct InFlight {
    arrives: Instant,
    call: PeerCall,
    answer: oneshot::Sender<PeerReply>,
    /// Power cuts of the sender before it was sent.
    power_cuts: u64,
}

impl SimulatedNetwork {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let links = Links {
            random: StdRng::seed_from_u64(seed),
            services: BTreeMap::new(),
            blocked: BTreeSet::new(),
            slow: BTreeMap::new(),
            pipes: BTreeMap::new(),
            power_cuts: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(links)), trace)
    }

    /// The network as one node uses it.
    pub(crate) fn from(&self, node: NodeId) -> Arc<dyn Network> {
        Arc::new(End { node, network: self.clone() })
    }

    pub(crate) fn attach(&self, node: NodeId, service: Arc<PeerService>) {
        self.links().services.insert(node, service);
    }

    /// The process is gone: its connections are reset. What it has sent still arrives, unless its machine lost power.
    pub(crate) fn detach(&self, node: NodeId, is_power_cut: bool) {
        let mut links = self.links();
        if is_power_cut {
            *links.power_cuts.entry(node).or_default() += 1;
        }
        links.services.remove(&node);
        links.pipes.retain(|(from, to), _| *from != node && *to != node);
    }

    /// Nothing arrives in this direction any more.
    pub(crate) fn block(&self, from: NodeId, to: NodeId) {
        self.links().blocked.insert((from, to));
    }

    /// The run is over: nothing is kept that keeps others.
    pub(crate) fn end(&self) {
        let mut links = self.links();
        links.pipes.clear();
        let services = std::mem::take(&mut links.services);
        drop(links);
        drop(services);
    }

    pub(crate) fn slow(&self, node: NodeId, by: Duration) {
        self.links().slow.insert(node, by);
    }

    pub(crate) fn heal(&self) {
        let mut links = self.links();
        links.blocked.clear();
        links.slow.clear();
    }

    pub(crate) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.links().blocked.contains(&(from, to))
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Links> {
        self.0.lock().expect("no panic under the lock")
    }

    /// A way between two nodes, in one direction.
    fn delay(&self, from: NodeId, to: NodeId) -> Duration {
        let mut links = self.links();
        let base = Duration::from_micros(links.random.random_range(50..1500));
        let slow = |node| links.slow.get(&node).copied().unwrap_or_default();
        base + slow(from) + slow(to)
    }

    fn send(&self, from: NodeId, call: PeerCall) -> oneshot::Receiver<PeerReply> {
        let (answer, answered) = oneshot::channel();
        let to = call.to.0;
        let arrives = Instant::now() + self.delay(from, to);
        let mut links = self.links();
        if !links.services.contains_key(&to) || !links.services.contains_key(&from) {
            return answered;
        }
        let pipe = links.pipes.entry((from, to)).or_insert_with(|| {
            let (pipe, queue) = mpsc::unbounded_channel();
            tokio::spawn(self.clone().carry(from, to, queue));
            pipe
        });
        let pipe = pipe.clone();
        let power_cuts = links.power_cuts.get(&from).copied().unwrap_or_default();
        drop(pipe.send(InFlight { arrives, call, answer, power_cuts }));
        answered
    }

    async fn carry(self, from: NodeId, to: NodeId, mut queue: mpsc::UnboundedReceiver<InFlight>) {
        while let Some(InFlight { arrives, call, answer, power_cuts }) = queue.recv().await {
            tokio::time::sleep_until(arrives).await;
            if self.links().power_cuts.get(&from).copied().unwrap_or_default() != power_cuts {
                continue;
            }
            if self.is_blocked(from, to) {
                // Swallowed; the caller learns of it when it takes the connection for dead.
                tokio::spawn(async move {
                    tokio::time::sleep(DEAD_AFTER).await;
                    drop(answer);
                });
                continue;
            }
            let service = self.links().services.get(&to).cloned();
            let Some(service) = service else { continue };
            if !matches!(call.request, PeerRequest::Confirm { .. }) {
                self.1.note(format_args!("{from} → {to} {}", name(&call.request)));
            }
            // Taken in order here; answered whenever it is done.
            let done = service.answer(call);
            let network = self.clone();
            tokio::spawn(async move {
                let reply = done.await;
                tokio::time::sleep(network.delay(to, from)).await;
                if network.is_blocked(to, from) {
                    tokio::time::sleep(DEAD_AFTER).await;
                    return;
                }
                let is_up = network.links().services.contains_key(&to);
                if is_up {
                    drop(answer.send(reply));
                }
            });
        }
    }
}

fn name(request: &PeerRequest) -> String {
    match request {
        PeerRequest::Append { wal, group } => format!("append {wal} {}..{}", group.position, group.end),
        other => format!("{other:?}"),
    }
}

struct End {
    node: NodeId,
    network: SimulatedNetwork,
}

impl Network for End {
    fn call(&self, call: PeerCall) -> BoxFuture<'static, Result<PeerReply, NoAnswer>> {
        let answered = self.network.send(self.node, call);
        async move { answered.await.map_err(|_| NoAnswer) }.boxed()
    }
}
