//! Decisions that were made, for as long as nothing they were made from has moved.
//!
//! Invariant: what a decision depends on is in its key: the versions of the policies, and, where it read them, the
//! connection's attributes and the cluster's tags. One that read the clock is never kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_iam::{Decision, Effect, KafkaAction};
use headgate_metadata::id::Revision;
use moka::sync::Cache;

use super::Source;

/// Memory of all decisions kept, by [`weight`]: about 100,000 of usual names.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What a decision takes beside its texts.
const ENTRY_BYTES: usize = 200;

/// What a decision was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DecisionKey {
    pub(super) principal: Arc<str>,
    /// The version of the principal's policies and tags.
    pub(super) identity_version: u64,
    /// The version of the cluster's policy; 0 where it has none.
    pub(super) cluster_version: Revision,
    /// The text of the policy that narrows the session.
    pub(super) session_policy: Option<Arc<str>>,
    pub(super) action: KafkaAction,
    pub(super) resource: String,
    /// `None` where none of them was read.
    pub(super) facts: Option<Facts>,
}

/// What conditions may ask for and policy versions do not tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    pub(super) source: Source,
    pub(super) cluster_tags: BTreeMap<String, String>,
}

/// The cache.
pub(super) struct Decisions(Cache<DecisionKey, Effect>);

impl Decisions {
    pub(super) fn new() -> Self {
        Self(Cache::builder().weigher(|key, _| weight(key)).max_capacity(BYTES_MAX).build())
    }

    /// The decision for a key without facts, if it depends on none; else, if one was made for these facts, that one, with the
    /// facts put into the key.
    pub(super) fn find(&self, key: &mut DecisionKey, facts: impl FnOnce() -> Facts) -> Option<Effect> {
        debug_assert!(key.facts.is_none(), "facts are put in here");
        self.0.get(key).or_else(|| {
            key.facts = Some(facts());
            self.0.get(key)
        })
    }

    /// Keeps a decision as long as its key says, or not at all.
    pub(super) fn keep(&self, mut key: DecisionKey, decision: &Decision) {
        if decision.reads_time {
            return;
        }
        if !decision.reads_source {
            key.facts = None;
        }
        self.0.insert(key, decision.effect.clone());
    }
}

fn weight(key: &DecisionKey) -> u32 {
    let of_facts = |facts: &Facts| {
        let tags: usize = facts.cluster_tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        tags + facts.source.user_agent.as_ref().map_or(0, |agent| agent.len())
    };
    let session_policy = key.session_policy.as_ref().map_or(0, |text| text.len());
    let bytes = ENTRY_BYTES + key.resource.len() + session_policy + key.facts.as_ref().map_or(0, of_facts);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
