//! The control API's topic calls, as Kafka requests of this process's own gateway.

use std::sync::Arc;

use async_trait::async_trait;
use headgate_control::{NewTopic, Requester, TopicRefusal, TopicRefused, TopicUpdate, Topics};
use headgate_gateway::{Gateway, OnBehalf, OwnRefusal, OwnRequestRefused};
use headgate_metadata::record::{ClusterRecord, TopicRecord};
use headgate_metadata::store::SharedStore;
use headgate_metadata::topics;

/// The gateway, and where what it made is looked up.
pub(crate) struct GatewayTopics {
    gateway: Arc<Gateway>,
    store: SharedStore,
}

impl GatewayTopics {
    pub(crate) fn new(gateway: Arc<Gateway>, store: SharedStore) -> Self {
        Self { gateway, store }
    }

    async fn load(&self, cluster: &ClusterRecord, name: &str) -> Result<TopicRecord, TopicRefused> {
        match topics::load(&*self.store, cluster.id, name).await {
            Ok(Some(topic)) => Ok(topic),
            Ok(None) => Err(refused(TopicRefusal::Unknown, format!("Topic {name} does not exist."))),
            Err(error) => {
                tracing::warn!(cluster = %cluster.id, topic = name, %error, "topic not read");
                Err(refused(TopicRefusal::Unavailable, "The topic cannot be read now.".to_owned()))
            }
        }
    }
}

#[async_trait]
impl Topics for GatewayTopics {
    async fn create(&self, requester: Requester<'_>, topic: NewTopic) -> Result<TopicRecord, TopicRefused> {
        let (cluster, on_behalf) = (requester.cluster, on_behalf(&requester));
        let partitions = wire_count(topic.partitions);
        self.gateway
            .create_topic(cluster, on_behalf, &topic.name, partitions, &topic.configs)
            .await
            .map_err(told)?;
        self.load(cluster, &topic.name).await
    }

    async fn update(
        &self,
        requester: Requester<'_>,
        update: TopicUpdate,
    ) -> Result<TopicRecord, TopicRefused> {
        let (cluster, name) = (requester.cluster, &update.name);
        // Configs first: they are the more likely to be refused, and partitions cannot be taken back.
        if !update.configs.is_empty() {
            let on_behalf = on_behalf(&requester);
            self.gateway.configure_topic(cluster, on_behalf, name, &update.configs).await.map_err(told)?;
        }
        if let Some(partitions) = update.partitions {
            let (on_behalf, partitions) = (on_behalf(&requester), wire_count(partitions));
            self.gateway.grow_topic(cluster, on_behalf, name, partitions).await.map_err(told)?;
        }
        self.load(cluster, name).await
    }

    async fn delete(&self, requester: Requester<'_>, name: &str) -> Result<TopicRecord, TopicRefused> {
        let (cluster, on_behalf) = (requester.cluster, on_behalf(&requester));
        let topic = self.load(cluster, name).await?;
        self.gateway.delete_topic(cluster, on_behalf, name).await.map_err(told)?;
        Ok(topic)
    }
}

fn on_behalf(requester: &Requester<'_>) -> OnBehalf {
    OnBehalf {
        principal: requester.principal.clone(),
        session_policy: requester.session_policy.map(str::to_owned),
        token_issued_at: requester.token_issued_at,
        source: requester.source,
        secure: requester.secure,
        user_agent: requester.user_agent.map(str::to_owned),
    }
}

/// More than the wire can say is more than any cluster may have.
fn wire_count(partitions: u32) -> i32 {
    i32::try_from(partitions).unwrap_or(i32::MAX)
}

fn refused(kind: TopicRefusal, text: String) -> TopicRefused {
    TopicRefused { kind, text }
}

fn told(error: OwnRequestRefused) -> TopicRefused {
    let kind = match error.kind {
        OwnRefusal::Exists => TopicRefusal::Exists,
        OwnRefusal::Unknown => TopicRefusal::Unknown,
        OwnRefusal::Denied => TopicRefusal::Denied,
        OwnRefusal::Throttled => TopicRefusal::Throttled,
        OwnRefusal::Invalid => TopicRefusal::Invalid,
        OwnRefusal::Unavailable => TopicRefusal::Unavailable,
    };
    refused(kind, error.text)
}
