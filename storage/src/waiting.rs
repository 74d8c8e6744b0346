//! Waiting for data over several partitions, without polling.

use std::sync::Arc;

use headgate_metadata::id::Offset;
use headgate_storage_client::PartitionAddress;

use crate::partition::Partition;
use crate::partition::waiters::Waiter;
use crate::read::{Reader, bounds};

/// A waiter and where it is registered; dropping it takes the registrations back.
struct Registered {
    waiter: Arc<Waiter>,
    partitions: Vec<Arc<Partition>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.log().waiters.take_back(&self.waiter);
        }
    }
}

impl Reader {
    /// Returns when the partitions together hold `bytes_min` readable bytes from the offsets on, or when one of them cannot
    /// be read from there. Cancel safe.
    pub(crate) async fn await_data(&self, from: &[(PartitionAddress, Offset)], bytes_min: u64) {
        let mut registered =
            Registered { waiter: Waiter::new(bytes_min), partitions: Vec::with_capacity(from.len()) };
        for (address, offset) in from {
            if self.check_owned(*address).is_err() {
                return;
            }
            let partition = self.slots().partition(*address);
            {
                let mut log = partition.log();
                if bounds(&log, *offset).is_err() {
                    return;
                }
                // Counted and registered under one lock: no commit falls between.
                registered.waiter.add(log.readable_bytes(*offset, bytes_min));
                log.waiters.register(&registered.waiter);
            }
            registered.partitions.push(partition);
            if registered.waiter.is_over() {
                return;
            }
        }
        registered.waiter.wait().await;
    }

    /// Ends all waits: long polls answer empty when the node stops (`storage/PROTOCOL.md` §5).
    pub(crate) fn end_waits(&self) {
        for partition in self.slots().partitions() {
            partition.log().waiters.end_all();
        }
    }
}
