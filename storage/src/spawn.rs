//! The one place where threads and tasks are started, each with a name.

use std::future::Future;
use std::thread;

use tokio::task::JoinHandle;

/// Starts a thread of the operating system. `Err` when the system has no more.
pub(crate) fn thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Starts a task on the current runtime. Whoever starts it awaits or aborts it.
pub(crate) fn task<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(body)
}

/// Runs work that blocks (file reads, hashing of whole chunks) on the runtime's blocking threads. `None` when the runtime
/// is shutting down.
pub(crate) async fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(body).await {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
