//! The table of codes, variant by variant. The matches above are exhaustive; this holds the numbers.

use std::sync::Arc;

use headgate_metadata::id::Offset;

use super::*;

#[test]
fn every_refusal_has_its_code() {
    let table = [
        (Refusal::UnknownTopic, 3),
        (Refusal::UnknownTopicId, 100),
        (Refusal::TopicDenied, 29),
        (Refusal::GroupDenied, 30),
        (Refusal::ClusterDenied, 31),
        (Refusal::InvalidRequest, 42),
        (Refusal::InvalidTopicName, 17),
        (Refusal::TopicExists, 36),
        (Refusal::InvalidPartitions, 37),
        (Refusal::InvalidReplicationFactor, 38),
        (Refusal::InvalidConfig, 40),
        (Refusal::PolicyViolation, 44),
        (Refusal::QuotaExceeded, 89),
        (Refusal::InvalidRecord, 87),
        (Refusal::BatchTooLarge, 10),
        (Refusal::InvalidTimestamp, 32),
        (Refusal::InvalidRequiredAcks, 21),
        (Refusal::TimedOut, 7),
        (Refusal::UnsupportedVersion, 35),
        (Refusal::FetchSessionUnknown, 70),
        (Refusal::FetchSessionEpoch, 71),
        (Refusal::FetchSessionTopicId, 106),
        (Refusal::NotCoordinator, 16),
        (Refusal::UnsupportedSaslMechanism, 33),
        (Refusal::IllegalSaslState, 34),
        (Refusal::AuthenticationFailed, 58),
        (Refusal::MetadataUnavailable, 5),
        (Refusal::CoordinatorUnavailable, 15),
        (Refusal::ChangeUnavailable, 41),
        (Refusal::MismatchedEndpoint, 114),
        (Refusal::UnknownGroup, 69),
        (Refusal::Fault, -1),
    ];
    for (refusal, code) in table {
        assert_eq!(of_refusal(refusal), code, "{refusal:?}");
    }
}

#[test]
fn every_append_error_has_its_code() {
    let table = [
        (AppendError::NotOwner, 6),
        (AppendError::Removed, 3),
        (AppendError::ProducerFenced, 47),
        (AppendError::OutOfOrderSequence, 45),
        (AppendError::UnknownProducer, 59),
        (AppendError::OldDuplicate, 46),
        (AppendError::Unconfirmed, 7),
        (AppendError::Refused, 6),
    ];
    for (error, code) in table {
        assert_eq!(of_append(error), code, "{error:?}");
    }
}

#[test]
fn every_batch_defect_has_its_code() {
    let table = [
        (BatchDefect::Length, 2),
        (BatchDefect::Checksum, 2),
        (BatchDefect::Magic(1), 43),
        (BatchDefect::Codec(7), 76),
        (BatchDefect::Count, 87),
        (BatchDefect::Control, 87),
        (BatchDefect::Producer, 87),
        (BatchDefect::Several, 87),
    ];
    for (defect, code) in table {
        assert_eq!(of_defect(defect), code, "{defect:?}");
    }
}

#[test]
fn every_read_error_has_its_code() {
    let out_of_range = ReadError::OutOfRange { log_start: Offset::new(1), high_watermark: Offset::new(2) };
    let table = [
        (ReadError::NotOwner, 6),
        (ReadError::Removed, 3),
        (out_of_range, 1),
        (ReadError::EpochAhead, 75),
        (ReadError::Unreadable, 56),
        (ReadError::Corrupt, 2),
    ];
    for (error, code) in table {
        assert_eq!(of_read(error), code, "{error:?}");
    }
}

#[test]
fn every_group_error_has_its_code() {
    let table = [
        (GroupError::NotOwner, 16),
        (GroupError::Loading, 14),
        (GroupError::UnknownMember, 25),
        (GroupError::MemberIdRequired { member: Arc::from("m") }, 79),
        (GroupError::IllegalGeneration, 22),
        (GroupError::RebalanceInProgress, 27),
        (GroupError::InconsistentProtocol, 23),
        (GroupError::InvalidSessionTimeout, 26),
        (GroupError::FencedInstance, 82),
        (GroupError::LimitReached, 81),
        (GroupError::NotEmpty, 68),
        (GroupError::NotFound, 69),
        (GroupError::InvalidId, 24),
        (GroupError::MetadataTooLarge, 12),
        (GroupError::Unconfirmed, 15),
    ];
    for (error, code) in table {
        assert_eq!(of_group(&error), code, "{error:?}");
    }
}

#[test]
fn an_owner_that_cannot_take_a_call_is_looked_for_again() {
    assert_eq!(of_unavailable(Unavailable::NotOwner), 6);
    assert_eq!(of_unavailable(Unavailable::Refused), 6);
    assert_eq!(of_undrawn_producer_id(Unavailable::NotOwner), 16);
    assert_eq!(of_undrawn_producer_id(Unavailable::Refused), 15);
}
