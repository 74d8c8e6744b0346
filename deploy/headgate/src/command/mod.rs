//! What operators type. Each command is a signed call of a running process's control API, but for those that make a cell, say where
//! its slots live, or read or mend what stopped processes left.

pub(crate) mod bill;
pub(crate) mod cell;
pub(crate) mod cluster;
pub(crate) mod credentials;
pub(crate) mod key;
pub(crate) mod metadata;
pub(crate) mod quota;
pub(crate) mod session;
pub(crate) mod slot;
pub(crate) mod topic;
pub(crate) mod user;

use std::future::Future;

use anyhow::Result;

/// Runs one command to its end.
pub(crate) fn block_on(command: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
