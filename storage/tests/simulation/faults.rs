//! What goes wrong, drawn from the seed. No fault takes more than the protocol promises to stand: processes die at any moment and
//! number, machines lose power, but a disk is lost only while two other copies live.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headgate_log::store::{Fault, StoreCall};
use headgate_metadata::id::{NodeId, SlotId};
use headgate_metadata::keys;
use headgate_metadata::record::{PlacementRecord, Record, WalRecord};
use headgate_metadata::store::{MetadataStore, Transaction, Write};
use tokio::time::sleep;

use crate::process::Machine;
use crate::world::{SLOTS, World};

/// What can be done to the world at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Strike {
    Kill,
    /// What was not synced is lost or torn.
    PowerCut,
    /// Within its next writes.
    DyingDisk,
    PowerCutEverywhere,
    /// Between two nodes; one way or both.
    LinkCut,
    CutOffFromPeers,
    CutOffFromMetadata,
    /// Replies and requests of transactions are lost.
    LostTransactions,
    /// Requests of one node to the metadata store, or the replies, take seconds.
    SlowMetadata,
    SlowNode,
    StoreAway,
    /// With the reply of a PUT lost, and a clock that is off.
    Moves,
    /// Death right after something was decided.
    Ambush,
    /// A power cut right after the WAL of the victim has got other members, or was sealed.
    AmbushOfOwner,
    /// What nodes do now and then, now.
    Tidy,
    LostDisk,
}

impl Strike {
    /// As often as each is drawn where all are.
    #[rustfmt::skip]
    const ALL: [Self; 18] = [
        Self::Kill, Self::Kill, Self::PowerCut, Self::DyingDisk, Self::PowerCutEverywhere, Self::LinkCut, Self::LinkCut,
        Self::CutOffFromPeers, Self::CutOffFromMetadata, Self::LostTransactions, Self::SlowMetadata, Self::SlowNode,
        Self::StoreAway, Self::Moves, Self::Ambush, Self::Ambush, Self::Tidy, Self::LostDisk,
    ];
}

/// Strikes as often as the options say.
pub(crate) async fn strike(world: &Arc<World>) {
    for _ in 0..world.options.faults {
        sleep(Duration::from_millis(world.between(100, world.options.pause_max_ms))).await;
        bury_the_dead(world).await;
        strike_once(world).await;
    }
    sleep(Duration::from_millis(world.between(100, 2500))).await;
}

/// A process that stopped by itself is restarted by whoever runs it, after a while.
async fn bury_the_dead(world: &Arc<World>) {
    for machine in &world.machines {
        let process = machine.process.lock().expect("no panic under the lock").clone();
        if process.is_some_and(|process| process.is_dead()) {
            world.trace.note(format_args!("process of {} is dead", machine.id));
            machine.kill(world, Some(world.draw())).await;
            let (world, machine) = (Arc::clone(world), Arc::clone(machine));
            tokio::spawn(async move { restart_later(&world, &machine).await });
        }
    }
}

async fn restart_later(world: &Arc<World>, machine: &Arc<Machine>) {
    sleep(Duration::from_millis(world.between(50, 8000))).await;
    if !machine.is_up() {
        world.trace.note(format_args!("process of {} starts", machine.id));
        machine.start(world).await;
    }
}

fn any(world: &World) -> Arc<Machine> {
    Arc::clone(&world.machines[world.between(0, world.machines.len() as u64) as usize])
}

async fn strike_once(world: &Arc<World>) {
    let machine = any(world);
    let node = machine.id;
    let strikes = world.options.only.unwrap_or(&Strike::ALL);
    match strikes[world.between(0, strikes.len() as u64) as usize] {
        Strike::Kill => {
            world.trace.note(format_args!("kill {node}"));
            machine.kill(world, None).await;
            let world = Arc::clone(world);
            tokio::spawn(async move { restart_later(&world, &machine).await });
        }
        Strike::PowerCut => {
            world.trace.note(format_args!("power cut at {node}"));
            machine.kill(world, Some(world.draw())).await;
            let world = Arc::clone(world);
            tokio::spawn(async move { restart_later(&world, &machine).await });
        }
        Strike::DyingDisk => {
            let process = machine.process.lock().expect("no panic under the lock").clone();
            if let Some(process) = process {
                let operations = world.between(0, 40);
                world.trace.note(format_args!("{node} dies after {operations} disk operations"));
                process.disk.die_after(operations as i64);
            }
        }
        Strike::PowerCutEverywhere => {
            world.trace.note("power cut everywhere");
            for machine in &world.machines {
                machine.kill(world, Some(world.draw())).await;
            }
            for machine in &world.machines {
                sleep(Duration::from_millis(world.between(10, 2000))).await;
                if !machine.is_up() {
                    machine.start(world).await;
                }
            }
        }
        Strike::LinkCut => {
            let other = any(world).id;
            let both = world.between(0, 2) == 0;
            world.trace.note(format_args!("link {node} → {other} cut, both ways: {both}"));
            world.network.block(node, other);
            if both {
                world.network.block(other, node);
            }
            heal_links_later(world);
        }
        Strike::CutOffFromPeers => {
            world.trace.note(format_args!("{node} cut off from its peers"));
            for other in world.machines.iter().map(|machine| machine.id).filter(|other| *other != node) {
                world.network.block(node, other);
                world.network.block(other, node);
            }
            heal_links_later(world);
        }
        Strike::CutOffFromMetadata => {
            world.trace.note(format_args!("{node} cut off from the metadata store"));
            machine.cut_off.store(true, Ordering::SeqCst);
            let (world, after) = (Arc::clone(world), world.between(200, 6000));
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                world.trace.note(format_args!("{node} reaches the metadata store"));
                machine.cut_off.store(false, Ordering::SeqCst);
            });
        }
        Strike::LostTransactions => {
            let count = world.between(1, 4);
            world.trace.note(format_args!("{count} transactions of {node} lose their way"));
            machine.replies_lost.store(count as i64, Ordering::SeqCst);
        }
        Strike::SlowMetadata => {
            let count = world.between(1, 8);
            world.trace.note(format_args!("{count} operations of {node} in the metadata store take long"));
            machine.slow_operations.store(count as i64, Ordering::SeqCst);
        }
        Strike::SlowNode => {
            world.trace.note(format_args!("{node} is slow"));
            // Some so slow that they are taken for silent, some just not.
            let by = if world.between(0, 2) == 0 { world.between(20, 240) } else { world.between(240, 900) };
            world.network.slow(node, Duration::from_millis(by));
            heal_links_later(world);
        }
        Strike::StoreAway => {
            world.trace.note("object store refuses");
            world.objects.fail_all(Some(Fault::Unavailable));
            let (world, after) = (Arc::clone(world), world.between(500, 20_000));
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                world.trace.note("object store answers");
                world.objects.fail_all(None);
            });
        }
        Strike::Moves => {
            world.objects.fail_next(StoreCall::Put, Fault::LostReply);
            machine.clock.skew(world.between(0, 1000) as i64 - 500);
            move_slots(world, node).await;
        }
        Strike::Ambush => ambush(world).await,
        Strike::AmbushOfOwner => ambush_owner(world).await,
        Strike::Tidy => {
            world.trace.note(format_args!("{node} tidies up"));
            tokio::spawn(tidy(machine));
        }
        Strike::LostDisk => lose_disk(world, &machine).await,
    }
}

fn heal_links_later(world: &Arc<World>) {
    let (world, after) = (Arc::clone(world), world.between(200, 8000));
    tokio::spawn(async move {
        sleep(Duration::from_millis(after)).await;
        world.trace.note("links heal");
        world.network.heal();
    });
}

/// Everything that a node does now and then, at once; garbage is looked for twice, a grace period apart.
async fn tidy(machine: Arc<Machine>) {
    let Some(node) = machine.node() else { return };
    for _ in 0..2 {
        drop(node.flush_now().await);
        drop(node.write_manifests_now().await);
        drop(node.collect_garbage_now().await);
        sleep(Duration::from_millis(2500)).await;
    }
}

/// A process is killed, or its machine loses power, in the very moment after something was decided in the metadata store: that is
/// where a protocol breaks that only nearly holds.
async fn ambush(world: &Arc<World>) {
    let prefix = [keys::WALS, keys::SLOTS, "flushed/"][world.between(0, 3) as usize];
    let Some(key) = next_change(world, prefix).await else { return };
    // Mostly whoever owns what changed.
    let victim = match owner_of(world, &key) {
        Some(owner) if prefix != keys::SLOTS && world.between(0, 3) > 0 => owner,
        _ => any(world),
    };
    let power = (world.between(0, 2) == 0).then(|| world.draw());
    strike_down(world, victim, power, &key).await;
}

async fn ambush_owner(world: &Arc<World>) {
    let Some(key) = next_change(world, keys::WALS).await else { return };
    let Some(victim) = owner_of(world, &key) else { return };
    strike_down(world, victim, Some(world.draw()), &key).await;
}

/// The key that changes next, if one does soon; known within milliseconds.
async fn next_change(world: &Arc<World>, prefix: &str) -> Option<String> {
    let from = world.store.revision().await.expect("the store itself does not fail");
    let mut watch = world.store.watch(prefix, from).await.ok()?;
    let changes = tokio::time::timeout(Duration::from_secs(4), watch.next()).await;
    let key = changes.ok()?.ok()?.events.first()?.key.clone();
    sleep(Duration::from_micros(world.between(0, 4000))).await;
    Some(key)
}

/// The machine of which the node number stands in the key of a WAL.
fn owner_of(world: &World, key: &str) -> Option<Arc<Machine>> {
    let node = key.split(['/', '-']).nth(1)?.parse().ok().map(NodeId::new)?;
    world.machines.iter().find(|machine| machine.id == node).cloned()
}

async fn strike_down(world: &Arc<World>, victim: Arc<Machine>, power: Option<u64>, after: &str) {
    world.trace.note(format_args!("{} dies right after `{after}` changed", victim.id));
    victim.kill(world, power).await;
    let world = Arc::clone(world);
    tokio::spawn(async move { restart_later(&world, &victim).await });
}

/// Some slots are told to live on a node.
async fn move_slots(world: &World, to: NodeId) {
    let mut transaction = Transaction::new();
    for slot in 0..SLOTS {
        if world.between(0, 2) == 0 {
            let record = PlacementRecord { node: to };
            transaction = transaction.then(Write::Put(keys::placement(SlotId::new(slot)), record.encode()));
        }
    }
    world.trace.note(format_args!("{} slots are told to live on {to}", transaction.writes.len()));
    world.store.commit(transaction).await.expect("the store itself does not fail");
}

/// Whether every WAL that is not flushed has two copies elsewhere: the protocol promises to stand the loss of one at a time.
pub(crate) async fn is_expendable(world: &Arc<World>, machine: &Arc<Machine>) -> bool {
    let entries = world.store.list(keys::WALS).await.expect("the store itself does not fail");
    for entry in entries {
        let record = WalRecord::decode(&entry.value).expect("a WAL record");
        let ensemble = record.fragments.last().map(|last| last.ensemble.clone()).unwrap_or_default();
        let mut live = 0;
        for (node, incarnation) in ensemble.iter().filter(|(node, _)| *node != machine.id) {
            let registered =
                world.store.get(&keys::node(*node)).await.expect("the store itself does not fail");
            let registered =
                registered.and_then(|entry| headgate_metadata::record::NodeRecord::decode(&entry.value).ok());
            let is_owner = *node == record.wal.node;
            let is_live = world.machine(*node).is_up()
                && registered.is_some_and(|registered| is_owner || registered.incarnation == *incarnation);
            live += usize::from(is_live);
        }
        if live < 2 {
            return false;
        }
    }
    true
}

/// A node is lost with its disk, if it may be.
async fn lose_disk(world: &Arc<World>, machine: &Arc<Machine>) {
    if !is_expendable(world, machine).await {
        return;
    }
    world.trace.note(format_args!("{} is lost with its disk", machine.id));
    machine.kill(world, None).await;
    machine.lose_disk();
    let (world, machine) = (Arc::clone(world), Arc::clone(machine));
    tokio::spawn(async move { restart_later(&world, &machine).await });
}
