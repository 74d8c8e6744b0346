//! The memory of requests and responses in flight (`gateway/PROTOCOL.md` §6).
//!
//! Invariants: a frame's whole length is reserved before its first body byte is read; no cluster takes more than its cap of
//! the shared part; whatever others do, a cluster gets its guaranteed share, and so do strangers who have not yet
//! authenticated, out of a share of their own.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use headgate_metadata::id::ClusterId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Into how many parts the guaranteed share is thought divided for those who can do with fewer bytes.
const UP_TO_PARTS: u32 = 4;

/// The bytes of a process that may be in flight, divided among clusters.
#[derive(Debug)]
pub(crate) struct InflightBudget {
    shared: Arc<Semaphore>,
    strangers: Lane,
    lanes: DashMap<ClusterId, Weak<LanePermits>>,
    sizes: BudgetSizes,
}

/// How the budget is divided, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BudgetSizes {
    /// For all authenticated clusters together.
    pub(crate) shared: u64,
    /// The most one cluster takes of `shared`.
    pub(crate) cluster_cap: u64,
    /// What each cluster in use has beside `shared`.
    pub(crate) cluster_guarantee: u64,
    /// For all connections that have not authenticated.
    pub(crate) strangers: u64,
}

#[derive(Debug)]
struct LanePermits {
    guaranteed: Arc<Semaphore>,
    capped: Arc<Semaphore>,
}

/// One cluster's way to the budget. Cheap to clone; the cluster's share exists while a lane does.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    own: Arc<LanePermits>,
    shared: Arc<Semaphore>,
    /// The whole of the guaranteed share.
    guarantee: u32,
}

/// Bytes reserved; given back when dropped.
#[derive(Debug)]
pub(crate) struct InflightBytes {
    permits: [Option<OwnedSemaphorePermit>; 2],
}

impl InflightBudget {
    pub(crate) fn new(sizes: BudgetSizes) -> Self {
        let semaphore = |bytes: u64| Arc::new(Semaphore::new(bytes as usize));
        let none = semaphore(0);
        let strangers = Lane {
            own: Arc::new(LanePermits { guaranteed: semaphore(sizes.strangers), capped: Arc::clone(&none) }),
            shared: none,
            guarantee: u32::try_from(sizes.strangers).unwrap_or(u32::MAX),
        };
        Self { shared: semaphore(sizes.shared), strangers, lanes: DashMap::new(), sizes }
    }

    /// The lane of all who have not authenticated. It never draws from the shared part.
    pub(crate) fn strangers(&self) -> Lane {
        self.strangers.clone()
    }

    /// The cluster's lane.
    pub(crate) fn cluster(&self, cluster: ClusterId) -> Lane {
        let mut entry = self.lanes.entry(cluster).or_default();
        let own = entry.upgrade().unwrap_or_else(|| {
            let own = Arc::new(LanePermits {
                guaranteed: Arc::new(Semaphore::new(self.sizes.cluster_guarantee as usize)),
                capped: Arc::new(Semaphore::new(self.sizes.cluster_cap as usize)),
            });
            *entry = Arc::downgrade(&own);
            own
        });
        let guarantee = u32::try_from(self.sizes.cluster_guarantee).unwrap_or(u32::MAX);
        Lane { own, shared: Arc::clone(&self.shared), guarantee }
    }

    /// Bytes of the shared part that are in use.
    pub(crate) fn in_use_bytes(&self) -> u64 {
        self.sizes.shared.saturating_sub(self.shared.available_permits() as u64)
    }

    /// Forgets the shares of clusters that have no connection left.
    pub(crate) fn forget_unused(&self) {
        self.lanes.retain(|_, lane| lane.strong_count() > 0);
    }
}

impl Lane {
    /// Reserves at once, or not at all.
    pub(crate) fn try_reserve(&self, bytes: u32) -> Option<InflightBytes> {
        if let Ok(permit) = Arc::clone(&self.own.guaranteed).try_acquire_many_owned(bytes) {
            return Some(InflightBytes { permits: [Some(permit), None] });
        }
        let capped = Arc::clone(&self.own.capped).try_acquire_many_owned(bytes).ok()?;
        let shared = Arc::clone(&self.shared).try_acquire_many_owned(bytes).ok()?;
        Some(InflightBytes { permits: [Some(capped), Some(shared)] })
    }

    /// Waits its turn: first within its cluster's cap, then for the shared part; or for its guaranteed share, whichever has
    /// room first.
    pub(crate) async fn reserve(self, bytes: u32) -> InflightBytes {
        const OPEN: &str = "the budget's semaphores are never closed";
        if let Some(reserved) = self.try_reserve(bytes) {
            return reserved;
        }
        if self.is_strangers() {
            let permit = Arc::clone(&self.own.guaranteed).acquire_many_owned(bytes).await.expect(OPEN);
            return InflightBytes { permits: [Some(permit), None] };
        }
        let from_shared = async {
            let capped = Arc::clone(&self.own.capped).acquire_many_owned(bytes).await.expect(OPEN);
            let shared = Arc::clone(&self.shared).acquire_many_owned(bytes).await.expect(OPEN);
            InflightBytes { permits: [Some(capped), Some(shared)] }
        };
        let from_guaranteed = async {
            // More than the whole share never comes free, and must not keep others from it.
            if bytes > self.guarantee {
                return std::future::pending().await;
            }
            let permit = Arc::clone(&self.own.guaranteed).acquire_many_owned(bytes).await.expect(OPEN);
            InflightBytes { permits: [Some(permit), None] }
        };
        tokio::select! { biased; reserved = from_guaranteed => reserved, reserved = from_shared => reserved }
    }

    /// Reserves so many bytes if there is room now; else waits for a part of the guaranteed share, so that nobody needs the
    /// shared part to get on. Only a part: whoever waits for the whole share gathers everything that comes free, and meanwhile
    /// not even the smallest frame of the cluster gets in.
    pub(crate) async fn reserve_up_to(self, bytes: u32) -> InflightBytes {
        match self.try_reserve(bytes) {
            Some(reserved) => reserved,
            None if self.guarantee < UP_TO_PARTS => self.reserve(bytes).await,
            None => {
                let fewer = bytes.min(self.guarantee / UP_TO_PARTS);
                self.reserve(fewer).await
            }
        }
    }

    /// The lane that stands on its own share alone.
    fn is_strangers(&self) -> bool {
        Arc::ptr_eq(&self.own.capped, &self.shared)
    }
}

impl InflightBytes {
    /// How many they are.
    pub(crate) fn bytes(&self) -> u64 {
        self.permits.iter().flatten().next().map_or(0, |permit| permit.num_permits() as u64)
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        for permit in self.permits.iter_mut().flatten() {
            let surplus = (permit.num_permits() as u64).saturating_sub(bytes);
            drop(permit.split(surplus as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> InflightBudget {
        InflightBudget::new(BudgetSizes {
            shared: 100,
            cluster_cap: 60,
            cluster_guarantee: 10,
            strangers: 20,
        })
    }

    fn cluster(bits: u64) -> ClusterId {
        ClusterId::from_random(bits)
    }

    #[test]
    fn a_cluster_at_its_cap_leaves_room_for_others() {
        let budget = budget();
        let (first, second) = (budget.cluster(cluster(1)), budget.cluster(cluster(2)));
        let _held = first.try_reserve(60).expect("the cap is free");
        assert!(first.try_reserve(11).is_none(), "neither the cap nor the guarantee has room");
        assert!(second.try_reserve(40).is_some());
    }

    #[test]
    fn the_guaranteed_share_is_there_when_the_shared_part_is_full() {
        let budget = budget();
        let _full = (budget.cluster(cluster(1)).try_reserve(60), budget.cluster(cluster(2)).try_reserve(40));
        assert_eq!(budget.in_use_bytes(), 100);
        let late = budget.cluster(cluster(3));
        assert!(late.try_reserve(11).is_none());
        assert!(late.try_reserve(10).is_some());
    }

    #[test]
    fn strangers_never_touch_the_shared_part() {
        let budget = budget();
        let strangers = budget.strangers();
        let _held = strangers.try_reserve(20).expect("their share is free");
        assert!(strangers.try_reserve(1).is_none());
        assert_eq!(budget.in_use_bytes(), 0);
    }

    #[tokio::test]
    async fn a_stranger_waits_for_room_in_the_strangers_share() {
        let budget = budget();
        let held = budget.strangers().try_reserve(20).expect("their share is free");
        let mut waiting = Box::pin(budget.strangers().reserve(5));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        assert!(futures_util::poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_guaranteed_share_when_it_is_free_again() {
        let budget = budget();
        let _full = (budget.cluster(cluster(1)).try_reserve(60), budget.cluster(cluster(2)).try_reserve(40));
        let late = budget.cluster(cluster(3));
        let held = late.try_reserve(10).expect("the guarantee is free");
        let mut waiting = Box::pin(late.clone().reserve(5));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        assert!(futures_util::poll!(&mut waiting).is_ready(), "others hold the shared part for ever");
    }

    #[tokio::test]
    async fn what_can_do_with_less_leaves_room_for_small_frames() {
        let budget = budget();
        let _full = (budget.cluster(cluster(1)).try_reserve(60), budget.cluster(cluster(2)).try_reserve(40));
        let lane = budget.cluster(cluster(3));
        let _drips = lane.try_reserve(5).expect("half of the guarantee is free");
        let fetch = lane.clone().reserve_up_to(50).await;
        assert_eq!(fetch.bytes(), 2);
        assert!(lane.try_reserve(3).is_some(), "a small frame gets in beside the fetch");
    }

    #[tokio::test]
    async fn what_can_do_with_less_gets_the_guaranteed_share_when_the_shared_part_is_full() {
        let budget = budget();
        let _full = (budget.cluster(cluster(1)).try_reserve(60), budget.cluster(cluster(2)).try_reserve(40));
        let mut reserving = Box::pin(budget.cluster(cluster(3)).reserve_up_to(50));
        let std::task::Poll::Ready(reserved) = futures_util::poll!(&mut reserving) else {
            panic!("the guaranteed share is free");
        };
        assert_eq!(reserved.bytes(), 2);
        drop(reserved);
        assert_eq!(budget.cluster(cluster(3)).reserve_up_to(7).await.bytes(), 7);
    }

    #[test]
    fn dropping_and_shrinking_give_bytes_back() {
        let budget = budget();
        let lane = budget.cluster(cluster(1));
        let mut held = lane.try_reserve(50).expect("free");
        held.shrink(20);
        assert_eq!(budget.in_use_bytes(), 20);
        drop(held);
        assert_eq!(budget.in_use_bytes(), 0);
    }

    #[test]
    fn a_cluster_without_connections_keeps_nothing() {
        let budget = budget();
        drop(budget.cluster(cluster(1)));
        budget.forget_unused();
        assert!(budget.lanes.is_empty());
    }
}
