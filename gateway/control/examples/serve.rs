//! Serves the control API on loopback with everything in memory, for trying AWS tools against it:
//!
//! ```text
//! cargo run -p headgate-control --example serve        # prints an environment to source
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use headgate_control::{
    BillQuery, BillSource, BillSourceError, Components, ControlConfig, ControlMetrics, ControlServer,
};
use headgate_iam::{AccessKeyKind, MasterKey, SecretKey, UnixTime, generate_access_key_id, secret_box};
use headgate_metadata::audit::AuditMemory;
use headgate_metadata::catalog::Catalog;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{AccountId, TimestampMs};
use headgate_metadata::principals::Principals;
use headgate_metadata::record::{AccessKeyRecord, AccessKeyStatus, ClusterRecord, UserRecord};
use headgate_metadata::store::SharedStore;
use headgate_metadata::users;
use headgate_metering::bill::Bill;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// There is nothing to bill here.
struct NoBills;

#[async_trait]
impl BillSource for NoBills {
    async fn bill(&self, _query: BillQuery) -> Result<Bill, BillSourceError> {
        Err(BillSourceError::Unavailable { reason: "nothing is metered in this example".to_owned() })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let master_key = MasterKey::new(&rand::random());
    let (access_key_id, secret) = administrator(&store, &master_key).await?;
    let mut registry = Registry::default();
    let metrics = ControlMetrics::register(&mut registry);
    let components = Components {
        catalog: Catalog::start(Arc::clone(&store)).await?,
        principals: Principals::start(Arc::clone(&store)).await?,
        store,
        master_key,
        audit: Arc::new(AuditMemory::default()),
        bills: Arc::new(NoBills),
        bootstrap: Arc::new(|cluster: &ClusterRecord| format!("localhost:{}", cluster.port.unwrap_or(9098))),
        ready: Arc::new(|| true),
        registry: Arc::new(registry),
        metrics,
        clock: Arc::new(|| UnixTime::from(SystemTime::now())),
        random: Arc::new(|bytes| rand::RngCore::fill_bytes(&mut rand::rng(), bytes)),
    };
    let mut config = ControlConfig::new("us-east-1", 64);
    config.cluster_ports = Some(9100..=9199);
    let server = ControlServer::new(config, components, None)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("export AWS_ENDPOINT_URL=http://{}", listener.local_addr()?);
    println!("export AWS_ACCESS_KEY_ID={access_key_id} AWS_SECRET_ACCESS_KEY={}", secret.expose());
    println!("export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1");
    server.serve(listener, async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

async fn administrator(
    store: &SharedStore,
    master_key: &MasterKey,
) -> Result<(String, SecretKey), Box<dyn std::error::Error>> {
    let account: AccountId = "123456789012".parse()?;
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let user = UserRecord {
        name: "admin".to_owned(),
        user_id: "AIDAADMIN".to_owned(),
        account,
        created: TimestampMs::new(0),
        policies: BTreeMap::from([("administrator".to_owned(), policy.to_owned())]),
        access_keys: Vec::new(),
    };
    users::create(&**store, &user).await?;
    let mut random = |bytes: &mut [u8]| rand::RngCore::fill_bytes(&mut rand::rng(), bytes);
    let access_key_id = generate_access_key_id(AccessKeyKind::LongTerm, &mut random);
    let secret = SecretKey::generate(&mut random);
    let key = AccessKeyRecord {
        access_key_id: access_key_id.clone(),
        account,
        user: user.name,
        sealed_secret: secret_box::seal(master_key, &access_key_id, &secret, &mut random),
        status: AccessKeyStatus::Active,
        created: TimestampMs::new(0),
    };
    users::create_key(&**store, &key).await?;
    Ok((access_key_id, secret))
}
