//! The metadata store goes back in time: restored from a backup under running processes or while all are down, at times with one machine
//! lost for good; then rebuilt, and everything starts again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headgate_log::disk::Disk;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::simulated::Backup;
use headgate_metadata::store::{MetadataStore as _, Transaction, Write};
use headgate_storage::rebuild::{Holdings, OnLoss, Rebuild};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::faults::is_expendable;
use crate::process::Machine;
use crate::support::START_MS;
use crate::world::World;

/// How long a node takes at most to notice that the store went back.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// Changes after the backup: more than all attempts to start make, which change the store too.
const CHANGES: u32 = 400;
/// How long news of the metadata store take to reach every node.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// Longer than a lease, and than any request of a dead process is on its way.
const SETTLED: Duration = Duration::from_secs(9);

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
        everybody_has_seen_more(world).await?;
        world.trace.note("the metadata store goes back in time under running nodes");
        world.store.restore(backup.clone());
        until_noticed(world).await?;
        kill_all(world).await;
        refuse_to_start(world).await?;
    }
    // Also those that whoever runs them starts again once more.
    for _ in 0..2 {
        kill_all(world).await;
        sleep(SETTLED).await;
    }
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

/// All nodes run, and have seen something that the backup does not know. One that was down and starts on the old store before any other
/// has noticed cannot know better.
async fn everybody_has_seen_more(world: &Arc<World>) -> Result<(), String> {
    world.until_open().await?;
    for _ in 0..CHANGES {
        let put = Transaction::new().then(Write::Put("port/09100".to_owned(), "after the backup".into()));
        world.store.commit(put).await.map_err(|error| error.to_string())?;
    }
    sleep(SEEN_WITHIN).await;
    Ok(())
}

/// Every process stops by itself.
async fn until_noticed(world: &Arc<World>) -> Result<(), String> {
    let since = Instant::now();
    let mut running = world.machines.clone();
    while since.elapsed() < NOTICED_WITHIN {
        for machine in std::mem::take(&mut running) {
            let process = machine.process.lock().expect("no panic under the lock").clone();
            if process.is_some_and(|process| process.is_dead()) {
                // A process that has given up ends at once.
                machine.kill(world, None).await;
            } else if machine.is_up() {
                running.push(machine);
            }
        }
        if running.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
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
