//! The requests this client sends, each pinned to one version, with the shape of its answer.
//!
//! One version each keeps the client small; all are understood by every broker since Kafka 2.8 and by Kafka 4.x. The
//! newest versions name topics by id, which a load tester has no use for.

use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::Request;

use super::shape::Field::{self, Array, Compact, CompactArray, Fixed, String, Tags};

/// A request at the version this client speaks.
pub(crate) trait PinnedApi: Request {
    /// The name in messages to people.
    const NAME: &'static str;
    /// The version of request and answer.
    const VERSION: i16;
    /// The answer's body.
    const RESPONSE: &'static [Field];
}

impl PinnedApi for ApiVersionsRequest {
    const NAME: &'static str = "ApiVersions";
    const VERSION: i16 = 3;
    const RESPONSE: &'static [Field] =
        &[Fixed(2), CompactArray(&[Fixed(2), Fixed(2), Fixed(2), Tags]), Fixed(4), Tags];
}

impl PinnedApi for SaslHandshakeRequest {
    const NAME: &'static str = "SaslHandshake";
    const VERSION: i16 = 1;
    const RESPONSE: &'static [Field] = &[Fixed(2), Array(&[String])];
}

impl PinnedApi for SaslAuthenticateRequest {
    const NAME: &'static str = "SaslAuthenticate";
    const VERSION: i16 = 2;
    const RESPONSE: &'static [Field] = &[Fixed(2), Compact, Compact, Fixed(8), Tags];
}

impl PinnedApi for MetadataRequest {
    const NAME: &'static str = "Metadata";
    const VERSION: i16 = 9;
    const RESPONSE: &'static [Field] = &[
        Fixed(4),
        CompactArray(&[Fixed(4), Compact, Fixed(4), Compact, Tags]),
        Compact,
        Fixed(4),
        CompactArray(&[
            Fixed(2),
            Compact,
            Fixed(1),
            CompactArray(&[
                Fixed(2),
                Fixed(4),
                Fixed(4),
                Fixed(4),
                CompactArray(&[Fixed(4)]),
                CompactArray(&[Fixed(4)]),
                CompactArray(&[Fixed(4)]),
                Tags,
            ]),
            Fixed(4),
            Tags,
        ]),
        Fixed(4),
        Tags,
    ];
}

impl PinnedApi for CreateTopicsRequest {
    const NAME: &'static str = "CreateTopics";
    const VERSION: i16 = 5;
    const RESPONSE: &'static [Field] = &[
        Fixed(4),
        CompactArray(&[
            Compact,
            Fixed(2),
            Compact,
            Fixed(4),
            Fixed(2),
            CompactArray(&[Compact, Compact, Fixed(1), Fixed(1), Fixed(1), Tags]),
            Tags,
        ]),
        Tags,
    ];
}

impl PinnedApi for InitProducerIdRequest {
    const NAME: &'static str = "InitProducerId";
    const VERSION: i16 = 4;
    const RESPONSE: &'static [Field] = &[Fixed(4), Fixed(2), Fixed(8), Fixed(2), Tags];
}

impl PinnedApi for ListOffsetsRequest {
    const NAME: &'static str = "ListOffsets";
    const VERSION: i16 = 6;
    const RESPONSE: &'static [Field] = &[
        Fixed(4),
        CompactArray(&[
            Compact,
            CompactArray(&[Fixed(4), Fixed(2), Fixed(8), Fixed(8), Fixed(4), Tags]),
            Tags,
        ]),
        Tags,
    ];
}

impl PinnedApi for ProduceRequest {
    const NAME: &'static str = "Produce";
    const VERSION: i16 = 9;
    const RESPONSE: &'static [Field] = &[
        CompactArray(&[
            Compact,
            CompactArray(&[
                Fixed(4),
                Fixed(2),
                Fixed(8),
                Fixed(8),
                Fixed(8),
                CompactArray(&[Fixed(4), Compact, Tags]),
                Compact,
                Tags,
            ]),
            Tags,
        ]),
        Fixed(4),
        Tags,
    ];
}

impl PinnedApi for FetchRequest {
    const NAME: &'static str = "Fetch";
    const VERSION: i16 = 12;
    const RESPONSE: &'static [Field] = &[
        Fixed(4),
        Fixed(2),
        Fixed(4),
        CompactArray(&[
            Compact,
            CompactArray(&[
                Fixed(4),
                Fixed(2),
                Fixed(8),
                Fixed(8),
                Fixed(8),
                CompactArray(&[Fixed(8), Fixed(8), Tags]),
                Fixed(4),
                Compact,
                Tags,
            ]),
            Tags,
        ]),
        Tags,
    ];
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Message;

    use super::*;

    fn check<R: PinnedApi>() {
        for range in [R::VERSIONS, <R::Response as Message>::VERSIONS] {
            assert!((range.min..=range.max).contains(&R::VERSION), "{} {}", R::NAME, R::VERSION);
        }
    }

    #[test]
    fn the_codec_supports_every_pinned_version_both_ways() {
        check::<ApiVersionsRequest>();
        check::<SaslHandshakeRequest>();
        check::<SaslAuthenticateRequest>();
        check::<MetadataRequest>();
        check::<CreateTopicsRequest>();
        check::<InitProducerIdRequest>();
        check::<ListOffsetsRequest>();
        check::<ProduceRequest>();
        check::<FetchRequest>();
    }
}
