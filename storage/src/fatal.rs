//! The way a node says that the process must stop: given by the composition root, so that tests can watch it.

use std::fmt;
use std::sync::Arc;

/// Stops the process, with the reason for people.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&str) + Send + Sync>);

impl Fatal {
    /// `stop` is called at most a few times, from any thread, and must not block for long.
    pub fn new(stop: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(stop))
    }

    pub(crate) fn stop(&self, reason: &str) {
        (self.0)(reason);
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}
