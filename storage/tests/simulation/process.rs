//! One storage process: started, sealed by its peers and started anew, killed, its machine losing power.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use headgate_log::disk::ForgetfulDisk;
use headgate_metadata::id::{Incarnation, NodeId};
use headgate_metadata::simulated::SimulatedStore;
use headgate_metadata::store::MetadataStore;
use headgate_storage::config::{NodeConfig, WalSync};
use headgate_storage::group::GroupLimits;
use headgate_storage::peer::PeerService;
use headgate_storage::planted::{Bug, is_planted};
use headgate_storage::{Clocks, Fatal, Fleet, Metrics, MirrorParts, Mirrors, Node, NodeParts, Random};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::SimulatedClock;
use crate::disk::MortalDisk;
use crate::world::World;

/// What outlives the process: the machine.
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) platter: Mutex<ForgetfulDisk>,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) process: Mutex<Option<Arc<Process>>>,
    /// A process is being started: the lock on the data directory admits one.
    pub(crate) starting: AtomicBool,
    /// The metadata store cannot be reached from here.
    pub(crate) cut_off: Arc<AtomicBool>,
    /// Operations of the metadata store that will lose their reply.
    pub(crate) replies_lost: Arc<AtomicI64>,
    /// Operations of the metadata store that will take long, on their way there or back.
    pub(crate) slow_operations: Arc<AtomicI64>,
    /// When the last of them will have ended.
    pub(crate) slow_until: Arc<Mutex<Instant>>,
}

/// What is gone with it.
pub(crate) struct Process {
    pub(crate) disk: MortalDisk,
    /// The node of the present WAL; replaced when the WAL was sealed by others.
    pub(crate) node: watch::Receiver<Option<Arc<Node>>>,
    fatal: Arc<AtomicBool>,
    life: JoinHandle<()>,
}

impl Process {
    /// Whether the process has ended by itself, or its machine has.
    pub(crate) fn is_dead(&self) -> bool {
        self.disk.is_dead() || self.fatal.load(Ordering::SeqCst)
    }
}

impl Machine {
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        let process = self.process.lock().expect("no panic under the lock").clone()?;
        process.node.borrow().clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.lock().expect("no panic under the lock").is_some()
    }

    /// Starts the process: registers it, and keeps a node running in it.
    pub(crate) async fn start(self: &Arc<Self>, world: &Arc<World>) {
        if self.is_up() || self.starting.swap(true, Ordering::SeqCst) {
            return;
        }
        self.start_alone(world).await;
        self.starting.store(false, Ordering::SeqCst);
    }

    async fn start_alone(self: &Arc<Self>, world: &Arc<World>) {
        let store = world.store_of(self);
        let incarnation = loop {
            match headgate_metadata::counters::next_incarnation(&store).await {
                Ok(incarnation) => break incarnation,
                // Whoever runs the process starts it again.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(300)).await,
            }
        };
        let me = (self.id, same_if_planted(self.id, incarnation));
        let disk = MortalDisk::new(
            self.platter.lock().expect("no panic under the lock").clone(),
            world.removals.clone(),
        );
        let fatal = Arc::new(AtomicBool::new(false));
        let mirrors = Mirrors::new(MirrorParts {
            me,
            disk: Arc::new(disk.clone()),
            wal_dir: PathBuf::from("/wal"),
            wal_sync: WalSync::Fsync,
            clock: Arc::clone(&self.clone_clock()) as _,
            free_space: Arc::new(|_| Some(u64::MAX)),
        });
        let network = world.network.from(self.id);
        let service = Arc::new(PeerService::new(Arc::clone(&mirrors), Arc::clone(&network)));
        world.network.attach(self.id, service);
        world.register(self.id, me.1).await;
        let fleet = Arc::new(Fleet {
            me,
            zone: format!("zone-{}", self.id).into(),
            network,
            mirrors,
            clocks: Clocks::new(Arc::clone(&self.clone_clock()) as _),
            replication: 3,
            draining: watch::Sender::new(false),
        });
        let (nodes, node) = watch::channel(None);
        let config = NodeConfig {
            node: self.id,
            wal_dir: PathBuf::from("/wal"),
            chunk_bytes: 64 * 1024,
            chunk_age_ms: 3_000,
            tail_bytes_max: 256 * 1024,
            manifest_flushes_max: 4,
            manifest_age_ms: 20_000,
            garbage_grace_ms: 2_000,
            disk_free_slow_bytes: 0,
            disk_free_refuse_bytes: 0,
            ..NodeConfig::default()
        };
        let told = Arc::clone(&fatal);
        let parts = NodeParts {
            store: Arc::new(store),
            objects: world.objects.store(),
            disk: Arc::new(disk.clone()),
            free_space: Arc::new(|_| Some(u64::MAX)),
            clock: Arc::clone(&self.clone_clock()) as _,
            random: Random::seeded(world.draw()),
            fatal: Fatal::new(move |_| told.store(true, Ordering::SeqCst)),
            metrics: Arc::new(Metrics::default()),
            group_limits: GroupLimits::default(),
            fleet: Some(fleet),
        };
        let trace = world.trace.clone();
        let life = tokio::spawn(async move {
            loop {
                match Node::start(config.clone(), parts.clone()).await {
                    Ok(started) => {
                        trace.note(format_args!("node {} runs with WAL {}", me.0, started.wal()));
                        nodes.send_replace(Some(Arc::clone(&started)));
                        started.sealed().await;
                        trace.note(format_args!("WAL {} was sealed by others", started.wal()));
                        nodes.send_replace(None);
                        started.halt().await;
                    }
                    Err(error) => {
                        trace.note(format_args!("node {} does not start: {error}", me.0));
                        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    }
                }
            }
        });
        let process = Arc::new(Process { disk, node, fatal, life });
        *self.process.lock().expect("no panic under the lock") = Some(process);
    }

    fn clone_clock(&self) -> Arc<SimulatedClock> {
        Arc::clone(&self.clock)
    }

    /// SIGKILL. With `power_seed` the machine loses power too: what was not synced may be torn or gone.
    pub(crate) async fn kill(&self, world: &Arc<World>, power_seed: Option<u64>) {
        let Some(process) = self.process.lock().expect("no panic under the lock").take() else { return };
        world.network.detach(self.id, power_seed.is_some());
        process.disk.die_after(0);
        process.life.abort();
        let node = process.node.borrow().clone();
        if let Some(node) = node {
            node.halt().await;
        }
        if let Some(seed) = power_seed {
            self.platter.lock().expect("no panic under the lock").crash(seed);
        }
        world.lease_ends(self.id);
    }

    /// The disk is gone with everything on it.
    pub(crate) fn lose_disk(&self) {
        *self.platter.lock().expect("no panic under the lock") = ForgetfulDisk::new();
    }
}

/// The incarnation, unless the bug is planted that all processes of a machine share one.
fn same_if_planted(id: NodeId, drawn: Incarnation) -> Incarnation {
    if is_planted(Bug::SameIncarnation) { Incarnation::new(1_000 + u64::from(id.get())) } else { drawn }
}

/// A client of the metadata store as this machine reaches it.
pub(crate) fn store_client(shared: &SimulatedStore, machine: &Machine, world: &World) -> SimulatedStore {
    use headgate_metadata::simulated::{Fate, Operation, Passage};
    use rand::Rng;
    let (cut_off, replies_lost) = (Arc::clone(&machine.cut_off), Arc::clone(&machine.replies_lost));
    let (random, slow_operations) = (Arc::clone(&world.random), Arc::clone(&machine.slow_operations));
    let slow_until = Arc::clone(&machine.slow_until);
    shared.client(move |operation: Operation<'_>| {
        let mut random = random.lock().expect("no panic under the lock");
        let way = |random: &mut rand::rngs::StdRng| {
            std::time::Duration::from_micros(random.random_range(200..4000))
        };
        let (mut before, mut after) = (way(&mut random), way(&mut random));
        let can_be_slow = matches!(operation, Operation::Commit(_) | Operation::Read(_));
        if can_be_slow && slow_operations.fetch_sub(1, Ordering::SeqCst) > 0 {
            let long = if random.random_bool(0.5) { &mut before } else { &mut after };
            let longest = if random.random_bool(0.5) { 2_000 } else { 30_000 };
            *long = std::time::Duration::from_millis(random.random_range(100..longest));
            let mut slow_until = slow_until.lock().expect("no panic under the lock");
            *slow_until = (Instant::now() + *long).max(*slow_until);
        }
        let fate = if cut_off.load(Ordering::SeqCst) {
            // Half of what is sent into the cut never arrives and half is not even sent.
            if random.random_bool(0.5) { Fate::NotSent } else { Fate::RequestLost }
        } else if matches!(operation, Operation::Commit(_)) && replies_lost.fetch_sub(1, Ordering::SeqCst) > 0
        {
            match random.random_range(0..3) {
                0 => Fate::RequestLost,
                1 => Fate::ReplyLost,
                _ => Fate::Late(std::time::Duration::from_millis(random.random_range(1..3000))),
            }
        } else {
            Fate::Done
        };
        Passage { before, fate, after }
    })
}

const _: fn(&SimulatedStore) -> &dyn MetadataStore = |store| store;
