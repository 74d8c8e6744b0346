//! A group's state in Kafka's words.

use headgate_storage_client::GroupState;

/// As `DescribeGroups` and `ListGroups` write it.
pub(super) fn name(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Stable => "Stable",
        GroupState::Dead => "Dead",
    }
}
