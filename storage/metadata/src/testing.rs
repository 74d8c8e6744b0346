//! Records that tests build on.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{AccountId, ClusterId, SlotId, TimestampMs, TopicId};
use crate::record::{
    AccessKeyRecord, AccessKeyStatus, ClusterLife, ClusterRecord, ClusterState, GroupRecord,
    ManagedPolicyRecord, PolicyVersionRecord, RoleRecord, TopicRecord, UserRecord,
};

pub(crate) fn account() -> AccountId {
    AccountId::checked(123_456_789_012).expect("twelve digits")
}

pub(crate) fn at(ms: u64) -> TimestampMs {
    TimestampMs::new(ms)
}

pub(crate) fn cluster(bits: u64, name: &str) -> ClusterRecord {
    ClusterRecord {
        id: ClusterId::from_random(bits),
        name: name.to_owned(),
        arn_uuid: format!("813876e5-2023-4882-88c4-{bits:012}-s1"),
        account: account(),
        created: at(1_000),
        state: ClusterState::Active,
        slot_set: (0..8).map(SlotId::new).collect(),
        auto_create_topics: false,
        port: None,
        tags: BTreeMap::new(),
        life: ClusterLife::default(),
    }
}

pub(crate) fn topic(bits: u128, name: &str) -> TopicRecord {
    TopicRecord {
        id: TopicId::from_random(bits),
        name: name.to_owned(),
        partitions: 3,
        slots: 4,
        created: at(2_000),
        configs: BTreeMap::new(),
    }
}

pub(crate) fn user(name: &str) -> UserRecord {
    UserRecord {
        name: name.to_owned(),
        user_id: format!("AIDA{name}"),
        account: account(),
        created: at(1_000),
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        groups: BTreeSet::new(),
        access_keys: Vec::new(),
        tags: BTreeMap::new(),
    }
}

pub(crate) fn group(name: &str) -> GroupRecord {
    GroupRecord {
        name: name.to_owned(),
        group_id: format!("AGPA{name}"),
        account: account(),
        created: at(1_000),
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        members: BTreeSet::new(),
    }
}

pub(crate) fn role(name: &str) -> RoleRecord {
    RoleRecord {
        name: name.to_owned(),
        role_id: format!("AROA{name}"),
        account: account(),
        created: at(1_000),
        description: String::new(),
        session_seconds_max: 3_600,
        trust_policy: "{}".to_owned(),
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
        tags: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
    }
}

pub(crate) fn managed_policy(name: &str) -> ManagedPolicyRecord {
    let version = PolicyVersionRecord { number: 1, document: "{}".to_owned(), created: at(1_000) };
    ManagedPolicyRecord {
        name: name.to_owned(),
        policy_id: format!("ANPA{name}"),
        account: account(),
        created: at(1_000),
        updated: at(1_000),
        description: String::new(),
        versions: vec![version],
        default_version: 1,
        next_version: 2,
        attachments: 0,
        tags: BTreeMap::new(),
    }
}

pub(crate) fn access_key(id: &str, user: &str) -> AccessKeyRecord {
    AccessKeyRecord {
        access_key_id: id.to_owned(),
        account: account(),
        user: user.to_owned(),
        sealed_secret: "c2VhbGVk".to_owned(),
        status: AccessKeyStatus::Active,
        created: at(1_000),
    }
}
