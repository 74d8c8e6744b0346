//! Producers, readers and group members. Each does what a gateway lets a client do: find the owner, ask, retry what is safe.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headgate_metadata::id::{Offset, SlotId};
use headgate_storage::Node;
use headgate_storage_client::{
    Append, AppendError, CommitOffsets, FetchOffsets, GroupAddress, GroupError, Isolation, MemberIdentity,
    OffsetQuery, OffsetToCommit, PartitionAddress, PartitionRead, ReadError, ReadRequest, Storage,
};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::{Batch, caller, cluster, decode, partition};
use crate::world::World;

/// How long a client waits for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts all clients; they end when the world stops.
pub(crate) fn start(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let mut clients = Vec::new();
    for index in 0..world.options.producers {
        let at = partition(1 + u64::from(index % 2), index);
        clients.push(tokio::spawn(produce(Arc::clone(world), at, index)));
        clients.push(tokio::spawn(consume(Arc::clone(world), at)));
    }
    clients.push(tokio::spawn(commit(Arc::clone(world), 0)));
    clients
}

async fn pause(world: &World) {
    sleep(Duration::from_millis(world.between(5, 60))).await;
}

fn is_over(world: &World) -> bool {
    world.stopping.load(Ordering::SeqCst)
}

/// Sends values one after the other. An idempotent producer repeats one until it is acknowledged; another sends each once and
/// goes on.
async fn produce(world: Arc<World>, at: PartitionAddress, index: u32) {
    let idempotent = index % 4 != 3;
    world.history.with(at, |history| history.idempotent = idempotent);
    let mut sequence = 0_u32;
    while !is_over(&world) {
        let value = format!("p{index}-{sequence}-{}", "x".repeat(world.between(1, 600) as usize));
        world.history.with(at, |history| history.sent.push((value.clone(), None)));
        let mut batch = Batch::of(&[&value]);
        if idempotent {
            batch = batch.by(100 + u64::from(index), 0, sequence);
        }
        let mut sent = 0;
        loop {
            match append(&world, at, &batch).await {
                Told::Acknowledged(offset) => {
                    world.history.with(at, |history| {
                        if let Some(last) = history.sent.last_mut() {
                            last.1 = Some(offset);
                        }
                    });
                    break;
                }
                Told::Refused => {}
                Told::Unknown if !idempotent => break,
                Told::Unknown => sent += 1,
                Told::Wrong(error) => {
                    let text = format!("append {sequence} at {} answered {error} after {sent} tries", at.key);
                    world.history.with(at, |history| history.violations.push(text));
                    return;
                }
            }
            if is_over(&world) && sent > 50 {
                return;
            }
            pause(&world).await;
        }
        sequence += 1;
        pause(&world).await;
    }
}

enum Told {
    Acknowledged(u64),
    Refused,
    Unknown,
    Wrong(AppendError),
}

async fn append(world: &World, at: PartitionAddress, batch: &Batch) -> Told {
    let Some(node) = world.owning_node(at.slot).await else { return Told::Refused };
    let batch = batch.parse();
    let caller = caller(at.key.cluster);
    let Ok(Ok(reservation)) = timeout(PATIENCE, node.reserve(&caller, at.slot, batch.size_bytes())).await
    else {
        return Told::Refused;
    };
    let answer =
        timeout(PATIENCE, node.submit_append(&caller, Append { partition: at, batch, reservation })).await;
    match answer {
        Err(_) | Ok(None | Some(Err(AppendError::Unconfirmed))) => Told::Unknown,
        Ok(Some(Ok(appended))) => Told::Acknowledged(appended.base_offset.get()),
        Ok(Some(Err(AppendError::NotOwner | AppendError::Refused))) => Told::Refused,
        Ok(Some(Err(error))) => Told::Wrong(error),
    }
}

/// Reads on and on, from the owner by its key and now and then from whoever was the owner a moment ago.
async fn consume(world: Arc<World>, at: PartitionAddress) {
    let mut next = 0;
    let mut former: Option<Arc<Node>> = None;
    while !is_over(&world) {
        pause(&world).await;
        let Some(owner) = world.owning_node(at.slot).await else { continue };
        let node = match former.replace(Arc::clone(&owner)) {
            Some(former) if world.between(0, 4) == 0 => former,
            _ => owner,
        };
        if world.between(0, 6) == 0 {
            check_end(&world, &node, at).await;
        }
        let read = PartitionRead {
            partition: at,
            offset: Offset::new(next),
            bytes_max: 1 << 20,
            current_epoch: None,
        };
        let request =
            ReadRequest { partitions: vec![read], bytes_max: 1 << 20, isolation: Isolation::ReadUncommitted };
        let caller = caller(at.key.cluster);
        let Ok(mut outcomes) = timeout(PATIENCE, node.read(&caller, &request)).await else { continue };
        match outcomes.remove(0) {
            Ok(success) => {
                let records = decode(&success.records.concat());
                world.history.with(at, |history| {
                    history.high_watermark = history.high_watermark.max(success.high_watermark.get());
                    for (offset, value) in records {
                        if offset >= success.high_watermark.get() {
                            history.violations.push(format!("{offset} was served above the high watermark"));
                        }
                        next = next.max(offset + 1);
                        let before = history.seen.insert(offset, value.clone());
                        if before.is_some_and(|before| before != value) {
                            history.violations.push(format!("two readers saw different values at {offset}"));
                        }
                    }
                });
            }
            Err(ReadError::NotOwner | ReadError::Unreadable) => {}
            Err(error) => {
                let text = format!("read of {} at {next} answered {error}", at.key);
                world.history.with(at, |history| history.violations.push(text));
                return;
            }
        }
    }
}

/// The end that an owner tells must not lie below what was acknowledged before it was asked.
async fn check_end(world: &World, node: &Node, at: PartitionAddress) {
    let acknowledged = world.history.with(at, |history| {
        history.sent.iter().filter_map(|(_, offset)| *offset).max().map_or(0, |offset| offset + 1)
    });
    let query = OffsetQuery::Latest(Isolation::ReadUncommitted);
    let asked = timeout(PATIENCE, node.offsets_at(&caller(at.key.cluster), at, query)).await;
    if let Ok(Ok(found)) = asked {
        let end = found.offset.map_or(0, Offset::get);
        if end < acknowledged {
            let text = format!("{} ends at {end} by its owner, {acknowledged} was acknowledged", at.key);
            world.history.with(at, |history| history.violations.push(text));
        }
    }
}

/// Commits ever higher offsets for one group and reads them back.
async fn commit(world: Arc<World>, group: u32) {
    let at = partition(1, 0);
    let address =
        GroupAddress { cluster: cluster(1), group: format!("group-{group}").into(), slot: SlotId::new(3) };
    let mut offset = 0;
    while !is_over(&world) {
        pause(&world).await;
        let Some(node) = world.owning_node(address.slot).await else { continue };
        let caller = caller(address.cluster);
        if world.between(0, 2) == 0 {
            offset += 1;
            let commit = CommitOffsets {
                identity: MemberIdentity { member: "".into(), instance: None },
                generation: -1,
                offsets: vec![OffsetToCommit {
                    topic: at.key.topic,
                    partition: at.key.partition,
                    offset: Offset::new(offset),
                    epoch: None,
                    metadata: "".into(),
                }],
            };
            world.history.with_group(group, |history| history.commits.push((offset, false)));
            let told = timeout(PATIENCE, node.commit_offsets(&caller, &address, commit)).await;
            if matches!(told, Ok(Ok(()))) {
                world.history.with_group(group, |history| {
                    if let Some(last) = history.commits.last_mut() {
                        last.1 = true;
                    }
                });
            }
        } else {
            let acknowledged = world.history.with_group(group, |history| {
                history.commits.iter().filter(|(_, told)| *told).map(|(offset, _)| *offset).max().unwrap_or(0)
            });
            let fetch = FetchOffsets { identity: None, partitions: None };
            match timeout(PATIENCE, node.fetch_offsets(&caller, &address, fetch)).await {
                Ok(Ok(found)) => {
                    let found = found.first().map_or(0, |committed| committed.offset.get());
                    if found < acknowledged || found > offset {
                        let text = format!("the group stands at {found}, {acknowledged} was acknowledged");
                        world.history.with_group(group, |history| history.violations.push(text));
                    }
                }
                Ok(Err(GroupError::NotOwner | GroupError::Unconfirmed)) | Err(_) => {}
                Ok(Err(error)) => {
                    let text = format!("the group answered {error}");
                    world.history.with_group(group, |history| history.violations.push(text));
                }
            }
        }
    }
}
