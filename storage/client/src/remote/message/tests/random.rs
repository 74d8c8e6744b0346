//! Any value reads back; no bytes panic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, ClusterId, Incarnation, LeaderEpoch, Offset, PartitionId, PartitionKey, ProducerId, Revision,
    SlotId, TimestampMs, TopicId,
};
use headgate_metadata::quota::QuotaKey;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::samples::{batch, quota_grant, quota_report, terms};
use crate::quota::{
    Charge, ChargeOutcome, Charged, Direction, FlowGrant, FlowReport, PartitionCharge, QuotaGrant,
    QuotaReport, Standing,
};
use crate::remote::message::*;
use crate::wire::Message;
use crate::*;

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,12}".prop_map(Into::into)
}

fn blob() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Into::into)
}

/// One for all: a message that mixes clusters is refused.
fn cluster() -> impl Strategy<Value = ClusterId> {
    Just(super::samples::cluster())
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn caller() -> impl Strategy<Value = Caller> {
    let who = (cluster(), text(), text(), any::<std::net::IpAddr>());
    (who, duration(), any::<[u64; 3]>()).prop_map(|(who, patience, [request, revision, connection])| {
        let (cluster, principal, client_id, client_host) = who;
        let (request, revision_seen) = (RequestId(request), Revision::new(revision));
        Caller { cluster, principal, client_id, client_host, patience, request, revision_seen, connection }
    })
}

fn topic() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(TopicId::from_random)
}

fn partition() -> impl Strategy<Value = PartitionAddress> {
    (cluster(), topic(), any::<(u32, u16)>()).prop_map(|(cluster, topic, (partition, slot))| {
        let key = PartitionKey { cluster, topic, partition: PartitionId::new(partition) };
        PartitionAddress { key, slot: SlotId::new(slot) }
    })
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset::new)
}

fn epoch() -> impl Strategy<Value = LeaderEpoch> {
    any::<u32>().prop_map(LeaderEpoch::new)
}

fn slots() -> impl Strategy<Value = Vec<SlotId>> {
    vec(any::<u16>().prop_map(SlotId::new), 0..5)
}

fn append_error() -> impl Strategy<Value = AppendError> {
    prop::sample::select(vec![
        AppendError::NotOwner,
        AppendError::Removed,
        AppendError::ProducerFenced,
        AppendError::OutOfOrderSequence,
        AppendError::UnknownProducer,
        AppendError::OldDuplicate,
        AppendError::Unconfirmed,
        AppendError::Refused,
    ])
}

fn unavailable() -> impl Strategy<Value = Unavailable> {
    prop::sample::select(vec![Unavailable::NotOwner, Unavailable::Refused])
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop::sample::select(vec![Isolation::ReadUncommitted, Isolation::ReadCommitted])
}

fn read_error() -> impl Strategy<Value = ReadError> {
    let plain = prop::sample::select(vec![
        ReadError::NotOwner,
        ReadError::Removed,
        ReadError::EpochAhead,
        ReadError::Unreadable,
        ReadError::Corrupt,
    ]);
    let out_of_range = (offset(), offset())
        .prop_map(|(log_start, high_watermark)| ReadError::OutOfRange { log_start, high_watermark });
    prop_oneof![plain, out_of_range]
}

fn read_outcome() -> impl Strategy<Value = ReadOutcome> {
    let aborted = (any::<u64>().prop_map(ProducerId::new), offset())
        .prop_map(|(producer, first_offset)| AbortedTransaction { producer, first_offset });
    let pieces = vec((0..20_000_usize).prop_map(|length| Bytes::from(vec![5; length])), 0..4);
    let success = (pieces, offset(), offset(), offset(), vec(aborted, 0..3)).prop_map(
        |(records, high_watermark, last_stable_offset, log_start, aborted)| ReadSuccess {
            records_bytes: records.iter().map(|piece| piece.len() as u64).sum(),
            records,
            high_watermark,
            last_stable_offset,
            log_start,
            aborted,
        },
    );
    prop_oneof![success.prop_map(Ok), read_error().prop_map(Err)]
}

fn offset_query() -> impl Strategy<Value = OffsetQuery> {
    prop_oneof![
        Just(OffsetQuery::Earliest),
        Just(OffsetQuery::MaxTimestamp),
        isolation().prop_map(OffsetQuery::Latest),
        any::<i64>().prop_map(OffsetQuery::AtLeast),
    ]
}

fn group() -> impl Strategy<Value = GroupAddress> {
    (cluster(), text(), any::<u16>()).prop_map(|(cluster, group, slot)| GroupAddress {
        cluster,
        group,
        slot: SlotId::new(slot),
    })
}

fn identity() -> impl Strategy<Value = MemberIdentity> {
    (text(), option::of(text())).prop_map(|(member, instance)| MemberIdentity { member, instance })
}

fn group_error() -> impl Strategy<Value = GroupError> {
    use GroupError as E;
    let plain = prop::sample::select(vec![
        E::NotOwner,
        E::Loading,
        E::UnknownMember,
        E::IllegalGeneration,
        E::RebalanceInProgress,
        E::InconsistentProtocol,
        E::InvalidSessionTimeout,
        E::FencedInstance,
        E::LimitReached,
        E::NotEmpty,
        E::NotFound,
        E::InvalidId,
        E::MetadataTooLarge,
        E::Unconfirmed,
    ]);
    prop_oneof![plain, text().prop_map(|member| E::MemberIdRequired { member })]
}

fn join() -> impl Strategy<Value = Join> {
    let times = (duration(), duration());
    (identity(), text(), vec((text(), blob()), 0..3), times, any::<(bool, bool)>()).prop_map(
        |(identity, protocol_type, protocols, (session_timeout, rebalance_timeout), flags)| Join {
            identity,
            protocol_type,
            protocols,
            session_timeout,
            rebalance_timeout,
            member_id_required: flags.0,
            supports_skip_assignment: flags.1,
        },
    )
}

fn joined() -> impl Strategy<Value = Joined> {
    let member = (identity(), blob()).prop_map(|(identity, metadata)| JoinedMember { identity, metadata });
    let texts = (text(), text(), text(), text());
    (any::<(i32, bool)>(), texts, vec(member, 0..3)).prop_map(|((generation, skip), texts, members)| Joined {
        generation,
        protocol_type: texts.0,
        protocol: texts.1,
        leader: texts.2,
        member: texts.3,
        skip_assignment: skip,
        members,
    })
}

fn sync() -> impl Strategy<Value = Sync> {
    let protocol = (option::of(text()), option::of(text()));
    (identity(), any::<i32>(), protocol, vec((text(), blob()), 0..3)).prop_map(
        |(identity, generation, (protocol_type, protocol), assignments)| Sync {
            identity,
            generation,
            protocol_type,
            protocol,
            assignments,
        },
    )
}

fn offset_to_commit() -> impl Strategy<Value = OffsetToCommit> {
    (topic(), any::<u32>(), offset(), option::of(epoch()), text()).prop_map(
        |(topic, partition, offset, epoch, metadata)| OffsetToCommit {
            topic,
            partition: PartitionId::new(partition),
            offset,
            epoch,
            metadata,
        },
    )
}

fn state() -> impl Strategy<Value = GroupState> {
    use GroupState as S;
    prop::sample::select(vec![S::Empty, S::PreparingRebalance, S::CompletingRebalance, S::Stable, S::Dead])
}

fn description() -> impl Strategy<Value = GroupDescription> {
    let member = (identity(), text(), text(), blob(), blob()).prop_map(
        |(identity, client_id, client_host, metadata, assignment)| MemberDescription {
            identity,
            client_id,
            client_host,
            metadata,
            assignment,
        },
    );
    (state(), text(), text(), vec(member, 0..3)).prop_map(|(state, protocol_type, protocol, members)| {
        GroupDescription { state, protocol_type, protocol, members }
    })
}

fn flow_report() -> impl Strategy<Value = FlowReport> {
    let heard = (any::<(i64, i64)>(), duration());
    let heard = heard.prop_map(|((balance, lazy), age)| Standing { balance, lazy, age });
    (any::<[u64; 6]>(), 0.0..1e15, option::of(heard)).prop_map(|(amounts, rate, heard)| {
        let [used, counted, allowed, waiting, aged, largest] = amounts;
        FlowReport { used, counted, allowed, rate, waiting, aged, heard, largest }
    })
}

fn flow_grant() -> impl Strategy<Value = FlowGrant> {
    (any::<[u64; 3]>(), 0.0..1e15, any::<bool>(), any::<[i64; 2]>()).prop_map(
        |([allowed, counted, cluster_rate], rate, contended, [balance, lazy])| FlowGrant {
            allowed,
            rate,
            counted,
            contended,
            cluster_rate,
            balance,
            lazy,
        },
    )
}

fn charged() -> impl Strategy<Value = Charged> {
    prop_oneof![
        Just(Charged::Connection),
        Just(Charged::TopicOperation),
        any::<u32>().prop_map(|partitions| Charged::PartitionChanges { partitions }),
        text().prop_map(|group| Charged::Group { group }),
    ]
}

fn charge_outcome() -> impl Strategy<Value = ChargeOutcome> {
    let quota = prop::sample::select(QuotaKey::ALL);
    prop_oneof![
        (duration(), vec(text(), 0..3)).prop_map(|(wait, groups)| ChargeOutcome::Granted { wait, groups }),
        (quota, option::of(duration()))
            .prop_map(|(quota, retry_after)| ChargeOutcome::Over { quota, retry_after }),
    ]
}

fn partition_charge() -> impl Strategy<Value = PartitionCharge> {
    (partition(), any::<(bool, u64, u64)>()).prop_map(|(partition, (is_in, bytes, limit))| {
        let direction = if is_in { Direction::In } else { Direction::Out };
        PartitionCharge { partition, direction, bytes, limit }
    })
}

fn either<T: std::fmt::Debug, E: std::fmt::Debug>(
    ok: impl Strategy<Value = T>,
    err: impl Strategy<Value = E>,
) -> impl Strategy<Value = Result<T, E>> {
    prop_oneof![ok.prop_map(Ok), err.prop_map(Err)]
}

fn same<O: Operation + PartialEq + Clone + std::fmt::Debug>(question: &O) -> Result<(), TestCaseError> {
    prop_assert_eq!(&O::from_message(question.clone().to_message()).expect("our own"), question);
    Ok(())
}

fn same_answer<O: Operation>(answer: &O::Answer) -> Result<(), TestCaseError>
where
    O::Answer: PartialEq + Clone + std::fmt::Debug,
{
    prop_assert_eq!(&O::answer_from_message(O::answer_to_message(answer.clone())).expect("our own"), answer);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn appends(caller in caller(), partition in partition(), round: u64, records: Vec<u8>, error in append_error(),
               at in (offset(), offset(), option::of(any::<u64>().prop_map(TimestampMs::new)))) {
        same(&AppendCall::new(caller, partition, round, &batch(&records)))?;
        let appended = Appended { base_offset: at.0, log_start: at.1, log_append_time: at.2 };
        same_answer::<AppendCall>(&Ok(appended))?;
        same_answer::<AppendCall>(&Err(error))?;
    }

    #[test]
    fn reads(caller in caller(), partitions in vec((partition(), offset(), any::<u64>(), option::of(epoch())), 0..4),
             bytes_max: u64, isolation in isolation(), outcomes in vec(read_outcome(), 0..4)) {
        let partitions = partitions.into_iter().map(|(partition, offset, bytes_max, current_epoch)| {
            PartitionRead { partition, offset, bytes_max, current_epoch }
        }).collect();
        same(&ReadCall { caller, request: ReadRequest { partitions, bytes_max, isolation } })?;
        let sent = ReadCall::answer_to_message(ReadAnswer::new(outcomes.clone()));
        let read = ReadCall::answer_from_message(sent).expect("our own").outcomes;
        prop_assert_eq!(read.len(), outcomes.len());
        for (read, outcome) in read.into_iter().zip(outcomes) {
            // Pieces may be joined; their bytes are the same.
            let joined = |outcome: ReadOutcome| outcome.map(|success| {
                (success.records.concat(), ReadSuccess { records: Vec::new(), ..success })
            });
            prop_assert_eq!(joined(read), joined(outcome));
        }
    }

    #[test]
    fn waits(caller in caller(), from in vec((partition(), offset()), 0..4), bytes_min: u64) {
        same(&AwaitDataCall { caller, from, bytes_min })?;
        same_answer::<AwaitDataCall>(&DataAwaited {})?;
    }

    #[test]
    fn offsets(caller in caller(), partition in partition(), query in offset_query(), epoch in epoch(),
               found in (option::of(offset()), any::<i64>(), option::of(epoch())), error in read_error()) {
        same(&OffsetsAtCall { caller: caller.clone(), partition, query })?;
        same_answer::<OffsetsAtCall>(&Ok(OffsetAt { offset: found.0, timestamp: found.1, epoch: found.2 }))?;
        same_answer::<OffsetsAtCall>(&Err(error))?;
        same(&EpochEndCall { caller, partition, epoch })?;
        same_answer::<EpochEndCall>(&Ok(EpochEnd { epoch: found.2, end: found.0 }))?;
    }

    #[test]
    fn producer_ids(caller in caller(), id in either(any::<u64>().prop_map(ProducerId::new), unavailable())) {
        same(&AllocateProducerIdCall { caller })?;
        same_answer::<AllocateProducerIdCall>(&id)?;
    }

    #[test]
    fn rebalances(caller in caller(), group in group(), join in join(), joined in either(joined(), group_error()),
                  sync in sync(), synced in (text(), text(), blob()), identity in identity(), generation: i32,
                  leaves in vec(identity(), 0..3), left in vec(either(Just(()), group_error()), 0..3)) {
        same(&JoinGroupCall { caller: caller.clone(), group: group.clone(), join })?;
        same_answer::<JoinGroupCall>(&joined)?;
        same(&SyncGroupCall { caller: caller.clone(), group: group.clone(), sync })?;
        let synced = Synced { protocol_type: synced.0, protocol: synced.1, assignment: synced.2 };
        same_answer::<SyncGroupCall>(&Ok(synced))?;
        same(&HeartbeatCall { caller: caller.clone(), group: group.clone(), identity, generation })?;
        let members = leaves.into_iter().map(|identity| Leave { identity }).collect();
        same(&LeaveGroupCall { caller, group, members })?;
        same_answer::<LeaveGroupCall>(&Ok(left))?;
    }

    #[test]
    fn groups(caller in caller(), group in group(), identity in identity(), generation: i32,
              offsets in vec(offset_to_commit(), 0..3), done in either(Just(()), group_error()),
              partitions in option::of(vec((topic(), any::<u32>().prop_map(PartitionId::new)), 0..3)),
              described in either(description(), group_error()), slots in slots(),
              listed in vec((text(), text(), state()), 0..3)) {
        let commit = CommitOffsets { identity: identity.clone(), generation, offsets: offsets.clone() };
        same(&CommitOffsetsCall { caller: caller.clone(), group: group.clone(), commit })?;
        same_answer::<CommitOffsetsCall>(&done)?;
        let fetch = FetchOffsets { identity: Some((identity, generation)), partitions };
        same(&FetchOffsetsCall { caller: caller.clone(), group: group.clone(), fetch })?;
        same_answer::<FetchOffsetsCall>(&Ok(offsets))?;
        same(&DescribeGroupCall { caller: caller.clone(), group: group.clone() })?;
        same_answer::<DescribeGroupCall>(&described)?;
        same(&DeleteGroupCall { caller: caller.clone(), group })?;
        same(&ListGroupsCall { caller, slots })?;
        let listed = listed.into_iter().map(|(group, protocol_type, state)| GroupListing { group, protocol_type, state });
        same_answer::<ListGroupsCall>(&Ok(listed.collect()))?;
    }

    #[test]
    fn usage(gateway: u64, figures in vec((partition(), any::<u64>().prop_map(ByteCount::new)), 0..4),
             cluster in cluster(), slots in slots(), error in unavailable()) {
        let sent = figures.iter().map(|(partition, total)| SentBytes { partition: *partition, total: *total });
        same(&ReportSentCall { gateway: Incarnation::new(gateway), sent: sent.collect() })?;
        same(&PartitionSizesCall { cluster, slots })?;
        let sizes = figures.iter().map(|(partition, size)| PartitionSize { partition: *partition, size: *size });
        same_answer::<PartitionSizesCall>(&Ok(sizes.collect()))?;
        same_answer::<ReportSentCall>(&Err(error))?;
    }

    #[test]
    fn quotas(caller in caller(), flow in flow_report(), grant in flow_grant(), what in charged(), wait_max in duration(),
              outcome in either(charge_outcome(), unavailable()), charges in vec(partition_charge(), 0..3),
              over in vec(duration(), 0..3)) {
        let slot = SlotId::new(300);
        let report = QuotaReport { flows: [flow; 3], ..quota_report() };
        same(&ExchangeQuotaCall { caller: caller.clone(), slot, report })?;
        same_answer::<ExchangeQuotaCall>(&Ok(QuotaGrant { flows: [grant; 3], ..quota_grant() }))?;
        let charge = Charge { gateway: Incarnation::new(1), terms: terms(), what, wait_max };
        same(&ChargeQuotaCall { caller: caller.clone(), slot, charge })?;
        same_answer::<ChargeQuotaCall>(&outcome)?;
        same(&ChargePartitionsCall { caller, slot, charges })?;
        same_answer::<ChargePartitionsCall>(&Ok(over))?;
    }
}

/// Gives the same bytes to the decoders of an operation, as question and as answer.
fn decode_both<O: Operation>(head: &Bytes, payload: &[Bytes]) {
    let message = Message { kind: O::KIND, head: head.clone(), payload: payload.to_vec() };
    drop(O::from_message(message.clone()));
    drop(O::answer_from_message(message));
}

fn decode_all(head: &Bytes, payload: &[Bytes]) {
    decode_both::<AppendCall>(head, payload);
    decode_both::<ReadCall>(head, payload);
    decode_both::<AwaitDataCall>(head, payload);
    decode_both::<OffsetsAtCall>(head, payload);
    decode_both::<EpochEndCall>(head, payload);
    decode_both::<AllocateProducerIdCall>(head, payload);
    decode_both::<JoinGroupCall>(head, payload);
    decode_both::<SyncGroupCall>(head, payload);
    decode_both::<HeartbeatCall>(head, payload);
    decode_both::<LeaveGroupCall>(head, payload);
    decode_both::<CommitOffsetsCall>(head, payload);
    decode_both::<FetchOffsetsCall>(head, payload);
    decode_both::<DescribeGroupCall>(head, payload);
    decode_both::<ListGroupsCall>(head, payload);
    decode_both::<DeleteGroupCall>(head, payload);
    decode_both::<ReportSentCall>(head, payload);
    decode_both::<PartitionSizesCall>(head, payload);
    decode_both::<ExchangeQuotaCall>(head, payload);
    decode_both::<ChargeQuotaCall>(head, payload);
    decode_both::<ChargePartitionsCall>(head, payload);
    decode_both::<OwnersCall>(head, payload);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(head in blob(), payload in vec(blob(), 0..3)) {
        decode_all(&head, &payload);
    }

    /// A valid message with a few bytes changed gets further into the decoders than noise.
    #[test]
    fn no_damage_makes_a_decoder_panic(
        caller in caller(), join in join(), outcomes in vec(read_outcome(), 0..3), damage in vec(any::<(u16, u8)>(), 1..4),
    ) {
        let group = super::samples::group();
        let messages = [
            JoinGroupCall { caller: caller.clone(), group, join }.to_message(),
            ReadCall::answer_to_message(ReadAnswer::new(outcomes)),
            AppendCall::new(caller, super::samples::partition(), 0, &batch(b"x")).to_message(),
        ];
        for message in messages {
            let mut head = message.head.to_vec();
            for (at, byte) in &damage {
                let length = head.len();
                head[usize::from(*at) % length] = *byte;
            }
            decode_all(&head.into(), &message.payload);
        }
    }
}
