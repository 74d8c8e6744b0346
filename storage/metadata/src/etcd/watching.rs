//! Watches: a task that follows one stream of events, begins it again where it broke, and says how far it has come.
//!
//! How far: every batch of events proves what lies before it. When nothing of the prefix changes there is no event, and
//! etcd's answer to a progress request cannot be trusted: up to 3.4.24 and 3.5.7 it may overtake events that it claims to
//! have sent (etcd issue 15220), and later fixes of 3.4 still let it be withheld. So when somebody waits
//! ([`Watch::request_progress`]), the task proves it by a linearizable read: when no key of the prefix has a newer
//! revision than the last delivered, and there are as many keys as there must be after the delivered events, then nothing
//! happened in between that is not undone again, and whatever of it still comes in is dropped.
//!
//! Invariants:
//! 1. Events are delivered in revision order, whole revisions at a time, none twice, none left out.
//! 2. `keys` is the number of keys of the prefix at revision `cursor`.
//! 3. A store that stands below `cursor` breaks the watch: its revisions are another history's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Streaming;

use super::calls::WentBack;
use super::connection::Connection;
use super::proto::{
    self, DELETE, RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use super::reading::read_error;
use super::{Failed, Inner};
use crate::id::Revision;
use crate::spawn;
use crate::store::{Changes, Event, MetadataError, Watch};

/// Batches that wait for their reader at most; then the stream is not read on, and etcd keeps the rest.
const BATCHES_MAX: usize = 16;
/// The first pause before a broken stream is begun again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);

type News = Result<Changes, MetadataError>;

/// A running watch. The task ends with it.
struct EtcdWatch {
    news: mpsc::Receiver<News>,
    asked: Arc<Notify>,
    _task: spawn::Owned,
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> News {
        let ended = || MetadataError::Unavailable { reason: "the watch has ended".to_owned() };
        self.news.recv().await.unwrap_or_else(|| Err(ended()))
    }

    fn request_progress(&mut self) {
        self.asked.notify_one();
    }
}

/// Starts a watch; refuses one whose beginning is compacted or in the future.
pub(super) async fn start(
    inner: &Arc<Inner>,
    prefix: &str,
    after: Revision,
) -> Result<Box<dyn Watch>, MetadataError> {
    let range = inner.keys.range(prefix, "");
    let keys = count_at(inner, &range, after).await?;
    let (sender, news) = mpsc::channel(BATCHES_MAX);
    let asked = Arc::new(Notify::new());
    let follower = Follower {
        inner: Arc::clone(inner),
        range,
        cursor: after.get() as i64,
        keys,
        wanted: None,
        news: sender,
        asked: Arc::clone(&asked),
    };
    Ok(Box::new(EtcdWatch { news, asked, _task: spawn::owned(follower.run()) }))
}

async fn count_at(inner: &Inner, range: &RangeRequest, at: Revision) -> Result<i64, MetadataError> {
    if at.get() == 0 {
        // Before the first revision there was nothing; etcd's own 0 means now.
        return Ok(0);
    }
    let request = RangeRequest { revision: at.get() as i64, count_only: true, ..range.clone() };
    match inner.ask::<_, RangeResponse>(proto::RANGE, request).await {
        Ok(answer) => Ok(answer.count),
        Err(Failed::Refused(status)) => {
            let hint = "read a snapshot and watch from its revision";
            Err(MetadataError::Invalid {
                reason: format!("watch after revision {at}: {}; {hint}", status.message()),
            })
        }
        Err(failed) => Err(read_error(&failed)),
    }
}

/// Why a stream is not followed any further.
enum Ended {
    /// It can be begun again behind the cursor.
    Lost(String),
    /// It cannot: what comes next is not known.
    Broken(String),
    /// The store went back in time.
    WentBack(WentBack),
    /// Nobody reads.
    Unread,
}

struct Follower {
    inner: Arc<Inner>,
    range: RangeRequest,
    /// Everything up to here was delivered.
    cursor: i64,
    keys: i64,
    /// Somebody waits for news up to this revision; 0 = the newest, whichever that is.
    wanted: Option<i64>,
    news: mpsc::Sender<News>,
    asked: Arc<Notify>,
}

impl Follower {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = self.cursor;
            match self.follow().await {
                Ended::Unread => return,
                Ended::Broken(reason) => {
                    let reason = format!("{reason}; read a snapshot and watch from its revision");
                    // Nobody reads any more when this fails.
                    drop(self.news.send(Err(MetadataError::Unavailable { reason })).await);
                    return;
                }
                Ended::WentBack(error) => {
                    drop(self.news.send(Err(error.into())).await);
                    return;
                }
                Ended::Lost(reason) => {
                    let prefix = String::from_utf8_lossy(&self.range.key);
                    // Said once while etcd is away, not for every attempt.
                    if self.cursor > begun || pause == PAUSE_MIN {
                        tracing::info!(%prefix, reason, "etcd watch interrupted, beginning again");
                    } else {
                        tracing::debug!(%prefix, reason, "etcd watch interrupted, beginning again");
                    }
                }
            }
            pause = if self.cursor > begun { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            sleep(pause).await;
        }
    }

    /// Follows one stream to its end.
    async fn follow(&mut self) -> Ended {
        match self.follow_stream().await {
            Err(ended) => ended,
            Ok(never) => match never {},
        }
    }

    async fn follow_stream(&mut self) -> Result<std::convert::Infallible, Ended> {
        self.check_history().await?;
        let (mut stream, connection) = self.open().await?;
        if self.wanted.is_some() {
            self.prove_progress().await?;
        }
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                message = stream.message() => match message {
                    Ok(Some(message)) => self.take(message, &mut batch).await?,
                    Ok(None) => return Err(self.lost("the stream ended", &connection).await),
                    Err(status) => return Err(self.lost(status.message(), &connection).await),
                },
                () = self.asked.notified() => self.wanted = Some(0),
            }
            if self.wanted.is_some() {
                self.prove_progress().await?;
            }
        }
    }

    /// Refuses a store that went back in time: restored from a backup it gives the same revisions to other changes.
    async fn check_history(&self) -> Result<(), Ended> {
        self.newest().await.map(drop)
    }

    /// Asks for what stands in the range behind the cursor, and for the newest revision.
    async fn newest(&self) -> Result<(RangeResponse, i64), Ended> {
        let request = RangeRequest {
            min_mod_revision: self.cursor + 1,
            keys_only: true,
            limit: 1,
            ..self.range.clone()
        };
        let seen = &self.inner.seen;
        let before = seen.before().map_err(ended)?;
        let answer: RangeResponse = self.inner.ask(proto::RANGE, request).await.map_err(ended)?;
        let newest = seen.answered(before, answer.header.as_ref()).map_err(ended)?.get() as i64;
        if newest < self.cursor {
            let (seen, found) = (self.cursor as u64, newest as u64);
            return Err(ended(Failed::WentBack(WentBack { seen, found })));
        }
        Ok((answer, newest))
    }

    /// Opens the stream and waits until etcd confirms the watch.
    async fn open(&self) -> Result<(Streaming<WatchResponse>, Connection), Ended> {
        let create = WatchCreateRequest {
            key: self.range.key.clone(),
            range_end: self.range.range_end.clone(),
            start_revision: self.cursor + 1,
            progress_notify: true,
            fragment: true,
        };
        let until = Instant::now() + self.inner.request_timeout;
        let request = WatchRequest { create: Some(create) };
        let opened = self.inner.members.stream::<_, WatchResponse>(proto::WATCH, request, until).await;
        let (mut stream, connection) = opened.map_err(|failed| Ended::Lost(failed.to_string()))?;
        match timeout_at(until, stream.message()).await {
            Ok(Ok(Some(answer))) if answer.created && !answer.canceled => Ok((stream, connection)),
            Ok(Ok(Some(answer))) => Err(canceled(&answer)),
            Ok(Ok(None)) => Err(self.lost("the stream ended", &connection).await),
            Ok(Err(status)) => Err(self.lost(status.message(), &connection).await),
            Err(_) => Err(Ended::Lost(self.inner.members.silent(&connection).await.to_string())),
        }
    }

    async fn lost(&self, reason: &str, connection: &Connection) -> Ended {
        self.inner.members.leave(connection).await;
        Ended::Lost(reason.to_owned())
    }

    /// Takes one message; `batch` gathers the fragments of one.
    async fn take(&mut self, message: WatchResponse, batch: &mut Vec<proto::Event>) -> Result<(), Ended> {
        if message.canceled {
            return Err(canceled(&message));
        }
        let progress = message.events.is_empty() && batch.is_empty() && message.watch_id >= 0;
        batch.extend(message.events);
        if message.fragment {
            return Ok(());
        }
        if progress {
            // Sent by the watch's own queue, behind its events. The answer to a request has watch id -1.
            let through = message.header.map_or(0, |header| header.revision);
            return self.come_to(through, Vec::new()).await;
        }
        let mut events = Vec::with_capacity(batch.len());
        for event in batch.drain(..) {
            let Some(kv) = event.kv.filter(|kv| kv.mod_revision > self.cursor) else { continue };
            let deleted = event.kind == DELETE;
            self.keys += if deleted { -1 } else { i64::from(kv.version == 1) };
            let entry = self.inner.keys.entry(kv).map_err(|error| Ended::Broken(error.to_string()))?;
            let value = (!deleted).then_some(entry.value);
            events.push(Event { key: entry.key, value, revision: entry.modified });
        }
        match events.last().map(|event| event.revision.get() as i64) {
            Some(through) => self.come_to(through, events).await,
            None => Ok(()),
        }
    }

    /// Delivers everything up to `through`.
    async fn come_to(&mut self, through: i64, events: Vec<Event>) -> Result<(), Ended> {
        if through <= self.cursor {
            return Ok(());
        }
        self.cursor = through;
        if self.wanted.is_some_and(|wanted| wanted != 0 && wanted <= through) {
            self.wanted = None;
        }
        let changes = Changes { events, through: Revision::new(through as u64) };
        self.news.send(Ok(changes)).await.map_err(|_| Ended::Unread)
    }

    /// Moves the cursor to the newest revision when a read shows that nothing lies between; otherwise notes how far the
    /// events must come first.
    async fn prove_progress(&mut self) -> Result<(), Ended> {
        let (answer, newest) = self.newest().await?;
        if answer.kvs.is_empty() && answer.count == self.keys {
            self.wanted = None;
            return self.come_to(newest, Vec::new()).await;
        }
        self.wanted = Some(newest);
        Ok(())
    }
}

fn ended(failed: Failed) -> Ended {
    match failed {
        Failed::WentBack(error) => Ended::WentBack(error),
        other => Ended::Lost(other.to_string()),
    }
}

fn canceled(answer: &WatchResponse) -> Ended {
    if answer.compact_revision != 0 {
        let at = answer.compact_revision;
        return Ended::Broken(format!("changes are compacted up to revision {at}"));
    }
    Ended::Lost(format!("etcd canceled the watch: {}", answer.cancel_reason))
}
