//! The limit on open descriptors: each connection and chunk file takes one, so it is raised as far as the system lets us.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; returns what is in force (`None` = no limit).
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(?error, current = ?limit.current, "descriptor limit not raised");
            limit.current
        }
    }
}
