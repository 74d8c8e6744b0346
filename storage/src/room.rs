//! Room for appends: bounded queued bytes per cluster, and producers slowed in grades before the disk is full
//! (`storage/PROTOCOL.md` §2.2).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use headgate_log::wal::WalWriter;
use headgate_metadata::id::ClusterId;
use headgate_storage_client::{Reservation, Unavailable};
use tokio::sync::Semaphore;
use tracing::{info, warn};

/// How long a reservation waits when the disk is as good as full. Longer would exceed the patience of clients.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Tells the free bytes of the disk a path lies on; `None` = unknown. A seam: tests fill a disk without filling one.
pub type FreeSpace = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// The file system's own answer.
pub fn system_free_space() -> FreeSpace {
    Arc::new(|path| rustix::fs::statvfs(path).ok().map(|space| space.f_bavail.saturating_mul(space.f_frsize)))
}

/// Whether the next write group finds room, asked *before* offsets are assigned: afterwards it would be too late to refuse.
#[derive(Clone)]
pub(crate) struct DiskRoom {
    pub(crate) free_space: FreeSpace,
    pub(crate) dir: PathBuf,
    pub(crate) chunk_bytes: u64,
}

impl DiskRoom {
    /// Chunks are preallocated, so only a group that needs a new one asks the file system.
    pub(crate) fn admits(&self, writer: &WalWriter, group_bytes: u64) -> bool {
        let used = writer.chunk_start().map(|start| writer.position().get() - start.get());
        if used.is_some_and(|used| used + group_bytes <= self.chunk_bytes) {
            return true;
        }
        (self.free_space)(&self.dir).is_none_or(|free| free > self.chunk_bytes.max(group_bytes))
    }
}

/// What a disk of that fullness means for producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing.
    None,
    /// Each reservation waits this long.
    Slowed(Duration),
    /// Appends are refused.
    Refused,
}

/// The grade for `free` bytes: from nothing at `slow` to [`DELAY_MAX`] at `refuse`, growing with the square, so that the
/// first grades are hardly felt and the last ones are.
pub(crate) fn pressure(free: u64, slow: u64, refuse: u64) -> Pressure {
    if free >= slow {
        return Pressure::None;
    }
    if free <= refuse {
        return Pressure::Refused;
    }
    let missing = (slow - free) as f64 / (slow - refuse) as f64;
    Pressure::Slowed(DELAY_MAX.mul_f64(missing * missing))
}

/// The node's room.
#[derive(Debug)]
pub(crate) struct Room {
    clusters: DashMap<ClusterId, Arc<Semaphore>>,
    bytes_max: u32,
    slow: u64,
    refuse: u64,
    free: AtomicU64,
}

impl Room {
    /// `bytes_max` per cluster; thresholds of free disk bytes.
    pub(crate) fn new(bytes_max: u64, slow: u64, refuse: u64) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        Self { clusters: DashMap::new(), bytes_max, slow, refuse, free: AtomicU64::new(u64::MAX) }
    }

    /// The fullest disk of this node and its mirrors has this much free space now. Whoever finds producers slow must find the
    /// reason in the log.
    pub(crate) fn observe_free(&self, free: u64) {
        let before = self.free.swap(free, Ordering::Relaxed);
        let grade = |free| pressure(free, self.slow, self.refuse);
        match (grade(before), grade(free)) {
            (Pressure::None | Pressure::Slowed(_), Pressure::Refused) => {
                warn!(
                    free_bytes = free,
                    disk_free_refuse_bytes = self.refuse,
                    "disk is full: appends are refused"
                );
            }
            (Pressure::None | Pressure::Refused, Pressure::Slowed(delay)) => {
                warn!(
                    free_bytes = free,
                    disk_free_slow_bytes = self.slow,
                    delay_ms = delay.as_millis() as u64,
                    "disk is filling up: every append waits, the longer the less is free"
                );
            }
            (Pressure::Slowed(_) | Pressure::Refused, Pressure::None) => {
                info!(free_bytes = free, "disk has room again: appends wait no longer");
            }
            _ => {}
        }
    }

    /// Whether the disk is too full for any append.
    pub(crate) fn refuses(&self) -> bool {
        self.pressure() == Pressure::Refused
    }

    fn pressure(&self) -> Pressure {
        pressure(self.free.load(Ordering::Relaxed), self.slow, self.refuse)
    }

    /// Waits for room. A request larger than the whole room gets all of it. Cancel safe.
    pub(crate) async fn reserve(&self, cluster: ClusterId, bytes: u64) -> Result<Reservation, Unavailable> {
        match self.pressure() {
            Pressure::None => {}
            Pressure::Slowed(delay) => tokio::time::sleep(delay).await,
            Pressure::Refused => return Err(Unavailable::Refused),
        }
        let semaphore = self.semaphore(cluster);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let permit = semaphore.acquire_many_owned(permits).await.map_err(|_| Unavailable::Refused)?;
        Ok(Reservation::new(Some(permit)))
    }

    fn semaphore(&self, cluster: ClusterId) -> Arc<Semaphore> {
        if let Some(known) = self.clusters.get(&cluster) {
            return Arc::clone(&known);
        }
        let made = || Arc::new(Semaphore::new(self.bytes_max as usize));
        Arc::clone(&self.clusters.entry(cluster).or_insert_with(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_are_slowed_in_grades_before_they_are_refused() {
        assert_eq!(pressure(100, 100, 10), Pressure::None);
        assert_eq!(pressure(55, 100, 10), Pressure::Slowed(DELAY_MAX / 4));
        assert_eq!(pressure(10, 100, 10), Pressure::Refused);
        assert_eq!(pressure(0, 0, 0), Pressure::None);
    }

    #[tokio::test]
    async fn one_clusters_queued_bytes_do_not_take_anothers_room() {
        let room = Room::new(1000, 0, 0);
        let (first, second) = (ClusterId::from_random(1), ClusterId::from_random(2));
        let held = room.reserve(first, 1000).await.expect("there is room");
        let semaphore = room.semaphore(first);
        assert_eq!(semaphore.available_permits(), 0);
        room.reserve(second, 1000).await.expect("another cluster's room is its own");
        drop(held);
        assert_eq!(semaphore.available_permits(), 1000);
    }

    #[tokio::test]
    async fn a_request_larger_than_the_room_gets_all_of_it() {
        let room = Room::new(1000, 0, 0);
        room.reserve(ClusterId::from_random(1), 5000).await.expect("it gets what there is");
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_a_freed_one_takes_again() {
        let room = Room::new(1000, 100, 10);
        room.observe_free(5);
        assert!(matches!(room.reserve(ClusterId::from_random(1), 1).await, Err(Unavailable::Refused)));
        room.observe_free(200);
        assert!(room.reserve(ClusterId::from_random(1), 1).await.is_ok());
    }
}
