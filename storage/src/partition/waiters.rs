//! Who waits for data, without polling.
//!
//! Invariants: a waiter is registered under the same lock under which the bytes already there were counted, so no commit
//! is missed; a dropped wait takes back its registrations.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// One call that waits for some bytes over some partitions.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Bytes still missing; the wait is over at zero or below.
    missing: AtomicI64,
    over: Notify,
}

impl Waiter {
    pub(crate) fn new(bytes_min: u64) -> Arc<Self> {
        Arc::new(Self {
            missing: AtomicI64::new(i64::try_from(bytes_min.max(1)).unwrap_or(i64::MAX)),
            over: Notify::new(),
        })
    }

    /// Bytes became readable.
    pub(crate) fn add(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.missing.fetch_sub(bytes.min(i64::MAX / 2), Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.over.notify_one();
        }
    }

    /// Ends the wait: the caller must look at once (an error, a removal).
    pub(crate) fn end(&self) {
        self.missing.store(0, Ordering::Release);
        self.over.notify_one();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.missing.load(Ordering::Acquire) <= 0
    }

    /// Returns when the wait is over. Cancel safe.
    pub(crate) async fn wait(&self) {
        while !self.is_over() {
            self.over.notified().await;
        }
    }
}

/// The waiters of one partition. Few at a time (one per waiting consumer), so a list is enough.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Vec<Arc<Waiter>>);

impl Waiters {
    pub(crate) fn register(&mut self, waiter: &Arc<Waiter>) {
        self.0.push(Arc::clone(waiter));
    }

    pub(crate) fn take_back(&mut self, waiter: &Arc<Waiter>) {
        if let Some(at) = self.0.iter().position(|registered| Arc::ptr_eq(registered, waiter)) {
            self.0.swap_remove(at);
        }
        if self.0.is_empty() {
            // An idle partition keeps no buffer.
            self.0 = Vec::new();
        }
    }

    pub(crate) fn add(&self, bytes: u64) {
        for waiter in &self.0 {
            waiter.add(bytes);
        }
    }

    pub(crate) fn end_all(&self) {
        for waiter in &self.0 {
            waiter.end();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_over_when_its_bytes_have_come_from_any_partitions() {
        let waiter = Waiter::new(100);
        waiter.add(60);
        assert!(!waiter.is_over());
        waiter.add(40);
        assert!(waiter.is_over());
    }

    #[tokio::test]
    async fn a_wait_that_was_over_before_it_began_returns_at_once() {
        let waiter = Waiter::new(1);
        waiter.end();
        waiter.wait().await;
    }

    #[test]
    fn taking_a_registration_back_leaves_the_others() {
        let (first, second) = (Waiter::new(1), Waiter::new(1));
        let mut waiters = Waiters::default();
        waiters.register(&first);
        waiters.register(&second);
        waiters.take_back(&first);
        waiters.add(1);
        assert!(!first.is_over() && second.is_over());
        waiters.take_back(&second);
        assert!(waiters.is_empty());
    }
}
