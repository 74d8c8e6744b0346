//! The Fetch response around its records, written by hand for all versions: the codec would copy every record into its own
//! buffer. A property test holds it against the codec.

use bytes::{BufMut, Bytes, BytesMut};
use headgate_metadata::id::BrokerId;
use headgate_storage_client::{AbortedTransaction, PartitionAddress};

use super::session::TopicRef;
use crate::api::{Call, put_header};
use crate::budget::InflightBytes;
use crate::connection::{Response, SliceList};
use crate::error_code;

/// From this version on lengths are compact and structs end with tagged fields.
const FLEXIBLE_FROM: i16 = 12;
/// From this version on topics are named by id.
const TOPIC_IDS_FROM: i16 = 13;

/// A Fetch response before it is encoded.
#[derive(Debug)]
pub(crate) struct FetchAnswer {
    /// The whole request's error; it then names no partition.
    pub(crate) error_code: i16,
    pub(crate) session_id: i32,
    pub(crate) entries: Vec<FetchEntry>,
}

/// One partition of a Fetch response.
#[derive(Debug, Clone)]
pub(crate) struct FetchEntry {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    pub(crate) error_code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start: i64,
    /// `None` for readers of uncommitted records.
    pub(crate) aborted: Option<Vec<AbortedTransaction>>,
    pub(crate) records: Vec<Bytes>,
    pub(crate) records_bytes: u64,
    /// Whom the records are billed to.
    pub(crate) source: Option<PartitionAddress>,
    /// The broker to ask from now on (KIP-392).
    pub(crate) preferred_replica: Option<BrokerId>,
}

impl FetchEntry {
    /// A partition that gave nothing but this code.
    pub(crate) fn failure(topic: TopicRef, partition: i32, error_code: i16) -> Self {
        Self {
            topic,
            partition,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start: -1,
            aborted: None,
            records: Vec::new(),
            records_bytes: 0,
            source: None,
            preferred_replica: None,
        }
    }

    /// A partition that is to be asked for at another broker.
    pub(crate) fn elsewhere(topic: TopicRef, partition: i32, broker: BrokerId) -> Self {
        let preferred_replica = Some(broker);
        Self { preferred_replica, ..Self::failure(topic, partition, error_code::NONE) }
    }

    pub(crate) fn failed(&self) -> bool {
        self.error_code != error_code::NONE
    }
}

/// Encodes a response; the records stay the slices they are.
pub(crate) fn encode(call: &Call, answer: &FetchAnswer, reserved: Option<InflightBytes>) -> Response {
    let mut writer = Writer {
        version: call.version,
        flexible: call.version >= FLEXIBLE_FROM,
        head: BytesMut::with_capacity(64 + 64 * answer.entries.len()),
        slices: SliceList::default(),
        bytes: 0,
    };
    put_header(&mut writer.head, i16::from(writer.flexible), call.correlation_id);
    let billable = billable(&answer.entries);
    writer.answer(answer);
    let (mut slices, bytes) = writer.finish();
    slices.push_front(Bytes::copy_from_slice(&(bytes as i32).to_be_bytes()));
    Response { slices, billable, reserved, ..Response::default() }
}

fn billable(entries: &[FetchEntry]) -> Vec<(PartitionAddress, u64)> {
    let sent = |entry: &FetchEntry| Some((entry.source?, entry.records_bytes));
    entries.iter().filter_map(sent).filter(|(_, bytes)| *bytes > 0).collect()
}

struct Writer {
    version: i16,
    flexible: bool,
    /// What comes before the next records.
    head: BytesMut,
    slices: SliceList,
    bytes: usize,
}

impl Writer {
    fn answer(&mut self, answer: &FetchAnswer) {
        self.head.put_i32(0);
        if self.version >= 7 {
            self.head.put_i16(answer.error_code);
            self.head.put_i32(answer.session_id);
        }
        // Partitions of one topic that follow one another share an entry; rotation may split a topic in several.
        let topics = || answer.entries.chunk_by(|left, right| left.topic == right.topic);
        self.count(topics().count());
        for entries in topics() {
            self.topic(entries);
        }
        self.no_tagged_fields();
    }

    fn topic(&mut self, entries: &[FetchEntry]) {
        match &entries[0].topic {
            TopicRef::Id(id) if self.version >= TOPIC_IDS_FROM => self.head.put_slice(id.as_bytes()),
            TopicRef::Name(name) => self.text(name),
            TopicRef::Id(_) => unreachable!("sessions keep to names or to ids"),
        }
        self.count(entries.len());
        for entry in entries {
            self.partition(entry);
        }
        self.no_tagged_fields();
    }

    fn partition(&mut self, entry: &FetchEntry) {
        self.head.put_i32(entry.partition);
        self.head.put_i16(entry.error_code);
        self.head.put_i64(entry.high_watermark);
        self.head.put_i64(entry.last_stable_offset);
        if self.version >= 5 {
            self.head.put_i64(entry.log_start);
        }
        self.aborted(entry.aborted.as_deref());
        if self.version >= 11 {
            self.head.put_i32(entry.preferred_replica.map_or(-1, |broker| broker.get() as i32));
        }
        self.length(entry.records_bytes as usize, 4);
        self.records(&entry.records);
        self.no_tagged_fields();
    }

    fn aborted(&mut self, aborted: Option<&[AbortedTransaction]>) {
        let Some(aborted) = aborted else {
            if self.flexible {
                self.head.put_u8(0);
            } else {
                self.head.put_i32(-1);
            }
            return;
        };
        self.count(aborted.len());
        for transaction in aborted {
            self.head.put_i64(transaction.producer.get() as i64);
            self.head.put_i64(transaction.first_offset.to_wire());
            self.no_tagged_fields();
        }
    }

    fn records(&mut self, records: &[Bytes]) {
        if records.is_empty() {
            return;
        }
        self.flush_head();
        for slice in records {
            self.bytes += slice.len();
            self.slices.push(slice.clone());
        }
    }

    fn count(&mut self, count: usize) {
        self.length(count, 4);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len(), 2);
        self.head.put_slice(text.as_bytes());
    }

    /// A length in its classic form of `width` bytes, or in its compact form: one more, as an unsigned varint.
    fn length(&mut self, length: usize, width: usize) {
        match (self.flexible, width) {
            (false, 2) => self.head.put_i16(length as i16),
            (false, _) => self.head.put_i32(length as i32),
            (true, _) => {
                let mut rest = length as u32 + 1;
                while rest >= 0x80 {
                    self.head.put_u8(rest as u8 | 0x80);
                    rest >>= 7;
                }
                self.head.put_u8(rest as u8);
            }
        }
    }

    fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.head.put_u8(0);
        }
    }

    fn flush_head(&mut self) {
        self.bytes += self.head.len();
        self.slices.push(self.head.split().freeze());
    }

    fn finish(mut self) -> (SliceList, usize) {
        self.flush_head();
        (self.slices, self.bytes)
    }
}

#[cfg(test)]
mod tests;
