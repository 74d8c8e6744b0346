//! The life of a server process: one data directory, one runtime, until Ctrl-C or SIGTERM, then stopped in order.

use std::path::Path;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::data_dir::DataDir;
use crate::{descriptors, telemetry};

/// Everything that runs in a process.
pub(crate) trait Running {
    /// Returns when it ends by itself, with the reason; for most it never does.
    async fn ended(&mut self) -> Result<()> {
        std::future::pending().await
    }

    /// Stops in order.
    async fn stop(self);
}

/// Runs what `start` starts.
pub(crate) fn run<R: Running>(data_dir: &Path, start: impl AsyncFnOnce(&DataDir) -> Result<R>) -> Result<()> {
    let _telemetry = telemetry::start()?;
    let data = DataDir::hold(data_dir)?;
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&data, start))
}

async fn serve<R: Running>(data: &DataDir, start: impl AsyncFnOnce(&DataDir) -> Result<R>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! { biased; _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    let mut stop = std::pin::pin!(stop);
    let mut running = tokio::select! {
        biased;
        () = &mut stop => return Ok(()),
        running = start(data) => running?,
    };
    let ended = tokio::select! {
        biased;
        () = &mut stop => Ok(()),
        ended = running.ended() => ended,
    };
    eprintln!("stopping: requests in progress finish, the write-ahead log is synced");
    running.stop().await;
    ended
}
