//! A value that tasks wait on. It does what tokio's watch channel does, but wakes its waiters in the order in which they waited:
//! those of a watch channel wake in an order drawn by chance, and one seed could not replay a run (`storage/PROTOCOL.md` §17).

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value and its bell.
#[derive(Debug, Default)]
pub(crate) struct Bell<T> {
    state: Mutex<State<T>>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct State<T> {
    value: T,
    /// How often it was set.
    version: u64,
}

impl<T: Copy> Bell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { state: Mutex::new(State { value, version: 0 }), rung: Notify::new() }
    }

    pub(crate) fn get(&self) -> T {
        self.state().value
    }

    /// Sets the value and wakes everybody.
    pub(crate) fn set(&self, value: T) {
        {
            let mut state = self.state();
            state.value = value;
            state.version += 1;
        }
        self.rung.notify_waiters();
    }

    /// How often the value was set: what [`Bell::changed`] is given.
    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    /// Returns when the value was set since it had this version. Cancel safe.
    pub(crate) async fn changed(&self, since: u64) {
        self.wait(|state| state.version > since).await;
    }

    /// Returns when the value is as wanted. Cancel safe.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(T) -> bool) {
        self.wait(|state| wanted(state.value)).await;
    }

    async fn wait(&self, over: impl Fn(&State<T>) -> bool) {
        loop {
            let mut rung = pin!(self.rung.notified());
            // Enabled before the look, so that no change falls between.
            rung.as_mut().enable();
            if over(&self.state()) {
                return;
            }
            rung.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_missed() {
        let bell = Bell::new(1);
        let version = bell.version();
        bell.set(2);
        bell.changed(version).await;
        bell.wait_for(|value| value == 2).await;
    }

    #[tokio::test]
    async fn waiters_wake_in_the_order_in_which_they_waited() {
        let bell = Arc::new(Bell::new(false));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = Vec::new();
        for index in 0..20 {
            let (bell, woken) = (Arc::clone(&bell), Arc::clone(&woken));
            waiters.push(tokio::spawn(async move {
                bell.wait_for(|rung| rung).await;
                woken.lock().expect("no panic under the lock").push(index);
            }));
        }
        tokio::task::yield_now().await;
        bell.set(true);
        for waiter in waiters {
            waiter.await.expect("the waiter ends");
        }
        assert_eq!(*woken.lock().expect("no panic under the lock"), (0..20).collect::<Vec<_>>());
    }
}
