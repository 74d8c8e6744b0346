//! What is created once and found again later: the cell, an account, its administrator with an access key, and in `dev` the
//! cluster `demo`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use headgate_iam::{
    AccessKeyKind, MasterKey, SecretKey, generate_access_key_id, generate_user_id, secret_box,
};
use headgate_metadata::id::{AccountId, ClusterId, TimestampMs};
use headgate_metadata::record::{
    AccessKeyRecord, AccessKeyStatus, CellRecord, ClusterLife, ClusterRecord, ClusterState, Record as _,
    UserRecord,
};
use headgate_metadata::store::{Compare, Outcome, SharedStore, Transaction, Write};
use headgate_metadata::{clusters, keys, users};
use headgate_storage_client::routing::{SLOT_SET_SIZE, slot_set};

use crate::random::{random_bytes, random_u64};

/// The region of a cell that was told none; the one most tools default to.
pub(crate) const REGION: &str = "us-east-1";
/// The administrator's user name.
const ADMINISTRATOR: &str = "admin";
/// The cluster every `dev` cell has.
pub(crate) const DEMO: &str = "demo";

const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Administrator","Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// What a cell is told when it is made; fixed with it.
pub(crate) struct CellSpec {
    /// Its number of slots.
    pub(crate) slots: u16,
    /// The AWS region name it answers for.
    pub(crate) region: String,
}

/// Who and what is there once this has run.
pub(crate) struct Cell {
    pub(crate) record: CellRecord,
    pub(crate) administrator: UserRecord,
    pub(crate) access_key_id: String,
    pub(crate) secret: SecretKey,
}

/// Finds or creates everything but clusters. Each step is idempotent, so that a start that was killed in the middle is finished
/// by the next.
pub(crate) async fn find_or_create(
    store: &SharedStore,
    spec: &CellSpec,
    master_key: &MasterKey,
    now: TimestampMs,
) -> Result<Cell> {
    let record = cell(store, spec).await.context("the cell's record")?;
    let administrator = administrator(store, record.account, now).await.context("the administrator")?;
    let (access_key_id, secret) =
        access_key(store, &administrator, master_key, now).await.context("its access key")?;
    Ok(Cell { record, administrator, access_key_id, secret })
}

async fn cell(store: &SharedStore, spec: &CellSpec) -> Result<CellRecord> {
    if let Some(entry) = store.get(keys::CELL).await? {
        return Ok(CellRecord::decode(&entry.value)?);
    }
    let account = AccountId::checked(random_u64() % 900_000_000_000 + 100_000_000_000);
    let record = CellRecord {
        cell: ClusterId::from_random(random_u64()).to_string(),
        slots: spec.slots,
        hash: "xxh3-64".to_owned(),
        account: account.expect("the sum has twelve digits"),
        region: spec.region.clone(),
    };
    let create = Transaction::new()
        .when(Compare::Absent(keys::CELL.to_owned()))
        .then(Write::Put(keys::CELL.to_owned(), record.encode()));
    match store.commit(create).await? {
        Outcome::Committed(_) => Ok(record),
        Outcome::Refused(_) => anyhow::bail!("another process is creating this cell"),
    }
}

async fn administrator(store: &SharedStore, account: AccountId, now: TimestampMs) -> Result<UserRecord> {
    if let Some(user) = users::load(&**store, account, ADMINISTRATOR).await? {
        return Ok(user);
    }
    let user = UserRecord {
        name: ADMINISTRATOR.to_owned(),
        user_id: generate_user_id(&mut random_bytes),
        account,
        created: now,
        policies: BTreeMap::from([("administrator".to_owned(), EVERYTHING.to_owned())]),
        attached: [].into(),
        groups: [].into(),
        access_keys: Vec::new(),
        tags: BTreeMap::new(),
    };
    users::create(&**store, &user).await?;
    Ok(user)
}

async fn access_key(
    store: &SharedStore,
    user: &UserRecord,
    master_key: &MasterKey,
    now: TimestampMs,
) -> Result<(String, SecretKey)> {
    let keys = users::keys_of(&**store, user).await?;
    if let Some(key) = keys.into_iter().find(|key| key.status == AccessKeyStatus::Active) {
        let secret =
            secret_box::open(master_key, &key.access_key_id, &key.sealed_secret).with_context(|| {
                format!("the secret of {} does not open; was master.key exchanged?", key.access_key_id)
            })?;
        return Ok((key.access_key_id, secret));
    }
    let access_key_id = generate_access_key_id(AccessKeyKind::LongTerm, &mut random_bytes);
    let secret = SecretKey::generate(&mut random_bytes);
    let key = AccessKeyRecord {
        access_key_id: access_key_id.clone(),
        account: user.account,
        user: user.name.clone(),
        sealed_secret: secret_box::seal(master_key, &access_key_id, &secret, &mut random_bytes),
        status: AccessKeyStatus::Active,
        created: now,
    };
    users::create_key(&**store, &key).await?;
    Ok((access_key_id, secret))
}

/// Finds or creates the cluster `demo`.
pub(crate) async fn demo(store: &SharedStore, cell: &CellRecord, now: TimestampMs) -> Result<ClusterRecord> {
    if let Some(cluster) = clusters::by_name(&**store, cell.account, DEMO).await? {
        return Ok(cluster);
    }
    let id = ClusterId::from_random(random_u64());
    let cluster = ClusterRecord {
        id,
        name: DEMO.to_owned(),
        arn_uuid: format!("{}-s1", uuid::Uuid::new_v4()),
        account: cell.account,
        created: now,
        state: ClusterState::Active,
        slot_set: slot_set(id, cell.slots, SLOT_SET_SIZE),
        auto_create_topics: true,
        port: None,
        tags: BTreeMap::new(),
        life: ClusterLife::default(),
    };
    Ok(clusters::create(&**store, cluster, None).await?.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headgate_metadata::embedded::EmbeddedStore;

    use super::*;

    fn spec() -> CellSpec {
        CellSpec { slots: 64, region: REGION.to_owned() }
    }

    #[tokio::test]
    async fn a_second_start_finds_what_the_first_created() {
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let master_key = MasterKey::new(&[7; 32]);
        let (early, late) = (TimestampMs::new(1), TimestampMs::new(2));
        let first = find_or_create(&store, &spec(), &master_key, early).await.expect("created");
        let second = find_or_create(&store, &spec(), &master_key, late).await.expect("found");
        assert_eq!(first.record, second.record);
        assert_eq!(first.access_key_id, second.access_key_id);
        assert_eq!(first.secret, second.secret);
        let created = demo(&store, &first.record, early).await.expect("created");
        assert_eq!(demo(&store, &first.record, late).await.expect("found"), created);
        assert_eq!(created.slot_set.len(), usize::from(SLOT_SET_SIZE));
    }

    #[tokio::test]
    async fn an_exchanged_master_key_is_named() {
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let start = |key: [u8; 32]| {
            let store = Arc::clone(&store);
            async move { find_or_create(&store, &spec(), &MasterKey::new(&key), TimestampMs::new(1)).await }
        };
        start([7; 32]).await.expect("created");
        let other = start([8; 32]).await;
        let error = format!("{:#}", other.err().expect("refused"));
        assert!(error.contains("master.key"), "{error}");
    }
}
