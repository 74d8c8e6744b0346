//! `headgate storage --drain`: asks the process that holds the data directory to give its slots away and to stop.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::data_dir::DataDir;

/// How often to look whether it has stopped.
const LOOK: Duration = Duration::from_millis(200);

/// Returns when the process is gone.
pub(super) fn drain(data_dir: &Path) -> Result<()> {
    let Some(pid) = DataDir::holder(data_dir)? else {
        bail!("no process runs on {}", data_dir.display());
    };
    let pid = Pid::from_raw(pid).context("the lock file names no process")?;
    kill_process(pid, Signal::USR1)
        .with_context(|| format!("process {} cannot be told", pid.as_raw_nonzero()))?;
    while DataDir::is_held(data_dir) {
        std::thread::sleep(LOOK);
    }
    Ok(())
}
