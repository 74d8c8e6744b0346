//! The metadata store goes back in time: restored from a backup under running processes or while all are down, at times with one machine
//! lost for good; then rebuilt, and everything starts again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headgate_log::disk::Disk;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::simulated::Backup;
use headgate_storage::rebuild::{Holdings, OnLoss, Rebuild};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::faults::is_expendable;
use crate::process::Machine;
use crate::support::START_MS;
use crate::world::World;

/// How long a node may take to notice that the store went back.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than a lease, and than any request of a dead process is on its way.
const SETTLED: Duration = Duration::from_secs(7);

/// Takes a backup at some moment of the run.
pub(crate) fn back_up(world: &Arc<World>) -> JoinHandle<Backup> {
    let (world, after) = (Arc::clone(world), world.between(0, 15_000));
    tokio::spawn(async move {
        sleep(Duration::from_millis(after)).await;
        world.trace.note("backup of the metadata store");
        world.store.backup()
    })
}

/// Puts the store back, and brings everything up again. The error is a violation.
pub(crate) async fn restore(world: &Arc<World>, backup: Backup) -> Result<(), String> {
    let is_live = world.between(0, 2) == 0;
    let lost = match world.between(0, 4) {
        0 => Some(Arc::clone(&world.machines[world.between(0, 3) as usize])),
        _ => None,
    };
    let lost = match lost {
        Some(machine) if is_expendable(world, &machine).await => Some(machine),
        _ => None,
    };
    if is_live {
        world.trace.note("the metadata store goes back in time under running nodes");
        world.store.restore(backup.clone());
        until_noticed(world).await?;
        kill_all(world).await;
        refuse_to_start(world).await?;
    }
    kill_all(world).await;
    sleep(SETTLED).await;
    if !is_live {
        world.trace.note("the metadata store goes back in time while all nodes are down");
        world.store.restore(backup);
    }
    if let Some(machine) = &lost {
        world.trace.note(format_args!("{} is lost with its disk", machine.id));
        machine.lose_disk();
    }
    rebuild(world, lost.as_deref()).await?;
    for machine in &world.machines {
        sleep(Duration::from_millis(world.between(10, 2000))).await;
        machine.start(world).await;
    }
    world.until_open().await
}

/// Every process stops by itself.
async fn until_noticed(world: &World) -> Result<(), String> {
    let since = Instant::now();
    while since.elapsed() < NOTICED_WITHIN {
        let running = world.machines.iter().filter(|machine| {
            let process = machine.process.lock().expect("no panic under the lock").clone();
            process.is_some_and(|process| !process.is_dead())
        });
        if running.count() == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err("a node goes on although the metadata store went back in time".to_owned())
}

async fn kill_all(world: &Arc<World>) {
    let has_power = world.between(0, 2) == 0;
    for machine in &world.machines {
        let power_seed = (!has_power).then(|| world.draw());
        machine.kill(world, power_seed).await;
    }
}

/// Whoever runs the processes starts them again and again: none comes up.
async fn refuse_to_start(world: &Arc<World>) -> Result<(), String> {
    for machine in &world.machines {
        machine.start(world).await;
    }
    sleep(Duration::from_millis(world.between(1000, 8000))).await;
    match world.machines.iter().find(|machine| machine.node().is_some()) {
        Some(machine) => Err(format!("{} starts on a metadata store that went back in time", machine.id)),
        None => Ok(()),
    }
}

async fn rebuild(world: &World, lost: Option<&Machine>) -> Result<(), String> {
    let mut given = Vec::new();
    for machine in world.machines.iter().filter(|machine| lost.is_none_or(|lost| lost.id != machine.id)) {
        let disk: Arc<dyn Disk> = Arc::new(machine.platter.lock().expect("no panic under the lock").clone());
        let holdings = Holdings::read(&disk, Path::new("/wal"), Some(machine.id));
        given.push(holdings.map_err(|error| format!("holdings of {}: {error}", machine.id))?);
    }
    let decide = async || {
        let (random, now) = (world.draw(), TimestampMs::new(START_MS));
        let objects = world.objects.store();
        let decided = Rebuild::decide(&world.store, &objects, &given, random, now).await;
        decided.map_err(|error| format!("no rebuild: {error}"))
    };
    let rebuild = decide().await?;
    world.trace.note(format_args!("rebuilt:\n{rebuild}"));
    let written = rebuild.write(&world.store, OnLoss::Refuse).await;
    written.map_err(|error| format!("not rebuilt: {error}\n{rebuild}"))?;
    let again = decide().await?.write(&world.store, OnLoss::Refuse).await;
    match again {
        Ok(0) => Ok(()),
        other => Err(format!("a second rebuild is not the same: {other:?}")),
    }
}
