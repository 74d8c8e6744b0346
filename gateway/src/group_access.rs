//! Reaching a group: authorized, and at the slot its coordinator lives in.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use headgate_iam::KafkaAction;
use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::SlotId;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::Charged;
use headgate_storage_client::{Caller, GroupAddress, GroupError, GroupState, MemberIdentity, routing};

use crate::api::Call;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// How long a coordinator may take for what does not wait for others.
pub(crate) const GROUP_PATIENCE: Duration = Duration::from_secs(30);

/// The longest name of a group, member or protocol: older versions count texts in two bytes, so a longer one could never be
/// listed to their clients.
pub(crate) const GROUP_BYTES_MAX: usize = i16::MAX as usize;

/// A group that the principal may do something with.
pub(crate) struct ReachedGroup {
    pub(crate) view: Arc<ClusterView>,
    pub(crate) caller: Caller,
    pub(crate) address: GroupAddress,
}

impl Session {
    /// Finds a group and checks the action on it; the error is the wire code.
    pub(crate) async fn reach_group(
        &self,
        call: &Call,
        action: KafkaAction,
        group: &str,
        patience: Duration,
    ) -> Result<ReachedGroup, i16> {
        let view = self.view().await.map_err(|_| error_code::of_refusal(Refusal::CoordinatorUnavailable))?;
        if group.len() > GROUP_BYTES_MAX {
            return Err(error_code::of_group(&GroupError::InvalidId));
        }
        if !self.may_on_group(&view, action, group) {
            return Err(error_code::of_refusal(Refusal::GroupDenied));
        }
        let caller = self.caller(call, patience, view.revision);
        let address = routing::group(&view.cluster, group);
        Ok(ReachedGroup { view, caller, address })
    }
}

impl ReachedGroup {
    /// Whether a group that is not there yet may be made: the error is the wire code. `Ok` for one that is there.
    pub(crate) async fn admit(&self, session: &Session) -> Result<(), i16> {
        let storage = &session.shared.parts.storage;
        let of_group = |error: GroupError| error_code::of_group(&error);
        let group = storage.describe_group(&self.caller, &self.address).await.map_err(of_group)?;
        if group.state != GroupState::Dead {
            return Ok(());
        }
        let what = Charged::Group { group: Arc::clone(&self.address.group) };
        let charged = session.quota().charge_at_coordinator(&session.shared, what, Duration::ZERO).await;
        let full = || error_code::of_group(&GroupError::LimitReached);
        // Listed after it was charged, so that of two that come at the same moment one at least sees both.
        let granted = charged.map_err(|_| full())?;
        let slots: BTreeSet<SlotId> = self.view.cluster.slot_set.iter().copied().collect();
        let slots: Vec<SlotId> = slots.into_iter().collect();
        let listed = storage.list_groups(&self.caller, &slots).await.map_err(of_group)?;
        let mut groups: HashSet<Arc<str>> = listed.into_iter().map(|listing| listing.group).collect();
        groups.extend(granted.groups);
        groups.insert(Arc::clone(&self.address.group));
        let max = session.quota().limit(QuotaKey::GroupsMax);
        if groups.len() as u64 > max {
            session.shared.metrics.observe_quota_refused(QuotaKey::GroupsMax);
            session.quota().note_refusal(QuotaKey::GroupsMax);
            return Err(full());
        }
        Ok(())
    }
}

/// Who a member says it is, copied out of the frame.
pub(crate) fn identity(member: &str, instance: Option<&str>) -> MemberIdentity {
    MemberIdentity { member: member.into(), instance: instance.map(Into::into) }
}
