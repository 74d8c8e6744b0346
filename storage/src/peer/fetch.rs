//! Fetching a copy of a stretch of a WAL from a holder (`storage/PROTOCOL.md` §4, §5).

use std::sync::Arc;
use std::time::Duration;

use headgate_log::wal::{CopyError, WalCopy, WalReadError, WalScan};
use headgate_metadata::id::{WalId, WalPosition};

use super::{Network, PeerCall, PeerReply, PeerRequest};
use crate::fleet::Member;
use crate::mirrors::Mirrors;
use crate::spawn;

/// About how much is asked for at once.
const PIECE_BYTES: u64 = 4 << 20;
/// How long one piece may take.
const PIECE_WAIT: Duration = Duration::from_secs(10);

/// Why a copy was not fetched. Try another holder, or later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The holder does not answer, or does not have it.
    #[error("node {} does not hand out WAL {wal} from {from}", source_node.0)]
    NotHad {
        /// The log.
        wal: WalId,
        /// Where the copy stands.
        from: WalPosition,
        /// Who was asked.
        source_node: Member,
    },
    /// Its owner joins at this moment, or it is fetched already.
    #[error("the copy of WAL {0} is being written by somebody else")]
    Busy(WalId),
    /// The copy was not taken.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// What lies on this disk cannot be read.
    #[error(transparent)]
    Local(#[from] WalReadError),
    /// The runtime is shutting down.
    #[error("interrupted by shutdown")]
    Interrupted,
}

/// Up to where a WAL is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchEnd {
    /// Its decided end.
    Sealed(WalPosition),
    /// A place in an open WAL. More of it may have been acknowledged: when only restarted copies are left to tell where it ends
    /// (`storage/PROTOCOL.md` §4), what a node that had nothing has fetched so far must not be taken for a member's copy.
    Open(WalPosition),
}

/// Makes sure that `[from, end)` of the WAL lies on this disk, durably. Costs nothing when it does already; what is missing is
/// fetched from `source`. Both positions lie between groups.
pub(crate) async fn fetch_copy(
    network: &dyn Network,
    mirrors: &Mirrors,
    wal: WalId,
    from: WalPosition,
    end: FetchEnd,
    source: Member,
) -> Result<(), FetchError> {
    let (end, is_whole) = match end {
        FetchEnd::Sealed(end) => (end, true),
        FetchEnd::Open(end) => (end, false),
    };
    if is_held(mirrors, wal, from, end).await? {
        return Ok(());
    }
    let Some(_alone) = mirrors.alone_with(wal) else { return Err(FetchError::Busy(wal)) };
    mirrors.drop_copy(wal).await;
    let (disk, dir) = (mirrors.disk(), mirrors.wal_dir().to_owned());
    // What is fetched is part of the log, whatever the copy here has promised its owner.
    let open = move || match WalCopy::open(Arc::clone(&disk), &dir, wal, from) {
        Err(CopyError::Promised(_)) => WalCopy::replace(disk, &dir, wal, from),
        other => other,
    };
    let opened = spawn::blocking(open).await;
    let mut copy = opened.ok_or(FetchError::Interrupted)??;
    while copy.held() < end {
        let at = copy.held();
        let request = PeerRequest::Read { wal, from: at, end, bytes_max: PIECE_BYTES };
        let asked = tokio::time::timeout(PIECE_WAIT, network.call(PeerCall { to: source, request }));
        let groups = match asked.await {
            Ok(Ok(PeerReply::Groups(groups))) if !groups.is_empty() => groups,
            _ => return Err(FetchError::NotHad { wal, from: at, source_node: source }),
        };
        let appended = spawn::blocking(move || {
            groups.iter().try_for_each(|group| copy.append(group))?;
            Ok::<_, CopyError>(copy)
        });
        copy = appended.await.ok_or(FetchError::Interrupted)??;
    }
    let finish = move || if is_whole { copy.finish() } else { copy.finish_part() };
    Ok(spawn::blocking(finish).await.ok_or(FetchError::Interrupted)??)
}

/// Whether the stretch lies on this disk whole. What a crash may have torn is verified, payloads included: the copy may be the own
/// log of an earlier process, of which less was durable than the ensemble agreed on.
async fn is_held(
    mirrors: &Mirrors,
    wal: WalId,
    from: WalPosition,
    end: WalPosition,
) -> Result<bool, FetchError> {
    let (disk, dir) = (mirrors.disk(), mirrors.wal_dir().to_owned());
    let look = move || match WalScan::open(Arc::clone(&disk), &dir, wal, None) {
        Ok(scan) => Ok(!scan.chunks().is_empty() && scan.start() <= from && scan.end() >= end || from >= end),
        Err(WalReadError::Corrupt(_) | WalReadError::Trimmed { .. } | WalReadError::Format { .. }) => {
            Ok(false)
        }
        Err(error) => Err(error),
    };
    Ok(spawn::blocking(look).await.ok_or(FetchError::Interrupted)??)
}
