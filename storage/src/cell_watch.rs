//! The cell as this node last heard of it: a view kept up to date by a watch of the metadata store.
//!
//! It tells *when* to act. What an action rests on is compared in the transaction that commits it, never taken from here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headgate_metadata::id::Revision;
use headgate_metadata::store::{Changes, MetadataError, SharedStore};
use tracing::warn;

use crate::bell::Bell;
use crate::chain::CellView;

/// How long a broken watch rests before it is begun anew.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// The live view.
#[derive(Debug)]
pub(crate) struct CellWatch {
    view: Mutex<CellView>,
    seen: Bell<Revision>,
}

impl CellWatch {
    /// Begins with what the store holds now; [`CellWatch::follow`] keeps it up to date.
    pub(crate) fn new(view: CellView) -> Self {
        let seen = Bell::new(view.revision);
        Self { view: Mutex::new(view), seen }
    }

    /// Looks at the view. The lock is held while `look` runs, so it must be short.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&CellView) -> T) -> T {
        look(&self.lock())
    }

    /// Rings at every change.
    pub(crate) fn changes(&self) -> &Bell<Revision> {
        &self.seen
    }

    /// Takes in a view that was read, if it is newer.
    pub(crate) fn learn(&self, view: &CellView) {
        let mut own = self.lock();
        if view.revision > own.revision {
            own.clone_from(view);
            self.seen.set(view.revision);
        }
    }

    /// Follows the store until it is dropped.
    pub(crate) async fn follow(&self, store: SharedStore) {
        loop {
            let from = self.lock().revision;
            if let Err(error) = self.follow_once(&store, from).await {
                warn!(%error, "cell watch broken, reading anew");
            }
            tokio::time::sleep(WATCH_PAUSE).await;
            if let Ok(view) = CellView::read(&*store).await {
                self.learn(&view);
            }
        }
    }

    async fn follow_once(&self, store: &SharedStore, from: Revision) -> Result<(), MetadataError> {
        let mut watch = store.watch("", from).await?;
        loop {
            let Changes { events, through } = watch.next().await?;
            {
                let mut view = self.lock();
                // What a newer read brought is not undone by older news.
                let known = view.revision;
                for event in events.into_iter().filter(|event| event.revision > known) {
                    view.apply(&event.key, event.value.as_deref().map(|value| (value, event.revision)))?;
                }
                view.revision = through.max(view.revision);
            }
            self.seen.set(through);
        }
    }

    fn lock(&self) -> MutexGuard<'_, CellView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
