//! What happened, line by line, with the virtual time of each line.

use std::fmt::{Display, Write as _};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// The trace of one run; clones share it.
#[derive(Clone)]
pub(crate) struct Trace {
    lines: Arc<Mutex<String>>,
    began: Instant,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { lines: Arc::default(), began: Instant::now() }
    }

    pub(crate) fn note(&self, what: impl Display) {
        let at = self.began.elapsed();
        tracing::info!(target: "simulation", "{:>10.3} {what}", at.as_secs_f64());
        let mut lines = self.lines.lock().expect("no panic under the lock");
        writeln!(lines, "{:>10.6} {what}", at.as_secs_f64()).expect("a text takes everything");
    }

    pub(crate) fn text(&self) -> String {
        self.lines.lock().expect("no panic under the lock").clone()
    }
}
