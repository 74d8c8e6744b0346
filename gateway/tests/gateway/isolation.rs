//! Tenants are sealed off from each other (`gateway/PROTOCOL.md` §2, §8), on a real storage node.
//!
//! Two clusters of two accounts have a topic and a group of the same name. From the one every API is tried with the other's
//! names, topic ids, members, producer ids, offsets and fetch sessions. The measure: what is answered must not differ from
//! the answer to identifiers that nobody has, and the other's world must be as it was.

mod probes;
mod tenants;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ApiVersionsRequest, DeleteGroupsRequest, DeleteTopicsRequest, FetchRequest, HeartbeatRequest,
    LeaveGroupRequest,
};
use tracing_subscriber::fmt::MakeWriter;
use uuid::Uuid;

use self::probes::PROBES;
use self::tenants::{GROUP, Ids, SECRET, TOPIC, Tenants, append, commit, group, text, world_of};
use crate::authentication::{msk_iam, oauth_bearer, reason};
use crate::fetch::fetch;
use crate::produce::name;
use crate::support::client::raw_request;
use crate::support::harness::boot;
use crate::support::signer::Login;
use crate::support::{Client, batch_of};

/// Identifiers that nobody has, of the same forms.
fn nobody(like: &Ids) -> Ids {
    Ids {
        topic: "topic-of-n".into(),
        topic_id: Uuid::from_u128(0x7f3a_9c21_5be4_4d01_8a6f_0011_2233_4455),
        group: "group-of-n".into(),
        member: format!("test-{}", Uuid::from_u128(0x1234_5678)),
        producer_id: like.producer_id + 1_000_000,
        fetch_session: like.fetch_session ^ 0x5555,
        ..like.clone()
    }
}

/// An answer without the identifiers that were asked for, and without what differs from one call to the next.
fn without(answer: &str, ids: &Ids) -> String {
    let asked = [
        ids.topic_id.to_string(),
        ids.topic.clone(),
        ids.group.clone(),
        ids.member.clone(),
        ids.fetch_session.to_string(),
    ];
    let scrubbed = asked.iter().fold(answer.to_owned(), |answer, id| answer.replace(id, "<asked>"));
    without_offsets(&without_uuids(&scrubbed))
}

/// What is appended goes behind what was appended before.
fn without_offsets(text: &str) -> String {
    const BEFORE: &str = "base_offset: ";
    let mut parts = text.split(BEFORE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |left, part| {
        left + BEFORE + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

/// Topics made by a probe have a new id each time.
fn without_uuids(text: &str) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let is_uuid = rest.get(..36).is_some_and(|head| head.parse::<Uuid>().is_ok());
        if is_uuid {
            left.push_str("<uuid>");
        } else {
            left.push(character);
        }
        rest = &rest[if is_uuid { 36 } else { character.len_utf8() }..];
    }
    left
}

/// What must never be shown to the first tenant.
fn secrets(tenants: &Tenants) -> Vec<String> {
    let cluster = &tenants.harness.neighbour;
    vec![SECRET.to_owned(), cluster.id.to_string(), cluster.account.to_string(), cluster.arn_uuid.clone()]
}

fn names_no_secret(text: &str, secrets: &[String], of: &str) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{of} names {secret}: {text}");
    }
}

/// Log lines of everything that runs on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics while holding it").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panics while holding it")).into_owned()
    }
}

#[tokio::test]
async fn anothers_identifiers_are_answered_as_those_that_nobody_has() {
    let mut tenants = Tenants::start().await;
    let secrets = secrets(&tenants);
    let before = world_of(&mut tenants.b_looks).await;
    assert!(before.contains(SECRET), "there is something to be kept");
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    let (of_b, of_nobody) = (tenants.of_b.clone(), nobody(&tenants.of_b));
    {
        let _captured = tracing::subscriber::set_default(subscriber);
        // Opened under the capture, so that its connection's span is seen.
        let mut a = tenants.harness.logged_in(&tenants.harness.login()).await;
        for probe in PROBES {
            let name = format!("{:?} {}", probe.api, probe.what);
            let to_b = (probe.ask)(&mut a, &of_b).await;
            let to_nobody = (probe.ask)(&mut a, &of_nobody).await;
            names_no_secret(&to_b, &secrets, &name);
            assert_eq!(without(&to_b, &of_b), without(&to_nobody, &of_nobody), "{name}");
        }
        // An unknown API ends the connection, which is logged with all that is known of it.
        a.send_frame(&raw_request(i16::MAX, 0, 1, &[])).await;
        a.expect_end().await;
    }
    assert!(log.text().contains("connection ended"), "the log was captured: {}", log.text());
    names_no_secret(&log.text(), &secrets, "the log");
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &tenants.harness.registry).expect("in memory");
    for of in [TOPIC, GROUP, "aaaaaaaa", "cccccccc", "demo", "admin"] {
        assert!(!metrics.contains(of), "metrics name {of}: {metrics}");
    }
    assert_eq!(world_of(&mut tenants.b_looks).await, before, "the other's world is as it was");
    is_undisturbed(&mut tenants.b, &of_b).await;
}

/// Its session, its producer and its member go on where they were.
async fn is_undisturbed(client: &mut Client, ids: &Ids) {
    let session = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_id(ids.fetch_session)
        .with_session_epoch(1);
    assert_eq!(client.call(13, &session).await.error_code, 0, "its fetch session");
    let batch = batch_of(&["b-secret-next"], Some((ids.producer_id, 0, ids.sequence)));
    assert_eq!(append(client, TOPIC, batch).await, (0, i64::from(ids.sequence)), "its producer");
    let beat = HeartbeatRequest::default()
        .with_group_id(group(GROUP))
        .with_generation_id(ids.generation)
        .with_member_id(text(&ids.member));
    assert_eq!(client.call(4, &beat).await.error_code, 0, "its member");
}

#[tokio::test]
async fn every_api_is_tried() {
    let mut tenants = Tenants::start().await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1"));
    let advertised = tenants.a.call(4, &request).await.api_keys;
    let advertised: BTreeSet<i16> = advertised.iter().map(|api| api.api_key).collect();
    let tried: BTreeSet<i16> = PROBES.iter().map(|probe| probe.api as i16).collect();
    assert_eq!(tried, advertised);
}

#[tokio::test]
async fn the_same_names_mean_each_tenants_own() {
    let mut tenants = Tenants::start().await;
    let secrets = secrets(&tenants);
    names_no_secret(&world_of(&mut tenants.a).await, &secrets, "the first tenant's world");
    // The other has five records there.
    let beyond = tenants.a.call(12, &fetch(TOPIC, 0, 4, 0)).await;
    assert_eq!(beyond.responses[0].partitions[0].error_code, 1, "an offset that only the other has");
    // The other's member is none of the group of that name here, nor can it be made to leave there.
    let (of_a, of_b) = (tenants.of_a.clone(), tenants.of_b.clone());
    let foreign = commit(&mut tenants.a, GROUP, &of_b.member, of_b.generation, TOPIC, "a-own").await;
    assert_eq!(foreign, 25);
    assert_eq!(commit(&mut tenants.a, GROUP, &of_a.member, of_a.generation, TOPIC, "a-own").await, 0);
    // The other's producer id is a new producer here, which begins at 0 whatever the other has sent.
    let forged = batch_of(&["a-own-forged"], Some((of_b.producer_id, 0, 0)));
    assert_eq!(append(&mut tenants.a, TOPIC, forged).await, (0, 1));
    is_undisturbed(&mut tenants.b, &of_b).await;
}

#[tokio::test]
async fn what_a_tenant_destroys_by_name_stays_for_the_other() {
    let mut tenants = Tenants::start().await;
    let before = world_of(&mut tenants.b_looks).await;
    let a = &mut tenants.a;
    let member = MemberIdentity::default().with_member_id(text(&tenants.of_a.member));
    let leave = LeaveGroupRequest::default().with_group_id(group(GROUP)).with_members(vec![member]);
    assert_eq!(a.call(5, &leave).await.members[0].error_code, 0);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]);
    assert_eq!(a.call(2, &delete).await.results[0].error_code, 0);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![name(TOPIC)]);
    assert_eq!(a.call(5, &delete).await.responses[0].error_code, 0);
    assert!(!world_of(a).await.contains(GROUP));
    assert_eq!(world_of(&mut tenants.b_looks).await, before);
    let of_b = tenants.of_b.clone();
    is_undisturbed(&mut tenants.b, &of_b).await;
}

#[tokio::test]
async fn nobody_gets_in_by_anothers_names_or_learns_by_them_what_exists() {
    let tenants = Tenants::start().await;
    let harness = &tenants.harness;
    let secrets = secrets(&tenants);
    let mut absent = harness.neighbour.clone();
    absent.id = "zzzzzzzz".parse().expect("a cluster id");
    let unknown = |login: Login| Login { access_key_id: "AKIANOBODY0000000001".into(), ..login };
    let forged = |login: Login| Login { secret: "guessed".into(), ..login };
    for (who, login) in [
        ("another tenant", harness.login()),
        ("a stranger", unknown(harness.login())),
        ("a forger", forged(harness.neighbours_login())),
    ] {
        let mut texts = Vec::new();
        for cluster in [&harness.neighbour, &absent] {
            for dialled in [boot(cluster), boot(cluster).replace("boot-", "b2-")] {
                let login = Login { host: dialled.clone(), ..login.clone() };
                // By SNI and signed host, by SNI alone (a token names no cluster), and by the signed host alone.
                let mut client = harness.tls(&dialled).await;
                let by_both = reason(&msk_iam(&mut client, &login).await);
                let mut client = harness.tls(&dialled).await;
                let by_sni = reason(&oauth_bearer(&mut client, &login).await);
                let mut client = harness.tls("127.0.0.1").await;
                let by_signed = reason(&msk_iam(&mut client, &login).await);
                let id = cluster.id.to_string();
                texts.push([by_both, by_sni, by_signed].map(|text| text.replace(&id, "<id>")));
            }
        }
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{who}: {texts:?}");
        names_no_secret(&format!("{texts:?}"), &secrets, who);
    }
    // On an open connection the name of another cluster is refused as one that is another's, whether it exists or not.
    for cluster in [&harness.neighbour, &absent] {
        let mut client = harness.logged_in(&harness.login()).await;
        let again = msk_iam(&mut client, &Login { host: boot(cluster), ..harness.login() }).await;
        let expected = format!("Access denied: host {} belongs to another cluster", boot(cluster));
        assert_eq!(reason(&again), expected);
    }
}
