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

/// Strikes as often as the options say.
pub(crate) async fn strike(world: &Arc<World>) {
    for _ in 0..world.options.faults {
        sleep(Duration::from_millis(world.between(100, 2500))).await;
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
    match world.between(0, 17) {
        0 | 1 => {
            world.trace.note(format_args!("kill {node}"));
            machine.kill(world, None).await;
            let world = Arc::clone(world);
            tokio::spawn(async move { restart_later(&world, &machine).await });
        }
        2 => {
            world.trace.note(format_args!("power cut at {node}"));
            machine.kill(world, Some(world.draw())).await;
            let world = Arc::clone(world);
            tokio::spawn(async move { restart_later(&world, &machine).await });
        }
        3 => {
            let process = machine.process.lock().expect("no panic under the lock").clone();
            if let Some(process) = process {
                let operations = world.between(0, 40);
                world.trace.note(format_args!("{node} dies after {operations} disk operations"));
                process.disk.die_after(operations as i64);
            }
        }
        4 => {
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
        5 | 6 => {
            let other = any(world).id;
            let both = world.between(0, 2) == 0;
            world.trace.note(format_args!("link {node} → {other} cut, both ways: {both}"));
            world.network.block(node, other);
            if both {
                world.network.block(other, node);
            }
            heal_links_later(world);
        }
        7 => {
            world.trace.note(format_args!("{node} cut off from its peers"));
            for other in world.machines.iter().map(|machine| machine.id).filter(|other| *other != node) {
                world.network.block(node, other);
                world.network.block(other, node);
            }
            heal_links_later(world);
        }
        8 => {
            world.trace.note(format_args!("{node} cut off from the metadata store"));
            machine.cut_off.store(true, Ordering::SeqCst);
            let (world, after) = (Arc::clone(world), world.between(200, 6000));
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                world.trace.note(format_args!("{node} reaches the metadata store"));
                machine.cut_off.store(false, Ordering::SeqCst);
            });
        }
        9 => {
            let count = world.between(1, 4);
            world.trace.note(format_args!("{count} transactions of {node} lose their way"));
            machine.replies_lost.store(count as i64, Ordering::SeqCst);
        }
        10 => {
            world.trace.note(format_args!("{node} is slow"));
            world.network.slow(node, Duration::from_millis(world.between(100, 900)));
            heal_links_later(world);
        }
        11 => {
            world.trace.note("object store refuses");
            world.objects.fail_all(Some(Fault::Unavailable));
            let (world, after) = (Arc::clone(world), world.between(500, 20_000));
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                world.trace.note("object store answers");
                world.objects.fail_all(None);
            });
        }
        12 => {
            world.objects.fail_next(StoreCall::Put, Fault::LostReply);
            machine.clock.skew(world.between(0, 1000) as i64 - 500);
            move_slots(world, node).await;
        }
        13 | 14 => ambush(world).await,
        15 => {
            world.trace.note(format_args!("{node} tidies up"));
            tokio::spawn(tidy(machine));
        }
        _ => lose_disk(world, &machine).await,
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
    let from = world.store.revision().await.expect("the store itself does not fail");
    let Ok(mut watch) = world.store.watch(prefix, from).await else { return };
    let changes = tokio::time::timeout(Duration::from_secs(4), watch.next()).await;
    let Ok(Ok(changes)) = changes else { return };
    let Some(event) = changes.events.first() else { return };
    sleep(Duration::from_micros(world.between(0, 4000))).await;
    // Mostly whoever owns what changed.
    let owner = event.key.split(['/', '-']).nth(1).and_then(|node| node.parse().ok()).map(NodeId::new);
    let owner = owner.filter(|owner| world.machines.iter().any(|machine| machine.id == *owner));
    let victim = match owner {
        Some(owner) if prefix != keys::SLOTS && world.between(0, 3) > 0 => Arc::clone(world.machine(owner)),
        _ => any(world),
    };
    let power = (world.between(0, 2) == 0).then(|| world.draw());
    world.trace.note(format_args!("{} dies right after `{}` changed", victim.id, event.key));
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
