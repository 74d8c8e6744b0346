//! What a handler knows of the connection it serves: one principal on one cluster.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use headgate_iam::{ClusterArns, Effect, KafkaAction};
use headgate_metadata::audit::AuditResult;
use headgate_metadata::catalog::{CatalogError, ClusterView};
use headgate_metadata::client_quota::ClientQuotaKey;
use headgate_metadata::id::{ClusterId, Revision, TopicId};
use headgate_metadata::record::{ClusterRecord, ClusterState, TopicRecord};
use headgate_storage_client::Caller;
use headgate_storage_client::quota::Flow;
use kafka_protocol::messages::ApiKey;
use tokio::sync::Notify;

use crate::api::Call;
use crate::authorize::{Identity, Subject, rights};
use crate::brokers::{BrokerSource, Brokers, LiveGateways};
use crate::budget::Lane;
use crate::fetch::FetchSessionSlot;
use crate::login::arns_of;
use crate::quota::{ClientLimits, ClientLimitsSlot, ConnectionLease, TenantQuota, Throttle};
use crate::refusal::Refusal;
use crate::shared::{AuditLine, Phase, Shared, details_of};

/// An authenticated connection, as handlers see it.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cluster: ClusterId,
    pub(crate) arns: ClusterArns,
    brokers: BrokerSource,
    /// The brokers that the client was told of last on this connection.
    told_brokers: Mutex<Option<Arc<Brokers>>>,
    pub(crate) source: SocketAddr,
    pub(crate) lane: Lane,
    /// Names this connection to the owners, who keep the order of its appends.
    connection: u64,
    pub(crate) remembered_fetch: FetchSessionSlot,
    identity: RwLock<Arc<Identity>>,
    departure: Departure,
    lease: ConnectionLease,
    /// The shortest session timeout of the group members on this connection, in ms.
    member_timeout_ms: AtomicU64,
    slow_down: SlowDown,
    client_limits: ClientLimitsSlot,
}

/// The longest a connection is left unread at once.
const MUTE_MAX: Duration = Duration::from_secs(10);

/// Whether the client has gone, for handlers that wait.
#[derive(Debug, Default)]
struct Departure {
    gone: AtomicBool,
    notify: Notify,
}

/// What the next answer adds to the throttle time. Looked at for every answer, and set for few.
#[derive(Debug, Default)]
struct SlowDown {
    is_set: AtomicBool,
    by: Mutex<Option<Throttle>>,
}

impl SlowDown {
    fn add(&self, by: Throttle) {
        let mut longest = self.by.lock().expect("nobody panics while holding it");
        *longest = Throttle::longer(*longest, Some(by));
        self.is_set.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Throttle> {
        if !self.is_set.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.by.lock().expect("nobody panics while holding it").take()
    }
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        cluster: &ClusterRecord,
        brokers: BrokerSource,
        source: SocketAddr,
        identity: Identity,
        lease: ConnectionLease,
    ) -> Self {
        let arns = arns_of(cluster, &shared.parts.region);
        let lane = shared.budget.cluster(cluster.id);
        let remembered_fetch = Mutex::default();
        // Never 0, which means none.
        let connection = shared.parts.random.bits().max(1);
        Self {
            cluster: cluster.id,
            arns,
            brokers,
            told_brokers: Mutex::default(),
            source,
            lane,
            connection,
            remembered_fetch,
            identity: RwLock::new(Arc::new(identity)),
            departure: Departure::default(),
            lease,
            member_timeout_ms: AtomicU64::new(u64::MAX),
            slow_down: SlowDown::default(),
            client_limits: ClientLimitsSlot::default(),
            shared,
        }
    }

    /// The brokers that an answer lists.
    pub(crate) fn brokers(&self) -> Arc<Brokers> {
        self.brokers.now()
    }

    /// The same, to be told to the client: it goes by them until it asks again.
    pub(crate) async fn tell_brokers(&self) -> Arc<Brokers> {
        if let Some(gateways) = self.brokers.gateways() {
            gateways.fresh().await;
        }
        let brokers = self.brokers();
        *self.told_brokers.lock().expect("nobody panics while holding it") = Some(Arc::clone(&brokers));
        brokers
    }

    /// Tells when the brokers may have changed; `None` = they never do.
    pub(crate) fn broker_changes(&self) -> Option<LiveGateways> {
        self.brokers.gateways().cloned()
    }

    /// Whether a gateway has come, or come back, to which the client would go with some of its work if it asked again.
    pub(crate) fn may_be_relieved(&self) -> bool {
        let told = self.told_brokers.lock().expect("nobody panics while holding it");
        told.as_ref().is_some_and(|told| self.brokers().relieve(told))
    }

    /// A number that is the connection's own.
    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// The cluster's quotas at this gateway.
    pub(crate) fn quota(&self) -> &Arc<TenantQuota> {
        self.lease.quota()
    }

    /// What the cluster's administrator set for this principal with the client id of a request; `None` where nothing.
    pub(crate) fn client_limits(&self, client_id: &Arc<str>) -> Option<Arc<ClientLimits>> {
        self.quota().clients.of(&self.client_limits, || Arc::clone(&self.identity().arn), client_id)
    }

    /// How long a client whose request of this API is answered now is to hold back; it is counted as told. `clients` are
    /// the limits of who sent the request.
    pub(crate) fn throttle(&self, key: ApiKey, clients: Option<&ClientLimits>) -> Option<Throttle> {
        let (flows, of_client): (&[Flow], &[ClientQuotaKey]) = match key {
            ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => return None,
            ApiKey::Produce => (
                &[Flow::Requests, Flow::BytesIn],
                &[ClientQuotaKey::RequestPercentage, ClientQuotaKey::ProducerByteRate],
            ),
            ApiKey::Fetch => {
                (&[Flow::Requests], &[ClientQuotaKey::RequestPercentage, ClientQuotaKey::ConsumerByteRate])
            }
            _ => (&[Flow::Requests], &[ClientQuotaKey::RequestPercentage]),
        };
        let own = clients.and_then(|clients| clients.throttle(of_client));
        let longest = Throttle::longer(self.quota().throttle(flows), self.slow_down.take());
        let longest = Throttle::longer(longest, own)?;
        // Told in whole milliseconds, and never as none.
        let time = longest.time.min(self.mute_max());
        let time = Duration::from_millis(time.as_micros().div_ceil(1_000) as u64);
        let told = Throttle { time, ..longest };
        self.quota().note_throttle(&self.identity().arn, told);
        self.shared.metrics.observe_throttle(self.cluster, told);
        Some(told)
    }

    /// The next answer tells the client to hold back for so long at least.
    pub(crate) fn slow_down(&self, by: Throttle) {
        self.slow_down.add(by);
    }

    /// The longest this connection is left unread at once: a member must be able to say that it lives.
    pub(crate) fn mute_max(&self) -> Duration {
        let timeout = Duration::from_millis(self.member_timeout_ms.load(Ordering::Relaxed));
        MUTE_MAX.min(timeout / 3)
    }

    /// On this connection a group member joins whose coordinator gives it up after so long a silence.
    pub(crate) fn note_member(&self, session_timeout: Duration) {
        self.member_timeout_ms.fetch_min(session_timeout.as_millis() as u64, Ordering::Relaxed);
    }

    /// Who is connected.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().expect("nobody panics while holding the identity"))
    }

    /// Replaces the identity by that of a later login of the same principal.
    pub(crate) fn renew(&self, identity: Identity) {
        *self.identity.write().expect("nobody panics while holding the identity") = Arc::new(identity);
    }

    /// Why the connection may not go on; asked whenever a principal, a policy or a cluster has changed.
    pub(crate) fn revoked(&self) -> Option<&'static str> {
        let cluster = self.shared.parts.catalog.cluster(self.cluster);
        let Some(cluster) = cluster.filter(|cluster| cluster.state == ClusterState::Active) else {
            return Some("cluster deleted");
        };
        let identity = self.identity();
        let authorizer = &self.shared.authorizer;
        if !authorizer.still_valid(&identity) {
            return Some("credential no longer valid");
        }
        // On the plaintext listener nobody asked for it.
        identity.access_key_id.as_ref()?;
        let subject = Subject { arns: &self.arns, cluster: &cluster };
        let resource = self.arns.cluster().to_owned();
        match authorizer.decide(&identity, &subject, rights::SASL_AUTHENTICATE, resource.clone()) {
            Effect::Allow => None,
            effect => {
                self.audit_denial(rights::SASL_AUTHENTICATE, resource, effect.to_string());
                Some("no longer allowed to connect")
            }
        }
    }

    /// Notes that the client has closed.
    pub(crate) fn depart(&self) {
        self.departure.gone.store(true, Ordering::Release);
        self.departure.notify.notify_waiters();
    }

    /// Returns when waiting for something has become pointless: the client has gone or the process is draining.
    pub(crate) async fn pointless(&self) {
        let mut phase = self.shared.phase.subscribe();
        let gone = async {
            let notified = self.departure.notify.notified();
            if !self.departure.gone.load(Ordering::Acquire) {
                notified.await;
            }
        };
        let draining = async {
            // An error means that the gateway is gone.
            drop(phase.wait_for(|phase| matches!(phase, Phase::Draining(_))).await);
        };
        tokio::select! { biased; () = gone => {}, () = draining => {} }
    }

    /// What a call to storage says of its cause.
    pub(crate) fn caller(&self, call: &Call, patience: Duration, revision_seen: Revision) -> Caller {
        Caller {
            cluster: self.cluster,
            principal: Arc::clone(&self.identity().arn),
            client_id: Arc::clone(&call.client_id),
            client_host: self.source.ip().to_canonical(),
            patience,
            request: call.request,
            revision_seen,
            connection: self.connection,
        }
    }

    /// The cluster and its topics, as this gateway has seen them.
    pub(crate) async fn view(&self) -> Result<Arc<ClusterView>, Refusal> {
        self.seen(self.shared.parts.catalog.view(self.cluster).await)
    }

    /// The same, once it contains everything committed before this call. Asked before answering that something is unknown.
    pub(crate) async fn fresh_view(&self) -> Result<Arc<ClusterView>, Refusal> {
        self.seen(self.shared.parts.catalog.refresh(self.cluster).await)
    }

    /// The same, once it contains an own change.
    pub(crate) async fn view_at(&self, revision: Revision) -> Result<Arc<ClusterView>, Refusal> {
        self.seen(self.shared.parts.catalog.catch_up(self.cluster, revision).await)
    }

    /// A cluster that is being deleted refuses everything, as one that is gone.
    fn seen(&self, view: Result<Arc<ClusterView>, CatalogError>) -> Result<Arc<ClusterView>, Refusal> {
        match view {
            Ok(view) if view.cluster.state == ClusterState::Active => Ok(view),
            Ok(_) | Err(CatalogError::ClusterUnknown(_)) => Err(Refusal::UnknownTopic),
            Err(CatalogError::Store(error)) => {
                tracing::warn!(cluster = %self.cluster, %error, "cluster not seen");
                Err(Refusal::MetadataUnavailable)
            }
        }
    }

    /// A view that knows all these names, or is fresh. Unknown names make at most one look at the store.
    pub(crate) async fn view_with<'n>(
        &self,
        names: impl Iterator<Item = &'n str> + Send,
    ) -> Result<Arc<ClusterView>, Refusal> {
        let view = self.view().await?;
        let unknown: Vec<&str> = names.filter(|name| view.topic(name).is_none()).collect();
        self.fresh_unless(view, unknown.is_empty()).await
    }

    /// The same for topic ids.
    pub(crate) async fn view_with_ids(
        &self,
        ids: impl Iterator<Item = TopicId> + Send,
    ) -> Result<Arc<ClusterView>, Refusal> {
        let view = self.view().await?;
        let unknown = ids.filter(|id| view.topic_by_id(*id).is_none()).count();
        self.fresh_unless(view, unknown == 0).await
    }

    async fn fresh_unless(
        &self,
        view: Arc<ClusterView>,
        complete: bool,
    ) -> Result<Arc<ClusterView>, Refusal> {
        if complete { Ok(view) } else { self.fresh_view().await }
    }

    /// Whether the principal may do this on the topic; a denial is audited.
    pub(crate) fn may_on_topic(&self, view: &ClusterView, action: KafkaAction, topic: &str) -> bool {
        self.may(view, action, self.arns.topic(topic))
    }

    /// Whether the principal may do this on the group; a denial is audited.
    pub(crate) fn may_on_group(&self, view: &ClusterView, action: KafkaAction, group: &str) -> bool {
        self.may(view, action, self.arns.group(group))
    }

    /// Whether the principal may do this on the cluster; a denial is audited.
    pub(crate) fn may_on_cluster(&self, view: &ClusterView, action: KafkaAction) -> bool {
        self.may(view, action, self.arns.cluster().to_owned())
    }

    /// Whether the principal may do this on a topic; for filters, which deny nothing that was asked for.
    pub(crate) fn sees_topic(&self, view: &ClusterView, action: KafkaAction, topic: &str) -> bool {
        self.decide(view, action, self.arns.topic(topic)) == Effect::Allow
    }

    /// The same for a group.
    pub(crate) fn sees_group(&self, view: &ClusterView, action: KafkaAction, group: &str) -> bool {
        self.decide(view, action, self.arns.group(group)) == Effect::Allow
    }

    /// The same for the cluster.
    pub(crate) fn sees_cluster(&self, view: &ClusterView, action: KafkaAction) -> bool {
        self.decide(view, action, self.arns.cluster().to_owned()) == Effect::Allow
    }

    /// Whether the principal may use an idempotent producer; a denial is audited and says what would lift it.
    pub(crate) fn may_write_idempotently(&self, view: &ClusterView) -> bool {
        let subject = Subject { arns: &self.arns, cluster: &view.cluster };
        let effect = self.shared.authorizer.decide_idempotence(&self.identity(), &subject);
        if effect == Effect::Allow {
            return true;
        }
        let grant = format!(
            "{effect}; grant kafka-cluster:WriteDataIdempotently on {} or kafka-cluster:WriteData on {}",
            self.arns.cluster(),
            self.arns.topic("*"),
        );
        let action = KafkaAction::WriteDataIdempotently;
        self.audit_denial(action, self.arns.cluster().to_owned(), grant);
        false
    }

    fn may(&self, view: &ClusterView, action: KafkaAction, resource: String) -> bool {
        match self.decide(view, action, resource.clone()) {
            Effect::Allow => true,
            effect => {
                self.audit_denial(action, resource, effect.to_string());
                false
            }
        }
    }

    fn decide(&self, view: &ClusterView, action: KafkaAction, resource: String) -> Effect {
        let subject = Subject { arns: &self.arns, cluster: &view.cluster };
        self.shared.authorizer.decide(&self.identity(), &subject, action, resource)
    }

    fn audit_denial(&self, action: KafkaAction, resource: String, reason: String) {
        self.shared.metrics.observe_denial(action);
        let identity = self.identity();
        self.shared.audit(AuditLine {
            source: self.source.to_string(),
            principal: Some(identity.arn.to_string()),
            cluster: Some(self.cluster.to_string()),
            action: action.name().to_owned(),
            resource: Some(resource),
            result: AuditResult::Denied,
            reason: Some(reason),
            details: details_of(&identity),
        });
    }

    /// The partition's place, if the topic has it.
    pub(crate) fn partition(
        view: &ClusterView,
        topic: &TopicRecord,
        index: i32,
    ) -> Option<headgate_storage_client::PartitionAddress> {
        let index = u32::try_from(index).ok().filter(|index| *index < topic.partitions)?;
        let partition = headgate_metadata::id::PartitionId::new(index);
        Some(headgate_storage_client::routing::partition(&view.cluster, topic, partition))
    }
}
