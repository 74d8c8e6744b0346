//! The one place of this crate where tasks are started.

use std::future::Future;

use tokio::task::{AbortHandle, JoinHandle, JoinSet};

/// Starts a task on the current runtime. Whoever starts it awaits or aborts it.
pub(crate) fn task<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(body)
}

/// Starts a task that nobody awaits. It ends by itself; what ends it is said where it is started.
pub(crate) fn detached(body: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(body));
}

/// Starts a task that ends with the set it belongs to.
pub(crate) fn member<T: Send + 'static>(
    set: &mut JoinSet<T>,
    body: impl Future<Output = T> + Send + 'static,
) -> AbortHandle {
    set.spawn(body)
}
