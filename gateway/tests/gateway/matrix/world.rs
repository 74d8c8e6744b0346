//! What the principals of one row meet: a gateway of their own, things to ask for, and a look at what became of them.

use std::collections::{BTreeMap, HashMap};

use headgate_metadata::audit::AuditResult;
use headgate_metadata::id::{Offset, PartitionId, TimestampMs, TopicId};
use headgate_metadata::record::TopicRecord;
use headgate_metadata::topics;
use headgate_storage_client::CommittedOffset;
use uuid::Uuid;

use super::cases::Case;
use super::row::{Asked, Before, Call, Effect, Row, Seen};
use crate::authentication::msk_iam;
use crate::support::signer::Login;
use crate::support::{Client, Harness};

pub(crate) struct World {
    pub(crate) harness: Harness,
    row: Row,
    principals: HashMap<Option<String>, Principal>,
    things: usize,
    lasting: Option<Asked>,
}

/// A user with one policy, and its connection.
struct Principal {
    login: Login,
    /// The code of the login that did not let it in.
    connection: Option<Result<Client, i16>>,
    /// Whether it was ever refused something that leaves an audit line.
    refused: bool,
}

impl World {
    pub(crate) async fn new(row: Row) -> Self {
        let harness = Harness::start().await;
        Self { harness, row, principals: HashMap::new(), things: 0, lasting: None }
    }

    /// Things to ask for: new ones where asking changes them.
    pub(crate) async fn asked(&mut self) -> Asked {
        if let Some(lasting) = &self.lasting {
            return lasting.clone();
        }
        self.things += 1;
        let names = ["a", "b"].map(|letter| format!("{letter}{}", self.things));
        let mut asked = Asked { names, ids: [Uuid::nil(); 2] };
        if self.row.before != Before::Nothing {
            for at in 0..2 {
                asked.ids[at] = self.make_topic(&asked.names[at]).await;
            }
        }
        if self.row.before == Before::TopicsAndGroups {
            for group in &asked.names {
                self.harness.storage.put_group(group, asked.ids.map(offset_of).to_vec());
            }
        }
        if self.row.effect == Effect::None && self.row.before != Before::Nothing {
            self.lasting = Some(asked.clone());
        }
        asked
    }

    async fn make_topic(&self, name: &str) -> Uuid {
        let id = TopicId::from_random(Uuid::new_v4().as_u128());
        let record = TopicRecord {
            id,
            name: name.to_owned(),
            partitions: 1,
            slots: 8,
            created: TimestampMs::new(0),
            configs: BTreeMap::new(),
        };
        let (store, cluster) = (&*self.harness.store, self.harness.cluster.id);
        let revision = topics::create(store, cluster, &record).await.expect("a new topic");
        self.harness.catalog.catch_up(cluster, revision).await.expect("the store is in memory");
        id.uuid()
    }

    /// What a principal sees who asks for these things.
    pub(crate) async fn ask(
        &mut self,
        case: &Case,
        version: i16,
        asked: &Asked,
        expected: &[Seen],
    ) -> Vec<Seen> {
        let policy = case.rights.policy(&self.harness.cluster, &self.harness.other, asked);
        if !self.principals.contains_key(&policy) {
            let name = format!("u{}", self.principals.len());
            let login = self.harness.user(&name, policy.as_deref()).await;
            self.principals.insert(policy.clone(), Principal { login, connection: None, refused: false });
        }
        let principal = self.principals.get_mut(&policy).expect("it was just made");
        principal.refused |= expected.iter().any(|seen| matches!(seen, Seen::Code(29 | 30 | 31 | 53 | 58)));
        match self.row.call {
            Call::LoggedIn(call) => {
                if principal.connection.is_none() {
                    let mut client = self.harness.tls("localhost").await;
                    let code = msk_iam(&mut client, &principal.login).await.error_code;
                    principal.connection = Some(if code == 0 { Ok(client) } else { Err(code) });
                }
                match principal.connection.as_mut().expect("it was just made") {
                    Ok(client) => call(client, version, asked).await,
                    Err(code) => vec![Seen::Code(*code); self.row.things],
                }
            }
            Call::Stranger(call) => {
                let mut client = self.harness.tls("localhost").await;
                call(&mut client, version, &principal.login).await
            }
        }
    }

    /// Whether the request changed each of the things asked for; `None` where it changes nothing.
    pub(crate) async fn changed(&self, asked: &Asked) -> Option<Vec<bool>> {
        let cluster = self.harness.cluster.id;
        let view = self.harness.catalog.view(cluster).await.expect("the store is in memory");
        let storage = &self.harness.storage;
        let of_thing = |at: usize| {
            let name = &asked.names[at];
            let topic = view.topic(name);
            match self.row.effect {
                Effect::None => false,
                Effect::TopicMade => topic.is_some(),
                Effect::TopicGone => topic.is_none(),
                Effect::TopicGrown => topic.is_some_and(|topic| topic.partitions > 1),
                Effect::ConfigSet => topic.is_some_and(|topic| !topic.configs.is_empty()),
                Effect::Appended => topic.is_some_and(|topic| storage.batches_of(topic.id) > 0),
                Effect::Committed => topic.is_some_and(|topic| {
                    let offsets = storage.offsets_of(&asked.names[0]).unwrap_or_default();
                    offsets.iter().any(|offset| offset.topic == topic.id)
                }),
                Effect::GroupGone => storage.offsets_of(name).is_none(),
            }
        };
        (self.row.effect != Effect::None).then(|| (0..self.row.things).map(of_thing).collect())
    }

    /// Principals whose audit lines do not tell of their denials, or tell of denials that were none.
    pub(crate) fn wrongly_audited(&self) -> Vec<String> {
        let audited: Vec<(String, String)> = self
            .harness
            .audit()
            .into_iter()
            .filter(|line| line.result == AuditResult::Denied)
            .map(|line| (line.principal.unwrap_or_default(), line.action))
            .collect();
        let needed: Vec<String> = self
            .row
            .needs
            .iter()
            .flat_map(|need| need.any_of)
            .map(|(action, _)| action.to_string())
            .collect();
        let wrong = |(policy, principal): (&Option<String>, &Principal)| {
            let name = principal.login.secret.trim_end_matches("-secret");
            let mut own = audited.iter().filter(|(arn, _)| arn.ends_with(&format!(":user/{name}")));
            let told = own.clone().next().is_some() && own.all(|(_, action)| needed.contains(action));
            (told != principal.refused).then(|| format!("audit of {policy:?}: refused={}", principal.refused))
        };
        self.principals.iter().filter_map(wrong).collect()
    }
}

fn offset_of(topic: Uuid) -> CommittedOffset {
    CommittedOffset {
        topic: TopicId::from_uuid(topic).expect("not nil"),
        partition: PartitionId::new(0),
        offset: Offset::new(3),
        epoch: None,
        metadata: "".into(),
    }
}
