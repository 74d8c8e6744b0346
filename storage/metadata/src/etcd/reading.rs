//! Reads: all selects in one transaction, and what is too long for it page by page at the same revision.

use tonic::Code;

use super::keyspace::behind;
use super::proto::{self, RangeRequest, RangeResponse, Request, RequestOp, TxnRequest, TxnResponse};
use super::{Failed, Inner};
use crate::id::Revision;
use crate::store::{Entry, MetadataError, Select, Snapshot};

/// Keys of one range in one response at most. Records are far below 100 KB, so that a page stays in the megabytes.
pub(super) const PAGE_KEYS: usize = 1_000;
/// How often a read begins anew because its revision was compacted between two pages.
const COMPACTED_MAX: u32 = 3;

impl Inner {
    pub(super) async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        let mut compacted = 0;
        loop {
            match self.read_once(selects).await {
                Err(Failed::Refused(status)) if is_compacted(&status) && compacted < COMPACTED_MAX => {
                    compacted += 1;
                }
                other => return other.map_err(|failed| read_error(&failed)),
            }
        }
    }

    async fn read_once(&self, selects: &[Select]) -> Result<Snapshot, Failed> {
        let mut success: Vec<RequestOp> = selects.iter().map(|select| op(self.range_of(select))).collect();
        if success.is_empty() {
            // A transaction without a range would be answered by the member alone, from whatever it has.
            success.push(op(RangeRequest { count_only: true, ..self.keys.range("", "") }));
        }
        let request = TxnRequest { success, ..TxnRequest::default() };
        let before = self.seen.before()?;
        let answer: TxnResponse = self.ask(proto::TXN, request).await?;
        let revision = self.seen.answered(before, answer.header.as_ref())?;
        let mut results = Vec::with_capacity(selects.len());
        // Empty selects have one answer too many, which the zip drops.
        for (select, response) in selects.iter().zip(answer.responses) {
            let range = response.range.ok_or_else(|| missing("a range"))?;
            results.push(self.complete(select, range, revision).await?);
        }
        Ok(Snapshot { revision, results })
    }

    fn range_of(&self, select: &Select) -> RangeRequest {
        match select {
            Select::Key(key) => RangeRequest { key: self.keys.key(key), ..RangeRequest::default() },
            Select::Prefix(prefix) => RangeRequest { limit: PAGE_KEYS as i64, ..self.keys.range(prefix, "") },
            Select::Page { prefix, after, limit } => {
                // etcd's 0 means no limit.
                let limit = (*limit).clamp(1, PAGE_KEYS) as i64;
                RangeRequest { limit, ..self.keys.range(prefix, after) }
            }
        }
    }

    /// The entries of one select, the missing pages included.
    async fn complete(
        &self,
        select: &Select,
        mut page: RangeResponse,
        at: Revision,
    ) -> Result<Vec<Entry>, Failed> {
        let wanted = if let Select::Page { limit, .. } = select { *limit } else { usize::MAX };
        let range_end = self.range_of(select).range_end;
        let mut entries = Vec::with_capacity(page.kvs.len());
        loop {
            let last = page.kvs.last().map(|kv| kv.key.clone());
            for kv in page.kvs {
                entries.push(self.keys.entry(kv).map_err(|error| Failed::Refused(foreign(&error)))?);
            }
            let Some(last) = last.filter(|_| page.more && entries.len() < wanted) else { break };
            let next = RangeRequest {
                key: behind(&last),
                range_end: range_end.clone(),
                limit: (wanted - entries.len()).min(PAGE_KEYS) as i64,
                revision: at.get() as i64,
                ..RangeRequest::default()
            };
            page = self.ask(proto::RANGE, next).await?;
        }
        entries.truncate(wanted);
        Ok(entries)
    }
}

pub(super) fn op(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Request::Range(range)) }
}

/// The revision of a response.
pub(super) fn revision_of(header: Option<&proto::ResponseHeader>) -> Result<Revision, Failed> {
    header.map(|header| Revision::new(header.revision as u64)).ok_or_else(|| missing("a header"))
}

fn missing(what: &str) -> Failed {
    Failed::Unknown(format!("the response has no {what}"))
}

fn foreign(error: &MetadataError) -> tonic::Status {
    tonic::Status::new(Code::InvalidArgument, error.to_string())
}

/// Whether the revision that was asked for is no longer there.
pub(super) fn is_compacted(status: &tonic::Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("compacted")
}

/// What a read that failed means to its caller; it changed nothing.
pub(super) fn read_error(failed: &Failed) -> MetadataError {
    let reason = format!("read: {failed}");
    match failed {
        Failed::Refused(status) if status.code() == Code::InvalidArgument => {
            MetadataError::Invalid { reason }
        }
        Failed::WentBack(error) => (*error).into(),
        Failed::Refused(_) | Failed::NotDone(_) | Failed::Unknown(_) => MetadataError::Unavailable { reason },
    }
}
