//! The one place of this crate where tasks are started.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task of an owner, which ends with it.
#[derive(Debug)]
pub(crate) struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task that is aborted when its handle is dropped.
pub(crate) fn owned(body: impl Future<Output = ()> + Send + 'static) -> Owned {
    Owned(tokio::spawn(body))
}

/// Starts a task that ends by itself. Waiting for the handle is up to the caller.
pub(crate) fn detached(body: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(body)
}
