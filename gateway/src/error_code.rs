//! Kafka's error codes: the only file that names them. One exhaustive `match` per kind of outcome, so that a new variant
//! does not compile until its code is chosen.
//!
//! Source: `org.apache.kafka.common.protocol.Errors` of Apache Kafka 4.1.

use headgate_storage_client::{AppendError, BatchDefect, GroupError, ReadError, Unavailable};
use kafka_protocol::error::ResponseError as Wire;

use crate::refusal::Refusal;

/// Success.
pub(crate) const NONE: i16 = 0;

/// What an own request's refusal means for who asked, as far as it makes a difference to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnRefusal {
    /// The name is taken.
    Exists,
    /// There is no such topic.
    Unknown,
    /// The policies do not allow it.
    Denied,
    /// A rate is used up: ask more slowly.
    Throttled,
    /// It breaks a rule: ask for something else.
    Invalid,
    /// It cannot be done now: ask again.
    Unavailable,
}

/// What the code in the answer of an own request means; `None` for success.
pub(crate) fn own_refusal(code: i16) -> Option<OwnRefusal> {
    let error = Wire::try_from_code(code)?;
    Some(match error {
        Wire::TopicAlreadyExists => OwnRefusal::Exists,
        Wire::UnknownTopicOrPartition | Wire::UnknownTopicId => OwnRefusal::Unknown,
        Wire::TopicAuthorizationFailed | Wire::ClusterAuthorizationFailed => OwnRefusal::Denied,
        Wire::ThrottlingQuotaExceeded => OwnRefusal::Throttled,
        error if error.is_retriable() => OwnRefusal::Unavailable,
        Wire::UnknownServerError => OwnRefusal::Unavailable,
        _ => OwnRefusal::Invalid,
    })
}

/// The code of a refusal by the gateway.
pub(crate) fn of_refusal(refusal: Refusal) -> i16 {
    match refusal {
        Refusal::UnknownTopic => Wire::UnknownTopicOrPartition,
        Refusal::UnknownTopicId => Wire::UnknownTopicId,
        Refusal::TopicDenied => Wire::TopicAuthorizationFailed,
        Refusal::GroupDenied => Wire::GroupAuthorizationFailed,
        Refusal::ClusterDenied => Wire::ClusterAuthorizationFailed,
        Refusal::InvalidRequest => Wire::InvalidRequest,
        Refusal::InvalidTopicName => Wire::InvalidTopicException,
        Refusal::TopicExists => Wire::TopicAlreadyExists,
        Refusal::InvalidPartitions => Wire::InvalidPartitions,
        Refusal::InvalidReplicationFactor => Wire::InvalidReplicationFactor,
        Refusal::InvalidConfig => Wire::InvalidConfig,
        Refusal::PolicyViolation => Wire::PolicyViolation,
        Refusal::QuotaExceeded => Wire::ThrottlingQuotaExceeded,
        Refusal::InvalidRecord => Wire::InvalidRecord,
        Refusal::BatchTooLarge => Wire::MessageTooLarge,
        Refusal::InvalidTimestamp => Wire::InvalidTimestamp,
        Refusal::InvalidRequiredAcks => Wire::InvalidRequiredAcks,
        Refusal::TimedOut => Wire::RequestTimedOut,
        Refusal::UnsupportedVersion => Wire::UnsupportedVersion,
        Refusal::FetchSessionUnknown => Wire::FetchSessionIdNotFound,
        Refusal::FetchSessionEpoch => Wire::InvalidFetchSessionEpoch,
        Refusal::FetchSessionTopicId => Wire::FetchSessionTopicIdError,
        Refusal::NotCoordinator => Wire::NotCoordinator,
        Refusal::UnsupportedSaslMechanism => Wire::UnsupportedSaslMechanism,
        Refusal::IllegalSaslState => Wire::IllegalSaslState,
        Refusal::AuthenticationFailed => Wire::SaslAuthenticationFailed,
        // Clients refresh their metadata and retry.
        Refusal::MetadataUnavailable => Wire::LeaderNotAvailable,
        Refusal::CoordinatorUnavailable => Wire::CoordinatorNotAvailable,
        Refusal::ChangeUnavailable => Wire::NotController,
        Refusal::MismatchedEndpoint => Wire::MismatchedEndpointType,
        Refusal::UnknownGroup => Wire::GroupIdNotFound,
        Refusal::Fault => Wire::UnknownServerError,
    }
    .code()
}

/// The code of an append that was not acknowledged.
pub(crate) fn of_append(error: AppendError) -> i16 {
    match error {
        // The second is retriable for every client, and refreshing metadata gives the owner time.
        AppendError::NotOwner | AppendError::Refused => Wire::NotLeaderOrFollower,
        AppendError::Removed => Wire::UnknownTopicOrPartition,
        AppendError::ProducerFenced => Wire::InvalidProducerEpoch,
        AppendError::OutOfOrderSequence => Wire::OutOfOrderSequenceNumber,
        AppendError::UnknownProducer => Wire::UnknownProducerId,
        AppendError::OldDuplicate => Wire::DuplicateSequenceNumber,
        AppendError::Unconfirmed => Wire::RequestTimedOut,
    }
    .code()
}

/// The code of a batch that cannot be appended as it is.
pub(crate) fn of_defect(defect: BatchDefect) -> i16 {
    match defect {
        BatchDefect::Length | BatchDefect::Checksum => Wire::CorruptMessage,
        BatchDefect::Magic(_) => Wire::UnsupportedForMessageFormat,
        BatchDefect::Codec(_) => Wire::UnsupportedCompressionType,
        BatchDefect::Count | BatchDefect::Control | BatchDefect::Producer | BatchDefect::Several => {
            Wire::InvalidRecord
        }
    }
    .code()
}

/// The code of a partition that could not be read.
pub(crate) fn of_read(error: ReadError) -> i16 {
    match error {
        ReadError::NotOwner => Wire::NotLeaderOrFollower,
        ReadError::Removed => Wire::UnknownTopicOrPartition,
        ReadError::OutOfRange { .. } => Wire::OffsetOutOfRange,
        ReadError::EpochAhead => Wire::UnknownLeaderEpoch,
        ReadError::Unreadable => Wire::KafkaStorageError,
        ReadError::Corrupt => Wire::CorruptMessage,
    }
    .code()
}

/// The code of an owner that cannot take a call.
pub(crate) fn of_unavailable(unavailable: Unavailable) -> i16 {
    match unavailable {
        Unavailable::NotOwner | Unavailable::Refused => Wire::NotLeaderOrFollower,
    }
    .code()
}

/// The code of a producer id that could not be drawn: every client retries at the coordinator.
pub(crate) fn of_undrawn_producer_id(unavailable: Unavailable) -> i16 {
    match unavailable {
        Unavailable::NotOwner => Wire::NotCoordinator,
        Unavailable::Refused => Wire::CoordinatorNotAvailable,
    }
    .code()
}

/// The code of a refused group call.
pub(crate) fn of_group(error: &GroupError) -> i16 {
    match error {
        GroupError::NotOwner => Wire::NotCoordinator,
        GroupError::Loading => Wire::CoordinatorLoadInProgress,
        GroupError::UnknownMember => Wire::UnknownMemberId,
        GroupError::MemberIdRequired { .. } => Wire::MemberIdRequired,
        GroupError::IllegalGeneration => Wire::IllegalGeneration,
        GroupError::RebalanceInProgress => Wire::RebalanceInProgress,
        GroupError::InconsistentProtocol => Wire::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => Wire::InvalidSessionTimeout,
        GroupError::FencedInstance => Wire::FencedInstanceId,
        GroupError::LimitReached => Wire::GroupMaxSizeReached,
        GroupError::NotEmpty => Wire::NonEmptyGroup,
        GroupError::NotFound => Wire::GroupIdNotFound,
        GroupError::InvalidId => Wire::InvalidGroupId,
        GroupError::MetadataTooLarge => Wire::OffsetMetadataTooLarge,
        GroupError::Unconfirmed => Wire::CoordinatorNotAvailable,
    }
    .code()
}

#[cfg(test)]
mod tests;
