//! A watch: a cursor in the history.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::history::History;
use crate::store::{Changes, MetadataError, Watch};

pub(super) struct EmbeddedWatch {
    history: Arc<History>,
    /// The newest revision; closes with the store.
    progress: watch::Receiver<u64>,
    prefix: String,
    /// Everything up to here was delivered.
    cursor: u64,
}

impl EmbeddedWatch {
    pub(super) fn new(
        history: Arc<History>,
        progress: watch::Receiver<u64>,
        prefix: String,
        cursor: u64,
    ) -> Self {
        Self { history, progress, prefix, cursor }
    }
}

#[async_trait]
impl Watch for EmbeddedWatch {
    async fn next(&mut self) -> Result<Changes, MetadataError> {
        loop {
            let news = self.history.after(&self.prefix, self.cursor);
            let news = news.map_err(|lost| MetadataError::Unavailable { reason: lost.to_string() })?;
            if let Some(changes) = news {
                // The only place where the cursor moves, with no await behind it: a dropped call loses nothing.
                self.cursor = changes.through.get();
                return Ok(changes);
            }
            let cursor = self.cursor;
            if self.progress.wait_for(|newest| *newest > cursor).await.is_err() {
                return Err(MetadataError::Unavailable { reason: "the store is closed".to_owned() });
            }
        }
    }
}
