//! A control API on loopback with everything in memory, and a client that signs with AWS's own crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use headgate_control::{Components, ControlConfig, ControlMetrics, ControlServer};
use headgate_iam::{MasterKey, SecretKey, UnixTime, secret_box};
use headgate_metadata::audit::{AuditMemory, AuditRecord};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{AccountId, TimestampMs};
use headgate_metadata::identities::IdentityError;
use headgate_metadata::principals::Principals;
use headgate_metadata::record::{AccessKeyRecord, AccessKeyStatus, UserRecord};
use headgate_metadata::store::SharedStore;
use headgate_metadata::users;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

mod doubles;

pub(crate) use self::doubles::RULED_OUT;
use self::doubles::{EmptyBills, PlainTopics, Reachable};

/// The moment tests begin.
pub(crate) const START_MS: i64 = 1_795_252_000_000;
/// The account of everybody in the tests.
pub(crate) const ACCOUNT: &str = "123456789012";
/// A policy that allows everything.
pub(crate) const ADMINISTRATOR: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// A running control API.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) store: SharedStore,
    pub(crate) audit: Arc<AuditMemory>,
    pub(crate) ready: Arc<AtomicBool>,
    /// Whether new clusters can be reached.
    pub(crate) reachable: Arc<AtomicBool>,
    /// The clock that server and signer share, in Unix milliseconds.
    pub(crate) now_ms: Arc<AtomicI64>,
    pub(crate) administrator: Signer,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

/// Who signs, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// Starts with the defaults.
pub(crate) async fn start() -> Running {
    start_with(|_| ()).await
}

/// Starts with changed settings.
pub(crate) async fn start_with(change: impl FnOnce(&mut ControlConfig)) -> Running {
    start_on(Arc::new(EmbeddedStore::in_memory()), change).await
}

/// Starts on what an earlier start left behind.
pub(crate) async fn start_on(store: SharedStore, change: impl FnOnce(&mut ControlConfig)) -> Running {
    let now_ms = Arc::new(AtomicI64::new(START_MS));
    let audit = Arc::new(AuditMemory::default());
    let ready = Arc::new(AtomicBool::new(true));
    let administrator = administrator(&store, ACCOUNT, "AKIAADMINISTRATOR000").await;
    let reachable = Arc::new(AtomicBool::new(true));
    let components = components(&store, &audit, &ready, &reachable, &now_ms).await;
    let mut config = ControlConfig::new("eu-west-1", 64);
    config.cluster_removal_delay = Duration::ZERO;
    config.operator_account = Some(ACCOUNT.parse().expect("twelve digits"));
    change(&mut config);
    let server = ControlServer::new(config, components, None).expect("the settings are valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        server.serve(listener, async { drop(stopped.await) }).await.expect("served");
    });
    Running { address, store, audit, ready, reachable, now_ms, administrator, stop: Some(stop), served }
}

/// Why a plaintext server does not serve this address.
pub(crate) async fn serve_on(address: &str) -> String {
    let components = fresh_components().await;
    let server = ControlServer::new(ControlConfig::new("eu-west-1", 64), components, None).expect("valid");
    let listener = TcpListener::bind(address).await.expect("a free port");
    server.serve(listener, std::future::pending()).await.expect_err("refused").to_string()
}

/// Components on an empty store.
pub(crate) async fn fresh_components() -> Components {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    components(&store, &Arc::default(), &Arc::default(), &Arc::default(), &Arc::default()).await
}

fn master_key() -> MasterKey {
    MasterKey::new(&[7; 32])
}

async fn components(
    store: &SharedStore,
    audit: &Arc<AuditMemory>,
    ready: &Arc<AtomicBool>,
    reachable: &Arc<AtomicBool>,
    now_ms: &Arc<AtomicI64>,
) -> Components {
    let (ready, now_ms) = (Arc::clone(ready), Arc::clone(now_ms));
    let mut registry = Registry::default();
    let metrics = ControlMetrics::register(&mut registry);
    Components {
        store: Arc::clone(store),
        catalog: Catalog::start(Arc::clone(store)).await.expect("the store is healthy"),
        principals: Principals::start(Arc::clone(store)).await.expect("the store is healthy"),
        master_key: master_key(),
        audit: audit.clone(),
        bills: Arc::new(EmptyBills),
        quotas: Arc::new(|_| None),
        bootstrap: Arc::new(Reachable(Arc::clone(reachable))),
        topics: Arc::new(PlainTopics(Arc::clone(store))),
        ready: Arc::new(move || ready.load(Ordering::Acquire)),
        registry: Arc::new(registry),
        metrics,
        clock: Arc::new(move || UnixTime::from_millis(now_ms.load(Ordering::Acquire))),
        random: Arc::new(|bytes| rand::RngCore::fill_bytes(&mut rand::rng(), bytes)),
    }
}

/// Who may do everything in its account, as far as its own policies go.
async fn administrator(store: &SharedStore, account: &str, access_key_id: &str) -> Signer {
    let account: AccountId = account.parse().expect("twelve digits");
    let created = TimestampMs::new(START_MS as u64);
    let user = UserRecord {
        name: "admin".into(),
        user_id: "AIDAADMIN".into(),
        account,
        created,
        policies: BTreeMap::from([("all".to_owned(), ADMINISTRATOR.to_owned())]),
        attached: BTreeSet::new(),
        groups: BTreeSet::new(),
        access_keys: Vec::new(),
        tags: BTreeMap::new(),
    };
    let secret = SecretKey::new("administrator-secret");
    let access_key_id = access_key_id.to_owned();
    let sealed_secret = secret_box::seal(&master_key(), &access_key_id, &secret, &mut |bytes| bytes.fill(3));
    let key = AccessKeyRecord {
        access_key_id: access_key_id.clone(),
        account,
        user: user.name.clone(),
        sealed_secret,
        status: AccessKeyStatus::Active,
        created,
    };
    match users::create(&**store, &user).await {
        Ok(_) => drop(users::create_key(&**store, &key).await.expect("created")),
        Err(IdentityError::Exists) => {}
        Err(error) => panic!("{error}"),
    }
    Signer { access_key_id, secret: secret.expose().to_owned(), token: None, region: "eu-west-1".into() }
}

/// A request before it is signed.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) service: &'static str,
    pub(crate) method: &'static str,
    /// With the query.
    pub(crate) target: String,
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Draft {
    pub(crate) fn json(service: &'static str, method: &'static str, target: &str, body: &str) -> Self {
        Self { service, method, target: target.to_owned(), body: body.to_owned(), headers: Vec::new() }
    }

    pub(crate) fn query(service: &'static str, parameters: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let kind = ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
        Self { service, method: "POST", target: "/".to_owned(), body: pairs.join("&"), headers: vec![kind] }
    }
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

impl Running {
    /// The administrator of another account.
    pub(crate) async fn stranger(&self, account: &str) -> Signer {
        administrator(&self.store, account, "AKIASTRANGER00000000").await
    }

    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.now_ms.load(Ordering::Acquire) as u64)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as i64, Ordering::AcqRel);
    }

    /// The headers that sign the draft at the server's time.
    pub(crate) fn signed_headers(
        &self,
        signer: &Signer,
        draft: &Draft,
        at: SystemTime,
    ) -> Vec<(String, String)> {
        let host = self.address.to_string();
        let mut headers = draft.headers.clone();
        headers.push(("host".to_owned(), host.clone()));
        let pairs = || headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let instructions = Self::sign(
            signer,
            draft,
            at,
            SigningSettings::default(),
            &pairs().collect::<Vec<_>>(),
            &format!("http://{host}{}", draft.target),
        );
        let signed: Vec<_> =
            instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        headers.extend(signed);
        headers
    }

    fn sign(
        signer: &Signer,
        draft: &Draft,
        at: SystemTime,
        settings: SigningSettings,
        headers: &[(&str, &str)],
        url: &str,
    ) -> aws_sigv4::http_request::SigningInstructions {
        let identity =
            Credentials::new(&signer.access_key_id, &signer.secret, signer.token.clone(), None, "test")
                .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&signer.region)
            .name(draft.service)
            .time(at)
            .settings(settings)
            .build()
            .expect("all parameters are set")
            .into();
        let body = SignableBody::Bytes(draft.body.as_bytes());
        let request =
            SignableRequest::new(draft.method, url, headers.iter().copied(), body).expect("signable");
        sign(request, &parameters).expect("signable").into_parts().0
    }

    /// The query string of a presigned GetCallerIdentity.
    pub(crate) fn presigned_identity(&self, signer: &Signer, expires: Duration) -> String {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(expires);
        let target = "/?Action=GetCallerIdentity&Version=2011-06-15".to_owned();
        let draft = Draft {
            service: "sts",
            method: "GET",
            target: target.clone(),
            body: String::new(),
            headers: vec![],
        };
        let url = format!("http://{}{target}", self.address);
        let host = self.address.to_string();
        let instructions = Self::sign(signer, &draft, self.now(), settings, &[("host", &host)], &url);
        let added: Vec<_> =
            instructions.params().iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        format!("{target}&{}", added.join("&"))
    }

    /// Signs and sends.
    pub(crate) async fn call(&self, signer: &Signer, draft: &Draft) -> Reply {
        let headers = self.signed_headers(signer, draft, self.now());
        self.send(draft, &headers).await
    }

    /// Sends as it is.
    pub(crate) async fn send(&self, draft: &Draft, headers: &[(String, String)]) -> Reply {
        let mut request = format!("{} {} HTTP/1.1\r\n", draft.method, draft.target);
        if !headers.iter().any(|(name, _)| name == "host") {
            write!(request, "host: {}\r\n", self.address).expect("a string takes everything");
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").expect("a string takes everything");
        }
        let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", draft.body.len());
        request.push_str(&end);
        let mut socket = TcpStream::connect(self.address).await.expect("the server listens");
        socket.write_all(request.as_bytes()).await.expect("sent");
        // A server that refuses early need not read the body.
        drop(socket.write_all(draft.body.as_bytes()).await);
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.expect("answered");
        Reply::parse(&bytes)
    }

    pub(crate) async fn kafka(&self, method: &'static str, target: &str, body: &str) -> Reply {
        self.call(&self.administrator, &Draft::json("kafka", method, target, body)).await
    }

    pub(crate) async fn native(&self, method: &'static str, target: &str, body: &str) -> Reply {
        self.call(&self.administrator, &Draft::json("headgate", method, target, body)).await
    }

    pub(crate) async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        let mut all = vec![("Action", action), ("Version", "2010-05-08")];
        all.extend_from_slice(parameters);
        self.call(&self.administrator, &Draft::query("iam", &all)).await
    }

    /// Makes a user with a policy and a key.
    pub(crate) async fn user(&self, name: &str, policy: Option<&str>) -> Signer {
        assert_eq!(self.iam("CreateUser", &[("UserName", name)]).await.status, 200);
        if let Some(policy) = policy {
            let put = [("UserName", name), ("PolicyName", "p"), ("PolicyDocument", policy)];
            assert_eq!(self.iam("PutUserPolicy", &put).await.status, 200);
        }
        self.key(name).await
    }

    /// Makes a key for a user.
    pub(crate) async fn key(&self, name: &str) -> Signer {
        let created = self.iam("CreateAccessKey", &[("UserName", name)]).await;
        assert_eq!(created.status, 200, "{}", created.body);
        Signer {
            access_key_id: created.xml("AccessKeyId"),
            secret: created.xml("SecretAccessKey"),
            token: None,
            region: "eu-west-1".into(),
        }
    }

    /// Waits until the cluster is `ACTIVE`.
    pub(crate) async fn active(&self, arn: &str) {
        let describe = format!("/api/v2/clusters/{}", escape(arn));
        loop {
            // Asked at a person's pace: whoever asks without a pause is throttled.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let described = self.kafka("GET", &describe, "").await.json();
            match described["clusterInfo"]["state"].as_str() {
                Some("CREATING") => {}
                state => return assert_eq!(state, Some("ACTIVE"), "{described}"),
            }
        }
    }

    pub(crate) fn last_audit(&self) -> AuditRecord {
        self.audit.records().pop().expect("each call leaves a record")
    }

    /// Stops the server and waits for it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.served).await.expect("served to the end");
    }
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("answers are text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.parse().expect("a number"),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// The text of the first XML element of this name.
    pub(crate) fn xml(&self, name: &str) -> String {
        let rest = self.body.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
        let text = rest.and_then(|rest| rest.split_once(&format!("</{name}>"))).map(|(text, _)| text);
        text.unwrap_or_else(|| panic!("no <{name}> in {}", self.body)).to_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Status and error code of a refusal, in either dialect.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let code = self.headers.get("x-amzn-errortype").cloned().unwrap_or_else(|| self.xml("Code"));
        (self.status, code)
    }
}
