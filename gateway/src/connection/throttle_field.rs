//! Where a response has its `throttle_time_ms`: it is known only when the response leaves, long after it was encoded.
//!
//! Source: the message definitions of Apache Kafka 4.1 (`clients/src/main/resources/common/message`).

use bytes::Buf as _;
use kafka_protocol::messages::ApiKey;

use super::answer::SliceList;
use crate::api::table::APIS;

/// The bytes before a response's body: its length and correlation id, and the count of tagged fields of a flexible header.
const HEADER_BYTES: usize = 8;
/// The bytes of one API in an ApiVersions answer: three numbers, and the count of tagged fields.
const API_ROW_BYTES: usize = 7;

/// A place in a response frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThrottleField {
    /// So many bytes from its start.
    FromStart(usize),
    /// So many bytes from its end.
    FromEnd(usize),
}

impl ThrottleField {
    /// The place for an API's response of a version; `None` if it has none.
    pub(crate) fn of(key: ApiKey, version: i16) -> Option<Self> {
        let since = match key {
            ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => return None,
            ApiKey::Produce => {
                return (version >= 1).then_some(Self::FromEnd(if version >= 9 { 5 } else { 4 }));
            }
            ApiKey::ApiVersions => return Self::of_api_versions(version),
            ApiKey::Metadata | ApiKey::OffsetCommit | ApiKey::OffsetFetch => 3,
            ApiKey::ListOffsets | ApiKey::JoinGroup | ApiKey::CreateTopics | ApiKey::OffsetForLeaderEpoch => {
                2
            }
            ApiKey::Fetch
            | ApiKey::FindCoordinator
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::SyncGroup
            | ApiKey::DescribeGroups
            | ApiKey::ListGroups
            | ApiKey::DeleteTopics => 1,
            // Younger than the field: every version has it, and first.
            _ => 0,
        };
        let flexible_header = usize::from(key.response_header_version(version) >= 1);
        (version >= since).then_some(Self::FromStart(HEADER_BYTES + flexible_header))
    }

    /// Behind the list of APIs; its header is never flexible (KIP-511).
    fn of_api_versions(version: i16) -> Option<Self> {
        // Behind the error code; fewer than 127 APIs are counted in one byte.
        let rows = HEADER_BYTES + 2 + 1 + API_ROW_BYTES * APIS.len();
        match version {
            ..1 => None,
            1..3 => Some(Self::FromEnd(4)),
            3.. => Some(Self::FromStart(rows)),
        }
    }

    /// Writes the time into a response.
    pub(crate) fn write(self, response: &mut SliceList, milliseconds: i32) {
        let offset = match self {
            Self::FromStart(offset) => offset,
            Self::FromEnd(before) => response.remaining() - before,
        };
        response.overwrite(offset, milliseconds.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes};
    use headgate_storage_client::RequestId;
    use kafka_protocol::messages::*;

    use super::*;
    use crate::api::{Call, respond};

    const TIME: i32 = 0x0102_0304;

    fn whole(mut slices: SliceList) -> Bytes {
        slices.copy_to_bytes(slices.remaining())
    }

    /// Encodes the response with the time set before and with the time written afterwards, at every version.
    macro_rules! check {
        ($($key:ident $response:ident,)+) => {
            for api in APIS {
                match api.key {
                    $(ApiKey::$key => for version in api.served.clone() {
                        let (request, key) = (RequestId(1), api.key as i16);
                        let call = Call { request, key, version, correlation_id: 7, client_id: "".into() };
                        let encode = |milliseconds| {
                            let mut response = $response::default().with_throttle_time_ms(milliseconds);
                            prepare(&mut response);
                            respond(&call, &response).expect("a default encodes").slices
                        };
                        let (with, without) = (whole(encode(TIME)), whole(encode(0)));
                        let mut written = encode(0);
                        let field = ThrottleField::of(api.key, version);
                        if let Some(field) = field {
                            field.write(&mut written, TIME);
                        }
                        assert_eq!(field.is_some(), with != without, "{} {version}", api.name);
                        assert_eq!(whole(written), with, "{} {version}", api.name);
                    },)+
                    key => assert_eq!(ThrottleField::of(key, 0), None, "{}", api.name),
                }
            }
        };
    }

    /// ApiVersions has its field behind the rows, so there must be as many as are really told.
    fn prepare(response: &mut dyn std::any::Any) {
        if let Some(response) = response.downcast_mut::<ApiVersionsResponse>() {
            response.api_keys = vec![api_versions_response::ApiVersion::default(); APIS.len()];
        }
    }

    #[test]
    fn what_is_written_later_stands_where_the_codec_would_have_put_it() {
        check! {
            Produce ProduceResponse,
            Fetch FetchResponse,
            ListOffsets ListOffsetsResponse,
            Metadata MetadataResponse,
            OffsetCommit OffsetCommitResponse,
            OffsetFetch OffsetFetchResponse,
            FindCoordinator FindCoordinatorResponse,
            JoinGroup JoinGroupResponse,
            Heartbeat HeartbeatResponse,
            LeaveGroup LeaveGroupResponse,
            SyncGroup SyncGroupResponse,
            DescribeGroups DescribeGroupsResponse,
            ListGroups ListGroupsResponse,
            ApiVersions ApiVersionsResponse,
            CreateTopics CreateTopicsResponse,
            DeleteTopics DeleteTopicsResponse,
            InitProducerId InitProducerIdResponse,
            OffsetForLeaderEpoch OffsetForLeaderEpochResponse,
            DescribeConfigs DescribeConfigsResponse,
            CreatePartitions CreatePartitionsResponse,
            DeleteGroups DeleteGroupsResponse,
            IncrementalAlterConfigs IncrementalAlterConfigsResponse,
            DescribeClientQuotas DescribeClientQuotasResponse,
            AlterClientQuotas AlterClientQuotasResponse,
            DescribeCluster DescribeClusterResponse,
        }
    }
}
