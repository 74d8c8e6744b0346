//! Answers what other nodes ask.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use headgate_log::wal::read_groups;
use headgate_metadata::id::{WalId, WalPosition};

use super::{FetchEnd, Network, PeerCall, PeerReply, PeerRequest, fetch_copy};
use crate::mirrors::Mirrors;
use crate::spawn;

/// The most bytes of groups handed out at once.
const READ_BYTES_MAX: u64 = 8 << 20;

/// The answering side of a process.
pub struct PeerService {
    mirrors: Arc<Mirrors>,
    network: Arc<dyn Network>,
}

impl PeerService {
    /// Answers from these copies; fetches over this network.
    pub fn new(mirrors: Arc<Mirrors>, network: Arc<dyn Network>) -> Self {
        Self { mirrors, network }
    }

    /// Takes the call's place now: groups are taken in the order in which this is called.
    pub fn answer(&self, call: PeerCall) -> BoxFuture<'static, PeerReply> {
        if call.to != self.mirrors.me() {
            return std::future::ready(PeerReply::NotHere).boxed();
        }
        let mirrors = Arc::clone(&self.mirrors);
        match call.request {
            PeerRequest::Append { wal, group } => mirrors.append(wal, group).boxed(),
            PeerRequest::Confirm { wal, still } => std::future::ready(mirrors.confirm(wal, still)).boxed(),
            PeerRequest::Join { wal, from } => async move { mirrors.join(wal, from).await }.boxed(),
            PeerRequest::Finish { wal } => async move { mirrors.finish(wal).await }.boxed(),
            PeerRequest::Fence { wal, restarted } => {
                async move { mirrors.fence(wal, restarted).await }.boxed()
            }
            PeerRequest::Read { wal, from, end, bytes_max } => {
                async move { read(&mirrors, wal, from, end, bytes_max).await }.boxed()
            }
            PeerRequest::Fetch { wal, from, end, source } => {
                let network = Arc::clone(&self.network);
                async move {
                    match fetch_copy(&*network, &mirrors, wal, from, FetchEnd::Sealed(end), source).await {
                        Ok(()) => PeerReply::Held { position: end, free_bytes: u64::MAX },
                        Err(_) => PeerReply::Failed,
                    }
                }
                .boxed()
            }
        }
    }
}

async fn read(
    mirrors: &Mirrors,
    wal: WalId,
    from: WalPosition,
    end: WalPosition,
    bytes_max: u64,
) -> PeerReply {
    let (disk, dir) = (mirrors.disk(), mirrors.wal_dir().to_owned());
    let read = move || read_groups(&*disk, &dir, wal, from, end, bytes_max.min(READ_BYTES_MAX));
    match spawn::blocking(read).await {
        Some(Ok(groups)) => PeerReply::Groups(groups),
        Some(Err(_)) | None => PeerReply::NotHere,
    }
}
