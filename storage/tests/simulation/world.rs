//! The world of one run: machines, network, stores, clients, and the faults that strike them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headgate_log::disk::ForgetfulDisk;
use headgate_log::store::FaultyObjects;
use headgate_metadata::id::{AccountId, Incarnation, NodeId, SlotId, WalId};
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, NodeRecord, Record, SlotRecord, WalRecord};
use headgate_metadata::simulated::SimulatedStore;
use headgate_metadata::store::{Compare, MetadataStore, Transaction, Write};
use headgate_storage::Node;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::clock::SimulatedClock;
use crate::disk::Removals;
use crate::faults::Strike;
use crate::history::History;
use crate::network::SimulatedNetwork;
use crate::process::{Machine, store_client};
use crate::trace::Trace;
use crate::{checker, clients, faults, restore};

/// Slots of the simulated cell.
pub(crate) const SLOTS: u16 = 8;
/// A node's lease (`storage/PROTOCOL.md` §10).
const LEASE: Duration = Duration::from_secs(5);
/// How long everything may take to come back once nothing fails any more.
const HEALED_WITHIN: Duration = Duration::from_mins(2);

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) machines: u32,
    /// How many faults strike.
    pub(crate) faults: u32,
    pub(crate) producers: u32,
    /// Whether the metadata store is put back to an earlier moment at the end, and rebuilt.
    pub(crate) restored: bool,
    /// The longest time between two faults.
    pub(crate) pause_max_ms: u64,
    /// Only these faults; `None` = all.
    pub(crate) only: Option<&'static [Strike]>,
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) trace: Trace,
    pub(crate) random: Arc<Mutex<StdRng>>,
    pub(crate) network: SimulatedNetwork,
    pub(crate) store: SimulatedStore,
    pub(crate) objects: FaultyObjects,
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) history: History,
    pub(crate) removals: Removals,
    pub(crate) stopping: AtomicBool,
}

impl World {
    pub(crate) async fn new(seed: u64, options: Options) -> Arc<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let trace = Trace::new();
        let began = Instant::now();
        let store = SimulatedStore::without_faults();
        let record = CellRecord {
            cell: "testcell".into(),
            slots: SLOTS,
            hash: "xxh3-64".into(),
            account: AccountId::checked(1).expect("one digit"),
            region: "us-east-1".into(),
        };
        let put = Transaction::new().then(Write::Put(keys::CELL.to_owned(), record.encode()));
        store.commit(put).await.expect("no faults yet");
        let machine = |id: u32, random: &mut StdRng| {
            Arc::new(Machine {
                id: NodeId::new(id),
                platter: Mutex::new(ForgetfulDisk::new()),
                clock: Arc::new(SimulatedClock::new(began, random.random_range(-200..200))),
                process: Mutex::new(None),
                starting: AtomicBool::new(false),
                cut_off: Arc::new(AtomicBool::new(false)),
                replies_lost: Arc::new(AtomicI64::new(0)),
                slow_operations: Arc::new(AtomicI64::new(0)),
                slow_until: Arc::new(Mutex::new(began)),
            })
        };
        let machines = (1..=options.machines).map(|id| machine(id, &mut random)).collect();
        let network = SimulatedNetwork::new(random.random(), trace.clone());
        Arc::new(Self {
            options,
            trace,
            network,
            removals: Removals::new(store.clone()),
            store,
            objects: FaultyObjects::new(),
            machines,
            history: History::default(),
            random: Arc::new(Mutex::new(random)),
            stopping: AtomicBool::new(false),
        })
    }

    /// The whole run; the error is a violation.
    pub(crate) async fn run(self: &Arc<Self>) -> Result<(), String> {
        for machine in &self.machines {
            machine.start(self).await;
        }
        self.until_open().await?;
        let clients = clients::start(self);
        let backup = self.options.restored.then(|| restore::back_up(self));
        faults::strike(self).await;
        self.heal().await?;
        if let Some(backup) = backup {
            let backup = backup.await.map_err(|error| format!("no backup: {error}"))?;
            restore::restore(self, backup).await?;
        }
        sleep(Duration::from_secs(3)).await;
        self.stopping.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.map_err(|error| format!("a client broke: {error}"))?;
        }
        self.until_open().await?;
        self.until_copied().await?;
        checker::check(self).await
    }

    /// Takes everything down, so that nothing of one run is left in the next.
    pub(crate) async fn end(self: &Arc<Self>) {
        for machine in &self.machines {
            machine.kill(self, None).await;
        }
        self.network.end();
    }

    pub(crate) fn draw(&self) -> u64 {
        self.random.lock().expect("no panic under the lock").random()
    }

    pub(crate) fn between(&self, from: u64, to: u64) -> u64 {
        self.random.lock().expect("no panic under the lock").random_range(from..to)
    }

    pub(crate) fn store_of(&self, machine: &Machine) -> SimulatedStore {
        store_client(&self.store, machine, self)
    }

    pub(crate) fn machine(&self, node: NodeId) -> &Arc<Machine> {
        &self.machines[node.get() as usize - 1]
    }

    /// A process registers; its lease lives as long as it does.
    pub(crate) async fn register(&self, node: NodeId, incarnation: Incarnation) {
        let record = NodeRecord {
            node,
            incarnation,
            address: format!("node-{node}"),
            zone: format!("zone-{node}"),
            draining: false,
        };
        let put = Transaction::new().then(Write::Put(keys::node(node), record.encode()));
        self.store.commit(put).await.expect("the store itself does not fail");
    }

    /// The process is gone; its key goes when the lease runs out, unless the next process has registered.
    pub(crate) fn lease_ends(self: &Arc<Self>, node: NodeId) {
        let world = Arc::clone(self);
        tokio::spawn(async move {
            let key = keys::node(node);
            let before = world.store.get(&key).await.expect("the store itself does not fail");
            sleep(LEASE).await;
            if let Some(before) = before {
                let delete = Transaction::new()
                    .when(Compare::Unchanged(key.clone(), before.modified))
                    .then(Write::Delete(key));
                world.store.commit(delete).await.expect("the store itself does not fail");
            }
        });
    }

    /// The owner of a slot by its key.
    pub(crate) async fn owner(&self, slot: SlotId) -> Option<WalId> {
        let entry = self.store.get(&keys::slot(slot)).await.expect("the store itself does not fail")?;
        Some(SlotRecord::decode(&entry.value).expect("a slot record").owner)
    }

    /// The running node that owns a slot by its key.
    pub(crate) async fn owning_node(&self, slot: SlotId) -> Option<Arc<Node>> {
        let owner = self.owner(slot).await?;
        let node = self.machines.iter().find(|machine| machine.id == owner.node)?.node()?;
        (node.wal() == owner).then_some(node)
    }

    /// Nothing fails any more, and whatever is down comes up.
    pub(crate) async fn heal(self: &Arc<Self>) -> Result<(), String> {
        self.trace.note("everything heals");
        self.network.heal();
        self.objects.fail_all(None);
        for machine in &self.machines {
            machine.cut_off.store(false, Ordering::SeqCst);
            machine.replies_lost.store(0, Ordering::SeqCst);
            machine.slow_operations.store(0, Ordering::SeqCst);
            let process = machine.process.lock().expect("no panic under the lock").clone();
            if let Some(process) = process {
                process.disk.spare();
                if process.is_dead() {
                    machine.kill(self, None).await;
                }
            }
            if !machine.is_up() {
                machine.start(self).await;
            }
        }
        // What is on its way to the metadata store takes as long as it takes; bounds hold from then on.
        for machine in &self.machines {
            let slow_until = *machine.slow_until.lock().expect("no panic under the lock");
            tokio::time::sleep_until(slow_until).await;
        }
        self.until_open().await
    }

    /// Waits until every log has all its copies: a node that is well again is a mirror again.
    async fn until_copied(&self) -> Result<(), String> {
        let since = Instant::now();
        let mut few = Vec::new();
        while since.elapsed() < HEALED_WITHIN {
            few.clear();
            for node in self.machines.iter().filter_map(|machine| machine.node()) {
                let entry =
                    self.store.get(&keys::wal(node.wal())).await.expect("the store itself does not fail");
                let record = entry.map(|entry| WalRecord::decode(&entry.value).expect("a WAL record"));
                let copies = record.and_then(|record| Some(record.fragments.last()?.ensemble.len()));
                if copies != Some(self.machines.len()) {
                    few.push((node.wal(), copies));
                }
            }
            if few.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("too few copies although nothing fails: {few:?}"))
    }

    /// Waits until every slot is open.
    pub(crate) async fn until_open(&self) -> Result<(), String> {
        let since = Instant::now();
        while since.elapsed() < HEALED_WITHIN {
            let mut open = 0;
            for machine in &self.machines {
                open += machine.node().map_or(0, |node| node.open_slots());
            }
            if open == usize::from(SLOTS) {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err("the slots are not all open although nothing fails".to_owned())
    }
}
