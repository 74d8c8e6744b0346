//! A local [`Storage`] served to gateways: messages in, the operation, messages out.
//!
//! Appends take their place in [`Appends`] before [`Service::call`] returns, in the order they arrived; everything else starts when it
//! is polled. A message that is not understood, or mixes tenants, is answered with a rejection.

mod appends;
mod process;

use std::future::Future;
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use headgate_metadata::slot_owners::SlotOwner;
use headgate_storage_client::Storage;
use headgate_storage_client::remote::message::{
    AllocateProducerIdCall, AppendCall, AwaitDataCall, ChargePartitionsCall, ChargeQuotaCall,
    CommitOffsetsCall, DataAwaited, DeleteGroupCall, DescribeGroupCall, EpochEndCall, ExchangeQuotaCall,
    FetchOffsetsCall, HeartbeatCall, JoinGroupCall, LeaveGroupCall, ListGroupsCall, Malformed, OffsetsAtCall,
    Operation, OwnerTold, OwnersCall, OwnersTold, PartitionSizesCall, ReadAnswer, ReadCall, ReportSentCall,
    SyncGroupCall, kind, rejected,
};
use headgate_storage_client::wire::{Message, PeerIdentity, Service};
use tracing::warn;

use crate::clock::SharedClock;
use crate::metrics::Metrics;
pub use process::ProcessService;

use appends::Appends;

/// Serves one storage.
pub struct StorageService {
    storage: Arc<dyn Storage>,
    appends: Arc<Appends>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl StorageService {
    /// Serves `storage`.
    pub fn new(storage: Arc<dyn Storage>, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        let appends = Appends::new(Arc::clone(&storage), Arc::clone(&clock));
        Self { storage, appends, clock, metrics }
    }

    /// Reads the question, answers it, and counts how long that took.
    fn answer<O: Operation, F>(
        &self,
        message: Message,
        name: &'static str,
        act: impl FnOnce(Arc<dyn Storage>, O) -> F,
    ) -> BoxFuture<'static, Message>
    where
        F: Future<Output = O::Answer> + Send + 'static,
    {
        match O::from_message(message) {
            Ok(question) => self.timed(name, O::answer_to_message, act(Arc::clone(&self.storage), question)),
            Err(malformed) => self.reject(name, &malformed),
        }
    }

    fn timed<A: 'static>(
        &self,
        name: &'static str,
        encode: fn(A) -> Message,
        answer: impl Future<Output = A> + Send + 'static,
    ) -> BoxFuture<'static, Message> {
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let began = clock.monotonic();
        Box::pin(async move {
            let message = encode(answer.await);
            metrics.observe_call(name, clock.monotonic().saturating_sub(began));
            message
        })
    }

    fn reject(&self, name: &'static str, malformed: &Malformed) -> BoxFuture<'static, Message> {
        warn!(call = name, %malformed, "call not understood");
        self.metrics.observe_call_rejected();
        Box::pin(ready(rejected(malformed)))
    }

    fn append(&self, message: Message) -> BoxFuture<'static, Message> {
        let call = match AppendCall::from_message(message) {
            Ok(call) => call,
            Err(malformed) => return self.reject("append", &malformed),
        };
        match call.batch() {
            Ok(batch) => {
                let answer = Arc::clone(&self.appends).submit(call, batch);
                self.timed("append", AppendCall::answer_to_message, answer)
            }
            Err(_) => self.reject("append", &Malformed::Payload),
        }
    }
}

impl Service for StorageService {
    fn call(&self, _peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        match message.kind {
            kind::APPEND => self.append(message),
            kind::READ => self.answer(message, "read", |storage, call: ReadCall| async move {
                ReadAnswer::new(storage.read(&call.caller, &call.request).await)
            }),
            kind::AWAIT_DATA => {
                self.answer(message, "await_data", |storage, call: AwaitDataCall| async move {
                    storage.await_data(&call.caller, &call.from, call.bytes_min).await;
                    DataAwaited {}
                })
            }
            kind::OFFSETS_AT => {
                self.answer(message, "offsets_at", |storage, call: OffsetsAtCall| async move {
                    storage.offsets_at(&call.caller, call.partition, call.query).await
                })
            }
            kind::EPOCH_END => self.answer(message, "epoch_end", |storage, call: EpochEndCall| async move {
                storage.epoch_end(&call.caller, call.partition, call.epoch).await
            }),
            kind::ALLOCATE_PRODUCER_ID => self.answer(
                message,
                "allocate_producer_id",
                |storage, call: AllocateProducerIdCall| async move {
                    storage.allocate_producer_id(&call.caller).await
                },
            ),
            kind::REPORT_SENT => {
                self.answer(message, "report_sent", |storage, call: ReportSentCall| async move {
                    storage.report_sent(call.gateway, &call.sent).await
                })
            }
            kind::PARTITION_SIZES => {
                self.answer(message, "partition_sizes", |storage, call: PartitionSizesCall| async move {
                    storage.partition_sizes(call.cluster, &call.slots).await
                })
            }
            kind::OWNERS => self.answer(message, "owners", |storage, _: OwnersCall| async move {
                let told = |(slot, SlotOwner { wal, epoch })| OwnerTold { slot, wal, epoch };
                OwnersTold { owners: storage.owners().into_iter().map(told).collect() }
            }),
            kind::EXCHANGE_QUOTA | kind::CHARGE_QUOTA | kind::CHARGE_PARTITIONS => self.quota_call(message),
            _ => self.group_call(message),
        }
    }
}

impl StorageService {
    fn quota_call(&self, message: Message) -> BoxFuture<'static, Message> {
        match message.kind {
            kind::EXCHANGE_QUOTA => {
                self.answer(message, "exchange_quota", |storage, call: ExchangeQuotaCall| async move {
                    storage.exchange_quota(&call.caller, call.slot, call.report).await
                })
            }
            kind::CHARGE_QUOTA => {
                self.answer(message, "charge_quota", |storage, call: ChargeQuotaCall| async move {
                    storage.charge_quota(&call.caller, call.slot, call.charge).await
                })
            }
            _ => {
                self.answer(message, "charge_partitions", |storage, call: ChargePartitionsCall| async move {
                    storage.charge_partitions(&call.caller, call.slot, call.charges).await
                })
            }
        }
    }

    fn group_call(&self, message: Message) -> BoxFuture<'static, Message> {
        match message.kind {
            kind::JOIN_GROUP => {
                self.answer(message, "join_group", |storage, call: JoinGroupCall| async move {
                    storage.join_group(&call.caller, &call.group, call.join).await
                })
            }
            kind::SYNC_GROUP => {
                self.answer(message, "sync_group", |storage, call: SyncGroupCall| async move {
                    storage.sync_group(&call.caller, &call.group, call.sync).await
                })
            }
            kind::HEARTBEAT => self.answer(message, "heartbeat", |storage, call: HeartbeatCall| async move {
                storage.heartbeat(&call.caller, &call.group, call.identity, call.generation).await
            }),
            kind::LEAVE_GROUP => {
                self.answer(message, "leave_group", |storage, call: LeaveGroupCall| async move {
                    storage.leave_group(&call.caller, &call.group, call.members).await
                })
            }
            kind::COMMIT_OFFSETS => {
                self.answer(message, "commit_offsets", |storage, call: CommitOffsetsCall| async move {
                    storage.commit_offsets(&call.caller, &call.group, call.commit).await
                })
            }
            kind::FETCH_OFFSETS => {
                self.answer(message, "fetch_offsets", |storage, call: FetchOffsetsCall| async move {
                    storage.fetch_offsets(&call.caller, &call.group, call.fetch).await
                })
            }
            kind::DESCRIBE_GROUP => {
                self.answer(message, "describe_group", |storage, call: DescribeGroupCall| async move {
                    storage.describe_group(&call.caller, &call.group).await
                })
            }
            kind::LIST_GROUPS => {
                self.answer(message, "list_groups", |storage, call: ListGroupsCall| async move {
                    storage.list_groups(&call.caller, &call.slots).await
                })
            }
            kind::DELETE_GROUP => {
                self.answer(message, "delete_group", |storage, call: DeleteGroupCall| async move {
                    storage.delete_group(&call.caller, &call.group).await
                })
            }
            found => self.reject("unknown", &Malformed::Unknown(found)),
        }
    }
}
