//! A gateway on loopback over an in-memory metadata store and the storage double.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use headgate_gateway::{
    Gateway, GatewayConfig, GatewayParts, HostNames, ListenerSecurity, ListenerSpec, LiveGateways,
    RandomBits, SystemRandom, WallClock,
};
use headgate_iam::{MasterKey, SecretKey, UnixTime, secret_box};
use headgate_metadata::audit::{AuditMemory, AuditRecord};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::client_quotas::ClientQuotas;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{AccountId, ClusterId, Incarnation, Revision, SlotId, TimestampMs};
use headgate_metadata::principals::Principals;
use headgate_metadata::quota::QuotaKey;
use headgate_metadata::quotas::Quotas;
use headgate_metadata::record::{
    AccessKeyRecord, AccessKeyStatus, ClusterLife, ClusterPolicyRecord, ClusterRecord, ClusterState, Record,
    UserRecord,
};
use headgate_metadata::store::{Outcome, SharedStore, Transaction, Write};
use headgate_metadata::{clusters, keys, users};
use headgate_storage_client::Storage;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::client::Client;
use super::signer::Login;
use super::storage::FakeStorage;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const SUFFIX: &str = "c1.kafka-serverless.us-east-1.headgate.test";
pub(crate) const ADMIN_KEY: &str = "AKIAADMIN00000000001";
pub(crate) const ADMIN_SECRET: &str = "admin-secret";

/// A clock that stands until a test moves it.
pub(crate) struct HandClock(Mutex<UnixTime>);

impl WallClock for HandClock {
    fn now(&self) -> UnixTime {
        *self.0.lock().expect("no test panics while holding it")
    }
}

impl HandClock {
    pub(crate) fn advance(&self, seconds: u64) {
        let mut now = self.0.lock().expect("no test panics while holding it");
        *now = now.plus(std::time::Duration::from_secs(seconds));
    }
}

/// Everything a test needs.
pub(crate) struct Harness<S = FakeStorage> {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) storage: Arc<S>,
    pub(crate) store: SharedStore,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) principals: Arc<Principals>,
    quotas: Arc<Quotas>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) master_key: MasterKey,
    pub(crate) cluster: ClusterRecord,
    /// Another cluster of the same account.
    pub(crate) other: ClusterRecord,
    /// A cluster of another account, of the same name as the first.
    pub(crate) neighbour: ClusterRecord,
    pub(crate) registry: Registry,
    audit: Arc<AuditMemory>,
    plaintext: u16,
    iam: u16,
    bound: u16,
    roots: RootCertStore,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    pub(crate) async fn with(config: GatewayConfig) -> Self {
        Self::over(config, Arc::new(EmbeddedStore::in_memory()), FakeStorage::new()).await
    }

    /// One of several gateways.
    pub(crate) async fn in_fleet(gateways: LiveGateways) -> Self {
        let store = Arc::new(EmbeddedStore::in_memory());
        Self::build(GatewayConfig::default(), store, FakeStorage::new(), Some(gateways)).await
    }
}

impl<S: Storage> Harness<S> {
    /// On an empty metadata store.
    pub(crate) async fn over(config: GatewayConfig, store: SharedStore, storage: Arc<S>) -> Self {
        Self::build(config, store, storage, None).await
    }

    async fn build(
        config: GatewayConfig,
        store: SharedStore,
        storage: Arc<S>,
        fleet: Option<LiveGateways>,
    ) -> Self {
        let cluster = cluster(&store, account(), "demo", "aaaaaaaa").await;
        let other = self::cluster(&store, account(), "other", "bbbbbbbb").await;
        let neighbour = self::cluster(&store, neighbours_account(), "demo", "cccccccc").await;
        let master_key = MasterKey::new(&[7; 32]);
        seed_user(&store, &master_key, &administrator(), Some(ALLOW_ALL)).await;
        seed_user(&store, &master_key, &neighbours_administrator(), Some(ALLOW_ALL)).await;
        let clock = Arc::new(HandClock(Mutex::new(UnixTime::from_seconds(1_800_000_000))));
        let audit = Arc::new(AuditMemory::default());
        let principals = Principals::start(Arc::clone(&store)).await.expect("the store is in memory");
        let catalog = Catalog::start(Arc::clone(&store)).await.expect("the store is in memory");
        let quotas = Quotas::start(Arc::clone(&store)).await.expect("the store is in memory");
        let client_quotas = ClientQuotas::start(Arc::clone(&store)).await.expect("the store is in memory");
        let parts = GatewayParts {
            storage: Arc::clone(&storage) as _,
            catalog: Arc::clone(&catalog),
            quotas: Arc::clone(&quotas),
            client_quotas: Arc::clone(&client_quotas),
            principals: Arc::clone(&principals),
            metadata: Arc::clone(&store),
            audit: Arc::clone(&audit) as _,
            master_key: master_key.clone(),
            clock: Arc::clone(&clock) as _,
            random: Arc::new(SystemRandom) as Arc<dyn RandomBits>,
            incarnation: Incarnation::new(9),
            region: REGION.into(),
            zone: Some("zone-a".into()),
            names: HostNames {
                suffix: SUFFIX.into(),
                local: ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec(),
                zones: None,
            },
            fleet,
        };
        let (mut registry, mut tenants) = (Registry::default(), Registry::default());
        let gateway = Arc::new(
            Gateway::new(config, parts, &mut registry, &mut tenants).expect("a valid configuration"),
        );
        let (server, roots) = certificates();
        let plaintext = ListenerSecurity::Plaintext { account: account(), user: "admin".into() };
        let iam = ListenerSecurity::Iam(server);
        let listen = |security: &ListenerSecurity, bound, default| {
            let spec = ListenerSpec {
                addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
                advertised_host: "localhost".into(),
                advertised_port: 0,
                bound_cluster: bound,
                default_cluster: default,
                security: security.clone(),
            };
            gateway.listen(spec).expect("a free port")
        };
        Self {
            plaintext: listen(&plaintext, Some(cluster.id), None),
            iam: listen(&iam, None, Some(cluster.id)),
            bound: listen(&iam, Some(other.id), None),
            gateway,
            storage,
            store,
            catalog,
            principals,
            quotas,
            clock,
            master_key,
            cluster,
            other,
            neighbour,
            registry,
            audit,
            roots,
        }
    }

    /// Sets quotas of the cluster. For connections made afterwards.
    pub(crate) async fn set_quotas(&self, set: &[(QuotaKey, u64)]) {
        let changes = set.iter().map(|(key, value)| (*key, Some(*value))).collect();
        let set = headgate_metadata::quotas::set(&*self.store, self.cluster.id, &changes).await;
        self.quotas.catch_up(set.expect("the cluster exists").1).await.expect("the store is in memory");
    }

    /// A connection as administrator, without TLS.
    pub(crate) async fn client(&self) -> Client {
        Client::new(self.tcp(self.plaintext).await)
    }

    /// An unauthenticated connection with TLS to the listener of the default cluster; `name` is sent as SNI unless it is
    /// an address.
    pub(crate) async fn tls(&self, name: &str) -> Client {
        self.tls_to(self.iam, name).await
    }

    /// The same to the listener that is bound to the other cluster.
    pub(crate) async fn tls_bound(&self, name: &str) -> Client {
        self.tls_to(self.bound, name).await
    }

    async fn tls_to(&self, port: u16, name: &str) -> Client {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name or address");
        let tcp = self.tcp(port).await;
        Client::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake"))
    }

    /// Bare TCP to the TLS listener.
    pub(crate) async fn tcp_iam(&self) -> TcpStream {
        self.tcp(self.iam).await
    }

    async fn tcp(&self, port: u16) -> TcpStream {
        TcpStream::connect((IpAddr::from(Ipv4Addr::LOCALHOST), port)).await.expect("the gateway listens")
    }

    pub(crate) fn plaintext_port(&self) -> u16 {
        self.plaintext
    }

    pub(crate) fn iam_port(&self) -> u16 {
        self.iam
    }

    /// A login of the administrator that is right in every part.
    pub(crate) fn login(&self) -> Login {
        self.login_of(&administrator(), "localhost")
    }

    /// The same of the neighbour's administrator, by the name of the neighbour's cluster.
    pub(crate) fn neighbours_login(&self) -> Login {
        self.login_of(&neighbours_administrator(), &boot(&self.neighbour))
    }

    fn login_of(&self, user: &Seed, host: &str) -> Login {
        Login {
            access_key_id: user.key.into(),
            secret: user.secret.into(),
            host: host.into(),
            region: REGION.into(),
            at: self.clock.now(),
            expires: "900".into(),
            security_token: None,
        }
    }

    /// A user with one access key; the key's id and secret follow from the name.
    pub(crate) async fn user(&self, name: &str, policy: Option<&str>) -> Login {
        self.user_in(account(), name, policy).await
    }

    /// The same in an account.
    pub(crate) async fn user_in(&self, account: AccountId, name: &str, policy: Option<&str>) -> Login {
        let of = if account == self::account() { "" } else { "N" };
        let key = format!("AKIA{:0>16}", format!("{of}{}", name.to_uppercase()));
        let secret = format!("{name}-secret");
        let seed = Seed { account, name, key: &key, secret: &secret };
        let revision = seed_user(&self.store, &self.master_key, &seed, policy).await;
        self.principals.catch_up(revision).await.expect("the store is in memory");
        self.login_of(&seed, "localhost")
    }

    /// A connection that has dialled the host of this login and logged in.
    pub(crate) async fn logged_in(&self, login: &Login) -> Client {
        let mut client = self.tls(&login.host).await;
        let response = crate::authentication::msk_iam(&mut client, login).await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        client
    }

    /// Puts a cluster's resource policy and waits until the gateway has seen it.
    pub(crate) async fn put_cluster_policy(&self, cluster: &ClusterRecord, statements: &str) {
        let policy = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
        let record = ClusterPolicyRecord { policy, version: "1".into() };
        self.write(Write::Put(keys::cluster_policy(cluster.id), record.encode())).await;
    }

    /// Writes to the metadata store and waits until the gateway has seen it.
    pub(crate) async fn write(&self, write: Write) {
        let committed = self.store.commit(Transaction::new().then(write)).await;
        let Ok(Outcome::Committed(revision)) = committed else {
            panic!("nothing is compared: {committed:?}")
        };
        self.seen(revision).await;
    }

    /// Waits until the gateway has seen everything up to `revision`.
    pub(crate) async fn seen(&self, revision: Revision) {
        self.catalog.reach(revision).await.expect("the store is in memory");
        self.principals.catch_up(revision).await.expect("the store is in memory");
    }

    pub(crate) fn audit(&self) -> Vec<AuditRecord> {
        self.audit.records()
    }

    /// The cluster's ARN of this kind, as policies name it.
    pub(crate) fn arn(&self, kind: &str, name: Option<&str>) -> String {
        self.cluster.arn_of(REGION, kind, name)
    }
}

pub(crate) const ALLOW_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kafka-cluster:*","Resource":"*"}]}"#;

pub(crate) fn account() -> AccountId {
    AccountId::checked(123_456_789_012).expect("twelve digits")
}

pub(crate) fn neighbours_account() -> AccountId {
    AccountId::checked(210_987_654_321).expect("twelve digits")
}

/// The bootstrap name of a cluster.
pub(crate) fn boot(cluster: &ClusterRecord) -> String {
    format!("boot-{}.{SUFFIX}", cluster.id)
}

async fn cluster(store: &SharedStore, account: AccountId, name: &str, id: &str) -> ClusterRecord {
    let record = ClusterRecord {
        id: id.parse::<ClusterId>().expect("eight characters"),
        name: name.into(),
        arn_uuid: format!("00000000-0000-4000-8000-0000{id}-s1"),
        account,
        created: TimestampMs::new(0),
        state: ClusterState::Active,
        slot_set: (0..8).map(SlotId::new).collect(),
        auto_create_topics: true,
        port: None,
        tags: BTreeMap::new(),
        life: ClusterLife::default(),
    };
    clusters::create(&**store, record, None).await.expect("the store is empty").0
}

/// A user to be made, with one key.
struct Seed<'a> {
    account: AccountId,
    name: &'a str,
    key: &'a str,
    secret: &'a str,
}

fn administrator() -> Seed<'static> {
    Seed { account: account(), name: "admin", key: ADMIN_KEY, secret: ADMIN_SECRET }
}

/// The administrator of the neighbour's account: another person of the same name.
fn neighbours_administrator() -> Seed<'static> {
    let (name, key) = ("admin", "AKIANEIGHBOUR0000001");
    Seed { account: neighbours_account(), name, key, secret: "neighbour-secret" }
}

async fn seed_user(store: &SharedStore, key: &MasterKey, seed: &Seed<'_>, policy: Option<&str>) -> Revision {
    let (account, name) = (seed.account, seed.name);
    let user = UserRecord {
        name: name.into(),
        user_id: format!("AIDA{name}"),
        account,
        created: TimestampMs::new(0),
        policies: BTreeMap::new(),
        attached: [].into(),
        groups: [].into(),
        access_keys: Vec::new(),
        tags: BTreeMap::new(),
    };
    users::create(&**store, &user).await.expect("a new user");
    if let Some(policy) = policy {
        users::put_policy(&**store, account, name, "inline", policy).await.expect("the user exists");
    }
    let access_key = AccessKeyRecord {
        access_key_id: seed.key.into(),
        account,
        user: name.into(),
        sealed_secret: secret_box::seal(key, seed.key, &SecretKey::new(seed.secret), &mut |bytes| {
            bytes.fill(3);
        }),
        status: AccessKeyStatus::Active,
        created: TimestampMs::new(0),
    };
    users::create_key(&**store, &access_key).await.expect("the user exists")
}

fn certificates() -> (Arc<ServerConfig>, RootCertStore) {
    let names = ["localhost", "127.0.0.1", "*.c1.kafka-serverless.us-east-1.headgate.test"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names).expect("valid names");
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a PKCS#8 key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    (Arc::new(server), roots)
}
