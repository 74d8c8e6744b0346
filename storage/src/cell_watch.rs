//! The cell as this node last heard of it: a view kept up to date by a watch of the metadata store.
//!
//! It tells *when* to act. What an action rests on is compared in the transaction that commits it, never taken from here.
//! A store that is quiet is asked now and then, so that one that went back in time is noticed without anything to do
//! (`storage/PROTOCOL.md` §6.6); what it answers is judged by `headgate_metadata::guarded`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headgate_metadata::id::Revision;
use headgate_metadata::record::{CellLifeRecord, WentBackRecord};
use headgate_metadata::store::{Changes, MetadataError, SharedStore};
use tokio::time::timeout;
use tracing::warn;

use crate::bell::Bell;
use crate::chain::CellView;
use crate::fatal::Fatal;
use crate::revision_guard::RevisionGuard;
use crate::start_error::StartError;

/// How long a broken watch rests before it is begun anew.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// How often a store that tells nothing is asked where it stands.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The live view.
#[derive(Debug)]
pub(crate) struct CellWatch {
    view: Mutex<CellView>,
    seen: Bell<Revision>,
    /// What the node remembers of the store, and the life that it has begun with.
    guard: RevisionGuard,
    fatal: Fatal,
}

impl CellWatch {
    /// Begins with what the store holds now; [`CellWatch::follow`] keeps it up to date.
    pub(crate) fn new(view: CellView, guard: RevisionGuard, fatal: Fatal) -> Self {
        let seen = Bell::new(view.revision);
        Self { view: Mutex::new(view), seen, guard, fatal }
    }

    /// Looks at the view. The lock is held while `look` runs, so it must be short.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&CellView) -> T) -> T {
        look(&self.lock())
    }

    /// What the node remembers of the store.
    pub(crate) fn guard(&self) -> &RevisionGuard {
        &self.guard
    }

    /// Rings at every change.
    pub(crate) fn changes(&self) -> &Bell<Revision> {
        &self.seen
    }

    /// Takes in a view that was read, if it is newer.
    pub(crate) fn learn(&self, view: &CellView) {
        {
            let mut own = self.lock();
            if view.revision <= own.revision {
                return;
            }
            own.clone_from(view);
        }
        self.check_life(view.life.as_ref());
        self.seen.set(view.revision);
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
            let Ok(news) = timeout(ASK_EVERY, watch.next()).await else {
                store.revision().await?;
                continue;
            };
            let Changes { events, through } = news?;
            let life = {
                let mut view = self.lock();
                // What a newer read brought is not undone by older news.
                let known = view.revision;
                for event in events.into_iter().filter(|event| event.revision > known) {
                    view.apply(&event.key, event.value.as_deref().map(|value| (value, event.revision)))?;
                }
                view.revision = through.max(view.revision);
                view.life.clone()
            };
            self.check_life(life.as_ref());
            self.seen.set(through);
        }
    }

    /// Stops the process when the store was rebuilt under it, or another node has found that it went back.
    fn check_life(&self, found: Option<&CellLifeRecord>) {
        let Some(CellLifeRecord { token, went_back, .. }) = found else { return };
        if let Some(WentBackRecord { node, seen, found }) = *went_back {
            let went_back = StartError::MetadataWentBack { node, seen, found };
            self.fatal.stop(&went_back.to_string());
        }
        if token != self.guard.life() {
            self.fatal.stop("the metadata store was rebuilt while this node ran; start it anew");
        }
    }

    fn lock(&self) -> MutexGuard<'_, CellView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
