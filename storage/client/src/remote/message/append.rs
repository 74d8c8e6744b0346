//! `submit_append`: a batch travels as its header (head) and its records (payload), as the owner will write it.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use super::{Body, Malformed, Operation, kind};
use crate::{AppendError, Appended, BATCH_HEADER_BYTES, BatchDefect, Caller, PartitionAddress, RecordBatch};

/// One append.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AppendCall {
    /// Who asks.
    #[n(0)]
    pub caller: Caller,
    /// Where to.
    #[n(1)]
    pub partition: PartitionAddress,
    /// The gateway's count of retries: after a refusal of an append, the owner refuses every append of the same connection and
    /// slot that carries no greater number, so that what was sent behind the refused one does not overtake it.
    #[n(2)]
    pub round: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    header: [u8; BATCH_HEADER_BYTES],
    #[cbor(skip)]
    records: Bytes,
}

impl AppendCall {
    /// The call that carries this batch.
    pub fn new(caller: Caller, partition: PartitionAddress, round: u64, batch: &RecordBatch) -> Self {
        Self { caller, partition, round, header: *batch.header(), records: batch.records().clone() }
    }

    /// The batch, its header checked again; its checksum was checked by the gateway and is the reader's to check.
    pub fn batch(&self) -> Result<RecordBatch, BatchDefect> {
        RecordBatch::from_parts(self.header, self.records.clone())
    }
}

impl Body for AppendCall {
    fn take_payload(&mut self) -> Vec<Bytes> {
        vec![std::mem::take(&mut self.records)]
    }
    fn put_payload(&mut self, payload: Vec<Bytes>) -> Result<(), Malformed> {
        let [records] = <[Bytes; 1]>::try_from(payload).map_err(|_| Malformed::Payload)?;
        self.records = records;
        Ok(())
    }
}

impl Operation for AppendCall {
    const KIND: u16 = kind::APPEND;
    type Answer = Result<Appended, AppendError>;

    fn is_of_one_cluster(&self) -> bool {
        self.partition.key.cluster == self.caller.cluster
    }
}
