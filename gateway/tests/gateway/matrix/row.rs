//! What a row of the matrix says, and what a principal with given rights must see by it.

use std::ops::RangeInclusive;

use futures_util::future::BoxFuture;
use headgate_iam::{KafkaAction, ResourceType};
use kafka_protocol::messages::ApiKey;
use uuid::Uuid;

use crate::support::Client;
use crate::support::signer::Login;

/// What becomes of one of the things asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is done, or shown.
    Done,
    /// It is refused with this code.
    Code(i16),
    /// It is left out of the answer, without an error.
    LeftOut,
}

/// What an action is checked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// The cluster.
    Cluster,
    /// Each of the topics or groups that the request names.
    Each,
    /// The one group that the request names.
    One,
    /// All topics of the cluster.
    AllTopics,
}

/// Something a principal must be allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Any of these is enough.
    pub(crate) any_of: &'static [(KafkaAction, On)],
    /// What is seen where none of them is allowed.
    pub(crate) missing: Seen,
}

/// What a request changes when it is done; told by the stores themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that could be told.
    None,
    /// The topic exists.
    TopicMade,
    /// The topic is gone.
    TopicGone,
    /// The topic has more partitions.
    TopicGrown,
    /// The topic has another config.
    ConfigSet,
    /// The topic has a batch.
    Appended,
    /// The group has an offset of the topic.
    Committed,
    /// The group is gone.
    GroupGone,
}

/// What there is before the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// The topics, and groups of the same names with an offset of each of the topics.
    TopicsAndGroups,
    /// The topics alone.
    Topics,
}

/// How a request is made.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// On a connection that has logged in.
    LoggedIn(for<'a> fn(&'a mut Client, i16, &'a Asked) -> BoxFuture<'a, Vec<Seen>>),
    /// On one that has not.
    Stranger(for<'a> fn(&'a mut Client, i16, &'a Login) -> BoxFuture<'a, Vec<Seen>>),
}

/// One row: an API, or one of the ways to use it.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) api: ApiKey,
    /// Which way.
    pub(crate) way: &'static str,
    pub(crate) versions: (i16, i16),
    /// How many things are asked for.
    pub(crate) things: usize,
    pub(crate) before: Before,
    /// In the order in which they are checked.
    pub(crate) needs: &'static [Need],
    /// What is seen where all of them are met.
    pub(crate) done: Seen,
    pub(crate) effect: Effect,
    pub(crate) call: Call,
}

/// The names of two topics, and of two groups.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) names: [String; 2],
    /// The topics' ids; nil where there are none.
    pub(crate) ids: [Uuid; 2],
}

/// Which resources a grant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// All of the cluster.
    Everything,
    /// The first of those asked for.
    First,
    /// The second.
    Second,
    /// All of another cluster of the same account.
    Elsewhere,
}

/// Rights of a principal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rights {
    pub(crate) allowed: Vec<(KafkaAction, Scope)>,
    pub(crate) denied: Vec<KafkaAction>,
}

impl Row {
    pub(crate) fn name(&self) -> String {
        format!("{:?} {}", self.api, self.way).trim_end().to_owned()
    }

    pub(crate) fn versions(&self) -> RangeInclusive<i16> {
        self.versions.0..=self.versions.1
    }

    /// What a principal with these rights must see of each thing asked for.
    pub(crate) fn expected(&self, rights: &Rights) -> Vec<Seen> {
        let of_thing = |thing| {
            let met = |need: &&Need| need.any_of.iter().any(|(action, on)| rights.cover(*action, *on, thing));
            self.needs.iter().find(|need| !met(need)).map_or(self.done, |need| need.missing)
        };
        (0..self.things).map(of_thing).collect()
    }
}

impl Rights {
    fn cover(&self, action: KafkaAction, on: On, thing: usize) -> bool {
        let covers = |scope: Scope| match (scope, on) {
            (Scope::Everything, _) | (Scope::First, On::One) => true,
            (Scope::First, On::Each) => thing == 0,
            (Scope::Second, On::Each) => thing == 1,
            (Scope::Elsewhere, _) | (Scope::Second, On::One) | (_, On::AllTopics | On::Cluster) => false,
        };
        let granted = self.allowed.iter().any(|(granted, scope)| *granted == action && covers(*scope));
        granted && !self.denied.contains(&action)
    }
}

/// Whether a grant can be for some topics or groups and not for others.
pub(crate) fn is_of_things(action: KafkaAction) -> bool {
    matches!(action.resource_type(), ResourceType::Topic | ResourceType::Group)
}
