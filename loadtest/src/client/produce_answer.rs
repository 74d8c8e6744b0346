//! What a producer does next with a batch, by the error code in the answer.

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};

/// The fate of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged, at this offset if the broker still knew it.
    Acknowledged(Option<i64>),
    /// Send the same bytes again.
    Retry(ResponseError),
    /// The broker will never take it; it must never become readable.
    Refused(ResponseError),
    /// The producer cannot go on, and nobody knows whether the batch is in the log.
    Fatal(ResponseError),
}

/// Decides by code and by whether all earlier batches of the partition are settled.
pub(crate) fn fate(error_code: i16, base_offset: i64, is_first: bool) -> Fate {
    let Some(error) = error_code.err() else {
        return Fate::Acknowledged((base_offset >= 0).then_some(base_offset));
    };
    match error {
        // The broker has it, but no longer remembers where.
        ResponseError::DuplicateSequenceNumber => Fate::Acknowledged(None),
        // An earlier batch failed and this one overtook it. As the first one, it means that the log forgot an
        // acknowledged batch.
        ResponseError::OutOfOrderSequenceNumber if !is_first => Fate::Retry(error),
        ResponseError::OutOfOrderSequenceNumber
        | ResponseError::UnknownProducerId
        | ResponseError::InvalidProducerEpoch
        | ResponseError::ProducerFenced => Fate::Fatal(error),
        error if error.is_retriable() => Fate::Retry(error),
        // The server failed in the middle; the batch may or may not be there.
        ResponseError::UnknownServerError => Fate::Fatal(error),
        error => Fate::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_carries_the_offset() {
        assert_eq!(fate(0, 42, true), Fate::Acknowledged(Some(42)));
        assert_eq!(fate(0, -1, true), Fate::Acknowledged(None));
    }

    #[test]
    fn a_duplicate_is_acknowledged_without_an_offset() {
        assert_eq!(fate(46, -1, false), Fate::Acknowledged(None));
    }

    #[test]
    fn an_overtaking_batch_is_sent_again_but_a_hole_before_the_first_is_fatal() {
        assert_eq!(fate(45, -1, false), Fate::Retry(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(fate(45, -1, true), Fate::Fatal(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn errors_that_pass_are_retried() {
        for code in [2, 3, 5, 6, 7, 19, 20, 56, 89] {
            assert!(matches!(fate(code, -1, true), Fate::Retry(_)), "{code}");
        }
    }

    #[test]
    fn errors_that_stay_refuse_the_batch() {
        for code in [10, 17, 29, 87] {
            assert!(matches!(fate(code, -1, true), Fate::Refused(_)), "{code}");
        }
    }

    #[test]
    fn a_lost_producer_identity_is_fatal() {
        for code in [47, 59, -1] {
            assert!(matches!(fate(code, -1, true), Fate::Fatal(_)), "{code}");
        }
    }
}
