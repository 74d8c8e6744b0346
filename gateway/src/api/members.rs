//! What the group APIs have in common: who a member is.

use std::sync::Arc;

use headgate_storage_client::MemberIdentity;
use kafka_protocol::protocol::StrBytes;

/// Copied out of the frame: ids outlive the request.
pub(super) fn identity(member: &StrBytes, instance: Option<&StrBytes>) -> MemberIdentity {
    MemberIdentity { member: shared(member), instance: instance.map(shared) }
}

/// A text that outlives the request.
pub(super) fn shared(text: &StrBytes) -> Arc<str> {
    Arc::from(&**text)
}
