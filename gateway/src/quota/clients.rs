//! The quotas of one cluster's clients at this gateway: which hold for whom, and the buckets they are measured with
//! (`gateway/PROTOCOL.md` §9). As a broker's of Apache Kafka they hold at each gateway by itself.
//!
//! Invariant: while a cluster has none, a request costs one relaxed load. Buckets are at most [`BUCKETS_MAX`] and those that
//! open connections use.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use headgate_metadata::client_quota::{ClientQuota, ClientQuotaKey, SharedBy};
use headgate_metadata::client_quotas::ClusterClientQuotas;
use tokio::time::Instant;

use super::client_bucket::ClientBucket;
use super::{Limit, Throttle};

/// Buckets of one cluster that nobody uses at the moment but that are not full yet, at most.
const BUCKETS_MAX: usize = 4_096;

/// See the module.
pub(crate) struct ClientBuckets {
    began: Instant,
    /// Names the quotas that hold; 0 while there are none.
    version: AtomicU64,
    state: Mutex<State>,
}

struct State {
    quotas: Option<Arc<ClusterClientQuotas>>,
    /// How often there were other quotas.
    renewals: u64,
    buckets: HashMap<BucketName, Arc<ClientBucket>>,
}

/// Whose bucket it is, and of which quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BucketName {
    key: ClientQuotaKey,
    user: Option<Arc<str>>,
    client_id: Option<Arc<str>>,
}

/// What holds for a user with a client id.
pub(crate) struct ClientLimits {
    began: Instant,
    buckets: [Option<Arc<ClientBucket>>; ClientQuotaKey::COUNT],
}

/// What a connection has found out, for its next request.
#[derive(Default)]
pub(crate) struct ClientLimitsSlot(Mutex<Option<Known>>);

struct Known {
    version: NonZeroU64,
    client_id: Arc<str>,
    limits: Option<Arc<ClientLimits>>,
}

impl ClientBuckets {
    pub(super) fn new(quotas: Option<Arc<ClusterClientQuotas>>) -> Self {
        let state = State { quotas: None, renewals: 0, buckets: HashMap::new() };
        let buckets = Self { began: Instant::now(), version: AtomicU64::new(0), state: Mutex::new(state) };
        buckets.renew(quotas);
        buckets
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the quotas of clients")
    }

    /// What holds from now on.
    pub(crate) fn renew(&self, quotas: Option<Arc<ClusterClientQuotas>>) {
        let mut state = self.lock();
        if state.quotas == quotas {
            return;
        }
        state.renewals += 1;
        if quotas.is_none() {
            state.buckets.clear();
        }
        let version = if quotas.is_some() { state.renewals } else { 0 };
        state.quotas = quotas;
        self.version.store(version, Ordering::Release);
    }

    /// What holds for a user with a client id; `None` where nothing does. `slot` is the connection's.
    pub(crate) fn of(
        &self,
        slot: &ClientLimitsSlot,
        user: impl FnOnce() -> Arc<str>,
        client_id: &Arc<str>,
    ) -> Option<Arc<ClientLimits>> {
        let version = NonZeroU64::new(self.version.load(Ordering::Relaxed))?;
        let mut known = slot.0.lock().expect("nobody panics while holding what a connection knows");
        if let Some(known) =
            known.as_ref().filter(|known| known.version == version && known.client_id == *client_id)
        {
            return known.limits.clone();
        }
        // What the connection used until now may be let go of first.
        *known = None;
        let limits = self.find(&user(), client_id);
        *known = Some(Known { version, client_id: Arc::clone(client_id), limits: limits.clone() });
        limits
    }

    fn find(&self, user: &Arc<str>, client_id: &Arc<str>) -> Option<Arc<ClientLimits>> {
        let (mut state, now) = (self.lock(), self.began.elapsed());
        let quotas = Arc::clone(state.quotas.as_ref()?);
        let mut found = false;
        let buckets = std::array::from_fn(|index| {
            let key = ClientQuotaKey::ALL[index];
            let quota = quotas.set.find(key, user, client_id)?;
            found = true;
            Some(state.bucket(BucketName::of(key, quota, user, client_id), quota.value, now))
        });
        found.then(|| Arc::new(ClientLimits { began: self.began, buckets }))
    }
}

impl BucketName {
    fn of(key: ClientQuotaKey, quota: ClientQuota, user: &Arc<str>, client_id: &Arc<str>) -> Self {
        let (user, client_id) = (Some(Arc::clone(user)), Some(Arc::clone(client_id)));
        match quota.shared_by {
            SharedBy::User => Self { key, user, client_id: None },
            SharedBy::ClientId => Self { key, user: None, client_id },
            SharedBy::UserAndClientId => Self { key, user, client_id },
        }
    }
}

impl State {
    fn bucket(&mut self, name: BucketName, rate: f64, now: Duration) -> Arc<ClientBucket> {
        if let Some(bucket) = self.buckets.get(&name) {
            bucket.set_rate(rate, now);
            return Arc::clone(bucket);
        }
        self.make_room(now);
        let bucket = Arc::new(ClientBucket::new(name.key, rate, now));
        self.buckets.insert(name, Arc::clone(&bucket));
        bucket
    }

    /// A full bucket that nobody uses is as one that is not there. Where all are in debt, the half that owes least is
    /// forgiven: whoever takes a new client id for every request is not held by any quota of client ids anyway.
    fn make_room(&mut self, now: Duration) {
        if self.buckets.len() < BUCKETS_MAX {
            return;
        }
        let used = |bucket: &Arc<ClientBucket>| Arc::strong_count(bucket) > 1;
        self.buckets.retain(|_, bucket| used(bucket) || !bucket.is_full(now));
        let mut debts: Vec<Duration> =
            self.buckets.values().filter(|bucket| !used(bucket)).map(|bucket| bucket.debt(now)).collect();
        if debts.len() >= BUCKETS_MAX {
            let middle = debts.len() / 2;
            let (_, least, _) = debts.select_nth_unstable(middle);
            let least = *least;
            self.buckets.retain(|_, bucket| used(bucket) || bucket.debt(now) > least);
        }
    }
}

impl ClientLimits {
    fn bucket(&self, key: ClientQuotaKey) -> Option<&ClientBucket> {
        self.buckets[key as usize].as_deref()
    }

    /// So much was used; nothing where no quota of this kind holds.
    pub(crate) fn charge(&self, key: ClientQuotaKey, amount: f64) {
        if let Some(bucket) = self.bucket(key) {
            bucket.charge(amount, self.began.elapsed());
        }
    }

    /// Charges unless something is owed; the error says how long to wait.
    pub(crate) fn charge_unless_owing(&self, key: ClientQuotaKey, amount: f64) -> Result<(), Throttle> {
        let Some(bucket) = self.bucket(key) else { return Ok(()) };
        let charged = bucket.charge_unless_owing(amount, self.began.elapsed());
        charged.map_err(|time| Throttle { limit: Limit::Client(key), time })
    }

    /// How much may be used a second.
    pub(crate) fn rate(&self, key: ClientQuotaKey) -> Option<f64> {
        self.bucket(key).map(|bucket| bucket.rate(self.began.elapsed()))
    }

    /// Whether a quota of this kind holds.
    pub(crate) fn has(&self, key: ClientQuotaKey) -> bool {
        self.bucket(key).is_some()
    }

    /// How long a client should hold back that has used these.
    pub(crate) fn throttle(&self, keys: &[ClientQuotaKey]) -> Option<Throttle> {
        let of_key = |key: &ClientQuotaKey| {
            let time = self.bucket(*key)?.debt(self.began.elapsed());
            (!time.is_zero()).then_some(Throttle { limit: Limit::Client(*key), time })
        };
        keys.iter().map(of_key).fold(None, Throttle::longer)
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::client_quota::{ClientQuotaEntity, ClientQuotaSet, EntityName};
    use headgate_metadata::record::{ClientQuotaEntry, ClientQuotaRecord};

    use super::*;

    const KEY: ClientQuotaKey = ClientQuotaKey::ProducerByteRate;

    #[allow(clippy::unnecessary_wraps, reason = "as what holds for a cluster is told")]
    fn quotas(entities: &[(Option<&str>, Option<&str>, f64)]) -> Option<Arc<ClusterClientQuotas>> {
        let part = |name: &str| match name {
            "*" => EntityName::Default,
            name => EntityName::Named(name.to_owned()),
        };
        let entry = |(user, client_id, value): &(Option<&str>, Option<&str>, f64)| ClientQuotaEntry {
            entity: ClientQuotaEntity { user: user.map(part), client_id: client_id.map(part) },
            values: [(KEY.name().to_owned(), *value)].into(),
        };
        let record = ClientQuotaRecord { entities: entities.iter().map(entry).collect() };
        let set = ClientQuotaSet::of(&record);
        Some(Arc::new(ClusterClientQuotas { record, set }))
    }

    /// What a new connection of this user with this client id finds.
    fn found(buckets: &ClientBuckets, user: &str, client_id: &str) -> Option<Arc<ClientLimits>> {
        buckets.of(&ClientLimitsSlot::default(), || user.into(), &client_id.into())
    }

    fn owes(limits: Option<&Arc<ClientLimits>>) -> bool {
        limits.is_some_and(|limits| limits.throttle(&[KEY]).is_some())
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_an_entity_share_a_bucket_and_others_have_their_own() {
        let buckets = ClientBuckets::new(quotas(&[(Some("*"), None, 10.0), (None, Some("c"), 10.0)]));
        found(&buckets, "u", "c").expect("it has a quota").charge(KEY, 50.0);
        assert!(owes(found(&buckets, "u", "d").as_ref()), "a user's, whatever its client id");
        assert!(!owes(found(&buckets, "v", "c").as_ref()), "the default's holds for each user by itself");
        let buckets = ClientBuckets::new(quotas(&[(None, Some("*"), 10.0)]));
        found(&buckets, "u", "c").expect("it has a quota").charge(KEY, 50.0);
        assert!(owes(found(&buckets, "v", "c").as_ref()), "a client id's, whoever uses it");
        assert!(!owes(found(&buckets, "u", "d").as_ref()));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_whom_no_quota_holds() {
        let buckets = ClientBuckets::new(None);
        assert!(found(&buckets, "u", "c").is_none());
        buckets.renew(quotas(&[(None, Some("c"), 10.0)]));
        assert!(found(&buckets, "u", "d").is_none());
        assert!(buckets.lock().buckets.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_learns_of_a_change_with_its_next_request() {
        let buckets = ClientBuckets::new(quotas(&[(None, Some("c"), 10.0)]));
        let slot = ClientLimitsSlot::default();
        let rate = || {
            let limits = buckets.of(&slot, || "u".into(), &"c".into())?;
            limits.rate(KEY)
        };
        assert_eq!(rate(), Some(10.0));
        buckets.renew(quotas(&[(None, Some("c"), 20.0)]));
        assert_eq!(rate(), Some(20.0));
        buckets.renew(None);
        assert_eq!(rate(), None);
        assert!(buckets.lock().buckets.is_empty());
        buckets.renew(quotas(&[(None, Some("c"), 30.0)]));
        assert_eq!(rate(), Some(30.0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_outlasts_a_change() {
        let buckets = ClientBuckets::new(quotas(&[(None, Some("c"), 10.0)]));
        found(&buckets, "u", "c").expect("it has a quota").charge(KEY, 1_000.0);
        buckets.renew(quotas(&[(None, Some("c"), 20.0)]));
        assert!(owes(found(&buckets, "u", "c").as_ref()));
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_that_are_full_again_make_room_and_debts_stay() {
        let buckets = ClientBuckets::new(quotas(&[(None, Some("*"), 10.0)]));
        found(&buckets, "u", "debtor").expect("it has a quota").charge(KEY, 1_000.0);
        let kept = found(&buckets, "u", "kept").expect("it has a quota");
        for number in 0..BUCKETS_MAX {
            found(&buckets, "u", &number.to_string());
        }
        assert!(buckets.lock().buckets.len() < 10);
        assert!(owes(found(&buckets, "u", "debtor").as_ref()));
        kept.charge(KEY, 1_000.0);
        assert!(owes(found(&buckets, "u", "kept").as_ref()), "what a connection uses is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_also_where_everybody_owes() {
        let buckets = ClientBuckets::new(quotas(&[(None, Some("*"), 10.0)]));
        for number in 0..BUCKETS_MAX * 2 {
            let owed = 1_000.0 + number as f64;
            found(&buckets, "u", &number.to_string()).expect("it has a quota").charge(KEY, owed);
            assert!(buckets.lock().buckets.len() <= BUCKETS_MAX);
        }
        let last = (BUCKETS_MAX * 2 - 1).to_string();
        assert!(owes(found(&buckets, "u", &last).as_ref()), "who owes most is not forgiven");
    }
}
