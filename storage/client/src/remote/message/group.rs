//! The operations of the group coordinator. Metadata and assignments of members are small, so they travel in the head.

use headgate_metadata::id::SlotId;
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};
use crate::{
    Caller, CommitOffsets, CommittedOffset, FetchOffsets, GroupAddress, GroupDescription, GroupError,
    GroupListing, Join, Joined, Leave, LeaveOutcome, MemberIdentity, Sync, Synced,
};

/// Declares a call to a group's coordinator.
macro_rules! group_call {
    ($(#[$doc:meta])* $name:ident = $kind:ident -> $answer:ty { $($(#[$field_doc:meta])* $n:literal $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
        pub struct $name {
            /// Who asks.
            #[n(0)]
            pub caller: Caller,
            /// Which group.
            #[n(1)]
            pub group: GroupAddress,
            $(
                $(#[$field_doc])*
                #[n($n)]
                pub $field: $type,
            )*
        }

        impl Body for $name {}

        impl Operation for $name {
            const KIND: u16 = kind::$kind;
            type Answer = Result<$answer, GroupError>;

            fn is_of_one_cluster(&self) -> bool {
                self.group.cluster == self.caller.cluster
            }
        }
    };
}

group_call! {
    /// `join_group`.
    JoinGroupCall = JOIN_GROUP -> Joined {
        /// What the member says.
        2 join: Join,
    }
}
group_call! {
    /// `sync_group`.
    SyncGroupCall = SYNC_GROUP -> Synced {
        /// What the member says.
        2 sync: Sync,
    }
}
group_call! {
    /// `heartbeat`.
    HeartbeatCall = HEARTBEAT -> () {
        /// Whose.
        2 identity: MemberIdentity,
        /// In which generation.
        3 generation: i32,
    }
}
group_call! {
    /// `leave_group`.
    LeaveGroupCall = LEAVE_GROUP -> Vec<LeaveOutcome> {
        /// Who leaves.
        2 members: Vec<Leave>,
    }
}
group_call! {
    /// `commit_offsets`.
    CommitOffsetsCall = COMMIT_OFFSETS -> () {
        /// What.
        2 commit: CommitOffsets,
    }
}
group_call! {
    /// `fetch_offsets`.
    FetchOffsetsCall = FETCH_OFFSETS -> Vec<CommittedOffset> {
        /// Which.
        2 fetch: FetchOffsets,
    }
}
group_call! {
    /// `describe_group`.
    DescribeGroupCall = DESCRIBE_GROUP -> GroupDescription {}
}
group_call! {
    /// `delete_group`.
    DeleteGroupCall = DELETE_GROUP -> () {}
}

/// `list_groups`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ListGroupsCall {
    /// Who asks.
    #[n(0)]
    pub caller: Caller,
    /// In which slots, all of the owner that is asked.
    #[n(1)]
    pub slots: Vec<SlotId>,
}

impl Body for ListGroupsCall {}

impl Operation for ListGroupsCall {
    const KIND: u16 = kind::LIST_GROUPS;
    type Answer = Result<Vec<GroupListing>, GroupError>;

    fn is_of_one_cluster(&self) -> bool {
        true
    }
}
