//! Transactions: conditions and changes in etcd's terms, and what each way to fail means.

use tokio::time::Instant;
use tonic::Code;

use super::keyspace::Keyspace;
use super::proto::{
    self, DeleteRangeRequest, EQUAL, GREATER, LESS, MOD, PutRequest, RangeRequest, Request, RequestOp,
    Target, TxnRequest, TxnResponse, VALUE, VERSION,
};
use super::reading::op;
use super::{Failed, Inner};
use crate::store::{Compare, MetadataError, Outcome, Transaction, Write};

impl Inner {
    /// Sends a transaction at most once: to the first member that takes it, and never again after it may have arrived.
    pub(super) async fn commit(&self, transaction: &Transaction) -> Result<Outcome, MetadataError> {
        self.commit_under(transaction, 0).await.map_err(|failed| commit_error(&failed))
    }

    /// The same with its puts under a lease, unless that is 0.
    pub(super) async fn commit_under(
        &self,
        transaction: &Transaction,
        lease: i64,
    ) -> Result<Outcome, Failed> {
        let request = transaction_of(&self.keys, transaction, lease);
        let before = self.seen.before()?;
        let answer: TxnResponse = self.tell(proto::TXN, request).await?;
        // Where it went back only now, the other history has the transaction.
        let revision = self.seen.answered(before, answer.header.as_ref());
        let revision = revision.map_err(|failed| Failed::Unknown(failed.to_string()))?;
        Ok(if answer.succeeded { Outcome::Committed(revision) } else { Outcome::Refused(revision) })
    }

    /// Asks for something that changes what stands in etcd.
    pub(super) async fn tell<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failed>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let until = Instant::now() + self.request_timeout;
        let mut attempts = self.attempts_max();
        loop {
            attempts -= 1;
            match self.members.call(path, request.clone(), until).await {
                Err(Failed::NotDone(_)) if attempts > 0 && Instant::now() < until => {}
                answer => return answer,
            }
        }
    }
}

fn transaction_of(keys: &Keyspace, transaction: &Transaction, lease: i64) -> TxnRequest {
    let compare = transaction.compares.iter().map(|compare| compare_of(keys, compare)).collect();
    let mut success: Vec<RequestOp> =
        transaction.writes.iter().map(|write| write_of(keys, write, lease)).collect();
    if success.is_empty() {
        // Without an operation etcd would judge the compares on the member alone, from whatever it has.
        success.push(op(RangeRequest { count_only: true, ..keys.range("", "") }));
    }
    TxnRequest { compare, success, failure: Vec::new() }
}

/// A change; a put under a lease unless that is 0.
fn write_of(keys: &Keyspace, write: &Write, lease: i64) -> RequestOp {
    let request = match write {
        Write::Put(key, value) => {
            Request::Put(PutRequest { key: keys.key(key), value: value.clone(), lease })
        }
        Write::Delete(key) => Request::DeleteRange(DeleteRangeRequest { key: keys.key(key) }),
    };
    RequestOp { request: Some(request) }
}

fn compare_of(keys: &Keyspace, compare: &Compare) -> proto::Compare {
    let (key, result, target, value) = match compare {
        Compare::Absent(key) => (key, EQUAL, VERSION, Target::Version(0)),
        Compare::Present(key) => (key, GREATER, VERSION, Target::Version(0)),
        // An absent key has revision 0 in etcd; no key that exists has. No version is below 0.
        Compare::Unchanged(key, at) if at.get() == 0 => (key, LESS, VERSION, Target::Version(0)),
        Compare::Unchanged(key, at) => (key, EQUAL, MOD, Target::ModRevision(at.get() as i64)),
        // etcd lets this fail for an absent key, whatever the value.
        Compare::Value(key, value) => (key, EQUAL, VALUE, Target::Value(value.clone())),
    };
    proto::Compare { result, target, key: keys.key(key), target_union: Some(value) }
}

pub(super) fn commit_error(failed: &Failed) -> MetadataError {
    let reason = format!("commit: {failed}");
    match failed {
        Failed::Unknown(_) => MetadataError::OutcomeUnknown { reason },
        Failed::Refused(status) if status.code() == Code::InvalidArgument => {
            MetadataError::Invalid { reason }
        }
        Failed::Refused(_) | Failed::NotDone(_) => MetadataError::Unavailable { reason },
        Failed::WentBack(error) => (*error).into(),
    }
}
