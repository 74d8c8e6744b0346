//! Following a prefix: a snapshot, then every change, and a snapshot again whenever the watch breaks.
//!
//! Invariant: progress is told after the sink has taken the news, so whoever waited for a revision sees its changes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::id::Revision;
use crate::spawn;
use crate::store::{Changes, Entry, MetadataError, MetadataStore, Select, SharedStore, Watch};

/// The first pause after the store did not answer.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between attempts to reach the store again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a caller waits for the watch to come up with the store.
const REACH_MAX: Duration = Duration::from_secs(5);
/// How often the store is asked for its revision at most: ten times a second (`gateway/PROTOCOL.md` §3).
const REFRESH_PERIOD: Duration = Duration::from_millis(100);

/// What a sink is given.
#[derive(Debug)]
pub(crate) enum News {
    /// Everything there is; what is not in here is gone.
    All(Vec<Entry>, Revision),
    /// What changed since the last news.
    Some(Changes),
}

/// A task that follows a prefix. Dropping it ends the task; nothing is lost by that at any point.
#[derive(Debug)]
pub(crate) struct Following {
    store: SharedStore,
    progress: watch::Receiver<Revision>,
    /// Rung by whoever waits for progress.
    awaited: Arc<Notify>,
    _task: spawn::Owned,
    /// When the store was last asked for its revision, and what it said.
    asked: tokio::sync::Mutex<Option<(Instant, Revision)>>,
}

impl std::fmt::Debug for dyn MetadataStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetadataStore")
    }
}

impl Following {
    /// Gives the first snapshot to the sink before it returns.
    pub(crate) async fn start(
        store: SharedStore,
        prefix: String,
        mut sink: impl FnMut(News) + Send + 'static,
    ) -> Result<Self, MetadataError> {
        let (revision, watch) = resync(&store, &prefix, &mut sink).await?;
        let (told, progress) = watch::channel(revision);
        // A task that is ended is dropped a little later; it must not keep the store open until then.
        let followed = Arc::downgrade(&store);
        let awaited = Arc::new(Notify::new());
        let rung = Arc::clone(&awaited);
        let task = spawn::owned(async move { run(&followed, &prefix, sink, watch, &told, &rung).await });
        Ok(Self { store, progress, awaited, _task: task, asked: tokio::sync::Mutex::new(None) })
    }

    /// How far the sink has been told.
    pub(crate) fn revision(&self) -> Revision {
        *self.progress.borrow()
    }

    /// Waits until the sink has been told of everything up to `revision`.
    pub(crate) async fn reach(&self, revision: Revision) -> Result<(), MetadataError> {
        if self.revision() >= revision {
            return Ok(());
        }
        self.awaited.notify_one();
        let mut progress = self.progress.clone();
        let reason = match timeout(REACH_MAX, progress.wait_for(|told| *told >= revision)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => format!("the watch ended before revision {revision}"),
            Err(_) => format!("the watch is behind revision {revision}"),
        };
        Err(MetadataError::Unavailable { reason })
    }

    /// Waits until the sink has been told of everything that was committed before this call. Callers of the same time
    /// share one question to the store, and questions are at least [`REFRESH_PERIOD`] apart.
    pub(crate) async fn refresh(&self) -> Result<(), MetadataError> {
        let called = Instant::now();
        let revision = {
            let mut asked = self.asked.lock().await;
            match *asked {
                Some((at, revision)) if at >= called => revision,
                earlier => {
                    if let Some((at, _)) = earlier {
                        tokio::time::sleep_until(at + REFRESH_PERIOD).await;
                    }
                    let at = Instant::now();
                    let revision = self.store.revision().await?;
                    *asked = Some((at, revision));
                    revision
                }
            }
        };
        self.reach(revision).await
    }
}

async fn resync(
    store: &SharedStore,
    prefix: &str,
    sink: &mut impl FnMut(News),
) -> Result<(Revision, Box<dyn Watch>), MetadataError> {
    let snapshot = store.read(&[Select::Prefix(prefix.to_owned())]).await?;
    let watch = store.watch(prefix, snapshot.revision).await?;
    sink(News::All(snapshot.results.into_iter().flatten().collect(), snapshot.revision));
    Ok((snapshot.revision, watch))
}

async fn run(
    store: &Weak<dyn MetadataStore>,
    prefix: &str,
    mut sink: impl FnMut(News),
    mut watch: Box<dyn Watch>,
    told: &watch::Sender<Revision>,
    awaited: &Notify,
) {
    let mut pause = PAUSE_MIN;
    loop {
        let news = tokio::select! {
            biased;
            news = watch.next() => news,
            () = awaited.notified() => {
                watch.request_progress();
                continue;
            }
        };
        match news {
            Ok(changes) => {
                let through = changes.through;
                sink(News::Some(changes));
                told.send_replace(through);
                pause = PAUSE_MIN;
                continue;
            }
            Err(error) => tracing::info!(prefix, %error, "metadata watch broken, reading a snapshot"),
        }
        loop {
            let Some(store) = store.upgrade() else { return };
            match resync(&store, prefix, &mut sink).await {
                Ok((revision, again)) => {
                    told.send_replace(revision);
                    watch = again;
                    break;
                }
                Err(error) => tracing::warn!(prefix, %error, "metadata not readable"),
            }
            drop(store);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
