//! The order point's queue: one FIFO per cluster, drained by deficit round robin (`storage/PROTOCOL.md` §2.1, §2.2).
//!
//! Invariants: operations of one cluster leave in the order they came; a cluster with much to do delays another's next
//! operation by at most one quantum per other active cluster. A cluster with nothing queued occupies nothing.
//! Source of the algorithm: Shreedhar and Varghese, "Efficient Fair Queueing using Deficit Round Robin" (1995).

use std::collections::{HashMap, VecDeque};

use headgate_metadata::id::ClusterId;

/// What a cluster may take per turn. Small against a write group, so that many clusters share one.
pub(crate) const QUANTUM_BYTES: u64 = 64 * 1024;
/// What an operation counts at least: even an empty one costs a record header and a wake-up.
const OPERATION_BYTES_MIN: u64 = 256;

/// The queue of one WAL's sequencer.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lanes: HashMap<ClusterId, Lane<T>>,
    /// Clusters with something queued, the next to be served first.
    active: VecDeque<ClusterId>,
    queued: usize,
}

#[derive(Debug)]
struct Lane<T> {
    fifo: VecDeque<(u64, T)>,
    deficit: u64,
    /// Its turn has begun (the quantum is granted) and was cut short by the end of the group.
    in_turn: bool,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), active: VecDeque::new(), queued: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Takes the operation's place in its cluster's queue.
    pub(crate) fn push(&mut self, cluster: ClusterId, bytes: u64, operation: T) {
        let lane = self.lanes.entry(cluster).or_insert_with(|| {
            self.active.push_back(cluster);
            Lane { fifo: VecDeque::new(), deficit: 0, in_turn: false }
        });
        lane.fifo.push_back((bytes.max(OPERATION_BYTES_MIN), operation));
        self.queued += 1;
    }

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Moves the next operations to `group`, about `limit` bytes of them and at least one if there is one.
    pub(crate) fn drain(&mut self, limit: u64, group: &mut Vec<T>) {
        let mut taken = 0;
        while let Some(cluster) = self.active.front().copied() {
            let Some(lane) = self.lanes.get_mut(&cluster) else {
                self.active.pop_front();
                continue;
            };
            if !lane.in_turn {
                lane.deficit += QUANTUM_BYTES;
                lane.in_turn = true;
            }
            while let Some((bytes, _)) = lane.fifo.front() {
                let bytes = *bytes;
                if bytes > lane.deficit {
                    break;
                }
                if taken > 0 && taken + bytes > limit {
                    return;
                }
                taken += bytes;
                lane.deficit -= bytes;
                self.queued -= 1;
                group.extend(lane.fifo.pop_front().map(|(_, operation)| operation));
            }
            lane.in_turn = false;
            self.active.pop_front();
            if lane.fifo.is_empty() {
                self.lanes.remove(&cluster);
            } else {
                self.active.push_back(cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(index: u64) -> ClusterId {
        ClusterId::from_random(index)
    }

    fn drained<T>(queue: &mut FairQueue<T>, limit: u64) -> Vec<T> {
        let mut group = Vec::new();
        queue.drain(limit, &mut group);
        group
    }

    #[test]
    fn operations_of_one_cluster_leave_in_the_order_they_came() {
        let mut queue = FairQueue::default();
        for operation in 0..1000 {
            queue.push(cluster(1), 5_000, operation);
        }
        let mut left = Vec::new();
        while !queue.is_empty() {
            queue.drain(100_000, &mut left);
        }
        assert_eq!(left, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_burst_of_one_cluster_does_not_keep_another_out_of_the_next_group() {
        let mut queue = FairQueue::default();
        for _ in 0..10_000 {
            queue.push(cluster(1), 16_384, "burst");
        }
        queue.push(cluster(2), 1_000, "quiet");
        let group = drained(&mut queue, 1 << 20);
        assert!(group.contains(&"quiet"));
        assert!(group.len() <= 65, "the group keeps its bound: {}", group.len());
    }

    #[test]
    fn clusters_share_a_group_by_bytes_and_not_by_count() {
        let mut queue = FairQueue::default();
        for _ in 0..1_000 {
            queue.push(cluster(1), 64 * 1024, 1);
            queue.push(cluster(2), 1024, 2);
        }
        let group = drained(&mut queue, 512 * 1024);
        let bytes =
            |of| group.iter().filter(|owner| **owner == of).count() * if of == 1 { 64 * 1024 } else { 1024 };
        assert_eq!(bytes(1), bytes(2));
    }

    #[test]
    fn an_operation_larger_than_a_quantum_waits_for_its_deficit_and_then_goes() {
        let mut queue = FairQueue::default();
        queue.push(cluster(1), QUANTUM_BYTES * 3, "large");
        for _ in 0..400 {
            queue.push(cluster(2), 1024, "small");
        }
        let group = drained(&mut queue, 1 << 20);
        let place = group.iter().position(|operation| *operation == "large");
        assert_eq!(place, Some(128), "two quanta of the other cluster come first");
    }

    #[test]
    fn an_operation_larger_than_a_group_is_a_group_of_its_own() {
        let mut queue = FairQueue::default();
        queue.push(cluster(1), 10 << 20, 1);
        queue.push(cluster(1), 10, 2);
        assert_eq!(drained(&mut queue, 1 << 20), [1]);
        assert_eq!(drained(&mut queue, 1 << 20), [2]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_cluster_cut_off_by_the_end_of_a_group_is_not_granted_a_second_quantum() {
        let mut queue = FairQueue::default();
        for _ in 0..100 {
            queue.push(cluster(1), 32 * 1024, 1);
            queue.push(cluster(2), 32 * 1024, 2);
        }
        let mut all = Vec::new();
        for _ in 0..10 {
            queue.drain(32 * 1024, &mut all);
        }
        assert_eq!(all, [1, 1, 2, 2, 1, 1, 2, 2, 1, 1]);
    }

    #[test]
    fn a_cluster_with_nothing_queued_occupies_nothing() {
        let mut queue = FairQueue::default();
        queue.push(cluster(1), 10, ());
        drained(&mut queue, 100);
        assert!(queue.lanes.is_empty() && queue.active.is_empty());
    }
}
