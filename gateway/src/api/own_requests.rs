//! Requests that the process makes itself, for the control API's topic calls: Kafka's own, through the same handlers, so that
//! whatever holds for clients holds for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use headgate_iam::{Principal, UnixTime};
use headgate_metadata::record::ClusterRecord;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::describe_configs::TOPIC;
use super::{Call, create_partitions, create_topics, delete_topics, incremental_alter_configs, text};
use crate::authorize::{Identity, Source};
use crate::brokers::{BROKER_IDS, BrokerSource, ListedBroker};
use crate::error_code::{self, OwnRefusal};
use crate::gateway::Gateway;
use crate::login::actor_of;
use crate::quota::ConnectionLease;
use crate::session::Session;
use crate::which_cluster::{DialledAs, Reached};

/// The version of each request: the newest whose answer says why.
const CREATE_TOPICS_VERSION: i16 = 7;
const CREATE_PARTITIONS_VERSION: i16 = 3;
const DELETE_TOPICS_VERSION: i16 = 6;
const ALTER_CONFIGS_VERSION: i16 = 1;
/// What the requests say they come from.
const CLIENT_ID: &str = "headgate-control";
/// Sets a config.
const SET: i8 = 0;
/// How long a request may take: half of it may be spent waiting for its turn under the cluster's quota.
const TIMEOUT_MS: i32 = 10_000;
/// "As many as there are."
const REPLICATION_DEFAULT: i16 = -1;

/// On whose behalf, as policies may ask.
#[derive(Debug, Clone)]
pub struct OnBehalf {
    /// Who.
    pub principal: Principal,
    /// The text of the policy that narrows the session.
    pub session_policy: Option<String>,
    /// When the temporary credential was issued.
    pub token_issued_at: Option<UnixTime>,
    /// Where from.
    pub source: SocketAddr,
    /// Whether over TLS.
    pub secure: bool,
    /// What the client says it is.
    pub user_agent: Option<String>,
}

/// Why an own request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct OwnRequestRefused {
    /// What the caller can do.
    pub kind: OwnRefusal,
    /// The words that a client would get.
    pub text: String,
}

impl Gateway {
    /// CreateTopics with one topic. Answered once this gateway has seen the topic.
    pub async fn create_topic(
        &self,
        cluster: &ClusterRecord,
        on_behalf: OnBehalf,
        name: &str,
        partitions: i32,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), OwnRequestRefused> {
        let session = self.own_session(cluster, on_behalf)?;
        let config = |(name, value): (&String, &String)| {
            let (name, value) = (text(name.clone()), text(value.clone()));
            CreatableTopicConfig::default().with_name(name).with_value(Some(value))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(REPLICATION_DEFAULT)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let call = own_call(&session, ApiKey::CreateTopics, CREATE_TOPICS_VERSION);
        let answer = create_topics::handle(&session, &call, request).await;
        let result = answer.topics.into_iter().next();
        outcome(result.map(|result| (result.error_code, result.error_message)))
    }

    /// CreatePartitions with one topic. Answered once this gateway has seen it.
    pub async fn grow_topic(
        &self,
        cluster: &ClusterRecord,
        on_behalf: OnBehalf,
        name: &str,
        partitions: i32,
    ) -> Result<(), OwnRequestRefused> {
        let session = self.own_session(cluster, on_behalf)?;
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let call = own_call(&session, ApiKey::CreatePartitions, CREATE_PARTITIONS_VERSION);
        let answer = create_partitions::handle(&session, &call, request).await;
        let result = answer.results.into_iter().next();
        outcome(result.map(|result| (result.error_code, result.error_message)))
    }

    /// IncrementalAlterConfigs that sets configs of one topic. Answered once this gateway has seen it.
    pub async fn configure_topic(
        &self,
        cluster: &ClusterRecord,
        on_behalf: OnBehalf,
        name: &str,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), OwnRequestRefused> {
        let session = self.own_session(cluster, on_behalf)?;
        let config = |(name, value): (&String, &String)| {
            AlterableConfig::default()
                .with_name(text(name.clone()))
                .with_config_operation(SET)
                .with_value(Some(text(value.clone())))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name.to_owned()))
            .with_configs(configs.iter().map(config).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let call = own_call(&session, ApiKey::IncrementalAlterConfigs, ALTER_CONFIGS_VERSION);
        let answer = incremental_alter_configs::handle(&session, &call, request).await;
        let result = answer.responses.into_iter().next();
        outcome(result.map(|result| (result.error_code, result.error_message)))
    }

    /// DeleteTopics with one topic. Answered once this gateway has seen that it is gone.
    pub async fn delete_topic(
        &self,
        cluster: &ClusterRecord,
        on_behalf: OnBehalf,
        name: &str,
    ) -> Result<(), OwnRequestRefused> {
        let session = self.own_session(cluster, on_behalf)?;
        let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
        let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let call = own_call(&session, ApiKey::DeleteTopics, DELETE_TOPICS_VERSION);
        let answer = delete_topics::handle(&session, &call, request).await;
        let result = answer.responses.into_iter().next();
        outcome(result.map(|result| (result.error_code, result.error_message)))
    }

    /// A session that no connection stands behind.
    fn own_session(
        &self,
        cluster: &ClusterRecord,
        on_behalf: OnBehalf,
    ) -> Result<OwnSession, OwnRequestRefused> {
        let OnBehalf { principal, session_policy, token_issued_at, source, secure, user_agent } = on_behalf;
        let actor = actor_of(&principal).ok_or_else(|| OwnRequestRefused {
            kind: OwnRefusal::Denied,
            text: "only users and roles have policies".to_owned(),
        })?;
        let identity = Identity {
            arn: principal.arn().into(),
            principal,
            access_key_id: None,
            temporary: token_issued_at.is_some(),
            actor: Arc::new(actor),
            session_policy: session_policy.map(Into::into),
            source: Source {
                address: source.ip().to_canonical(),
                secure,
                user_agent: user_agent.map(Into::into),
                token_issued_at,
            },
        };
        // No answer of these requests names a broker.
        let nowhere =
            ListedBroker { id: BROKER_IDS[0], host: "".into(), port: 0, rack: None, is_present: true };
        let reached = Reached { cluster: cluster.id, dialled_as: DialledAs::Address };
        let shared = Arc::clone(self.shared());
        let brokers = BrokerSource::of(&shared.parts.names, reached, nowhere, None);
        let idle = shared.parts.catalog.loaded(cluster.id).is_none();
        let lease = ConnectionLease::of_nobody(&shared, cluster);
        Ok(OwnSession { session: Session::new(shared, cluster, brokers, source, identity, lease), idle })
    }
}

/// A session for one request.
struct OwnSession {
    session: Session,
    /// Whether nobody used the cluster before, so that its topics need not stay loaded.
    idle: bool,
}

impl Deref for OwnSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        if self.idle {
            self.session.shared.parts.catalog.unload(self.session.cluster);
        }
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name.to_owned()))
}

fn own_call(session: &Session, key: ApiKey, version: i16) -> Call {
    Call {
        request: session.shared.next_request(),
        key: key as i16,
        version,
        correlation_id: 0,
        client_id: CLIENT_ID.into(),
    }
}

/// What the answer says of the one thing that was asked for.
fn outcome(result: Option<(i16, Option<StrBytes>)>) -> Result<(), OwnRequestRefused> {
    let (code, message) = result.unwrap_or((error_code::of_refusal(crate::refusal::Refusal::Fault), None));
    match error_code::own_refusal(code) {
        None => Ok(()),
        Some(kind) => {
            let text = message.map_or_else(|| format!("error {code}"), |message| message.to_string());
            Err(OwnRequestRefused { kind, text })
        }
    }
}
