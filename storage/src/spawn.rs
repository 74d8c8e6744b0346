//! The one place where threads and tasks are started, each with a name.

use std::future::Future;
use std::thread;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// Something that runs beside the tasks and is waited for at the end.
#[derive(Debug)]
pub(crate) enum Worker {
    /// On a thread of its own.
    Thread(thread::JoinHandle<()>),
    /// As a task, where there is only one thread.
    Task(JoinHandle<()>),
}

impl Worker {
    /// Waits for its end; `false` = it panicked.
    pub(crate) async fn join(self) -> bool {
        match self {
            Self::Thread(thread) => blocking(move || thread.join().is_ok()).await.unwrap_or(true),
            Self::Task(task) => !task.await.is_err_and(|error| error.is_panic()),
        }
    }
}

/// Whether the runtime has one thread only. Then nothing may run beside it: work that blocks is done in place and what else
/// is a thread is a task, so that one seed replays a whole run (`storage/PROTOCOL.md` §17).
pub(crate) fn is_single_threaded() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

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

/// Runs work that blocks (file reads, hashing of whole chunks) on the runtime's blocking threads, if it has any. `None` when the runtime
/// is shutting down.
pub(crate) async fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if is_single_threaded() {
        return Some(body());
    }
    match tokio::task::spawn_blocking(body).await {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
