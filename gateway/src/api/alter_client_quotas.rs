//! AlterClientQuotas: sets and removes quotas of users and client ids (KIP-546).
//!
//! A user is named by its principal's ARN, as everywhere here (`gateway/PROTOCOL.md` §9).

use std::collections::{BTreeMap, HashMap};

use headgate_metadata::client_quota::{ClientQuotaEntity, ClientQuotaKey, EntityName};
use headgate_metadata::client_quotas::{
    self, AlterClientQuotasError, Altered, ClientQuotaAlteration, NAME_BYTES_MAX,
};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_client_quotas_response::{
    EntityData as AlteredEntity, EntryData as AlteredEntry,
};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use super::{Call, message};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_creation::TopicRefused;
use crate::topic_operation;

/// `entity_type` of users.
pub(super) const USER: &str = "user";
/// `entity_type` of client ids.
pub(super) const CLIENT_ID: &str = "client-id";
/// `entity_type` of addresses, which only a broker of one's own could limit.
pub(super) const IP: &str = "ip";

/// How far from a whole number a value may be that must be one, as in Kafka.
const WHOLE_WITHIN: f64 = 1e-6;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let mut results = match may_alter(session, call).await {
        Ok(()) => parse_all(&request.entries),
        Err(refused) => request.entries.iter().map(|_| Err(refused.clone())).collect(),
    };
    let alterations: Vec<ClientQuotaAlteration> =
        results.iter().filter_map(|result| result.as_ref().ok().cloned()).collect();
    if !alterations.is_empty() {
        let altered = alter(session, &alterations, request.validate_only).await;
        let valid = results.iter_mut().filter(|result| result.is_ok());
        for (at, result) in valid.enumerate() {
            match &altered {
                Ok(altered) => {
                    if let Err(too_many) = altered[at] {
                        *result = Err(TopicRefused::new(Refusal::PolicyViolation, too_many.to_string()));
                    }
                }
                Err(refused) => *result = Err(refused.clone()),
            }
        }
    }
    let entries = request.entries.iter().zip(results).map(|(entry, result)| answer(entry, result.map(drop)));
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}

async fn may_alter(session: &Session, call: &Call) -> Result<(), TopicRefused> {
    let begun = topic_operation::begin(session, call, None).await;
    let view = topic_operation::view(session, &begun).await?;
    if session.may_on_cluster(&view, rights::ALTER_CLIENT_QUOTAS) {
        return Ok(());
    }
    Err(TopicRefused::new(Refusal::ClusterDenied, "Cluster authorization failed."))
}

/// Answered after this gateway keeps to it; if it cannot look now, it will see it with the next change.
async fn alter(
    session: &Session,
    alterations: &[ClientQuotaAlteration],
    validate_only: bool,
) -> Result<Altered, TopicRefused> {
    let parts = &session.shared.parts;
    let store = &*parts.metadata;
    let refused = |error: AlterClientQuotasError| match error {
        AlterClientQuotasError::ClusterUnknown(_) => {
            TopicRefused::new(Refusal::ChangeUnavailable, "the cluster is being deleted")
        }
        AlterClientQuotasError::Store(error) => {
            tracing::warn!(cluster = %session.cluster, %error, "quotas of clients not altered");
            TopicRefused::new(Refusal::from(&error), "the quotas could not be changed now")
        }
    };
    if validate_only {
        return client_quotas::try_alter(store, session.cluster, alterations).await.map_err(refused);
    }
    let altered = client_quotas::alter(store, session.cluster, alterations).await;
    let (altered, revision) = altered.map_err(refused)?;
    if let Some(revision) = revision
        && parts.client_quotas.catch_up(revision).await.is_ok()
    {
        session.quota().clients.renew(parts.client_quotas.of(session.cluster));
    }
    Ok(altered)
}

fn answer(entry: &EntryData, result: Result<(), TopicRefused>) -> AlteredEntry {
    let part = |part: &EntityData| {
        AlteredEntity::default()
            .with_entity_type(part.entity_type.clone())
            .with_entity_name(part.entity_name.clone())
    };
    let answer = AlteredEntry::default().with_entity(entry.entity.iter().map(part).collect());
    match result {
        Ok(()) => answer.with_error_message(None),
        Err(refused) => answer
            .with_error_code(error_code::of_refusal(refused.refusal))
            .with_error_message(Some(message(refused.text))),
    }
}

/// Each entry by itself; an entity that is named more than once is not altered at all.
fn parse_all(entries: &[EntryData]) -> Vec<Result<ClientQuotaAlteration, TopicRefused>> {
    let mut parsed: Vec<_> = entries.iter().map(parse).collect();
    let mut counts: HashMap<ClientQuotaEntity, usize> = HashMap::new();
    for alteration in parsed.iter().flatten() {
        *counts.entry(alteration.entity.clone()).or_default() += 1;
    }
    for result in &mut parsed {
        if result.as_ref().is_ok_and(|alteration| counts[&alteration.entity] > 1) {
            *result = Err(invalid("Ignoring duplicate entity"));
        }
    }
    parsed
}

fn parse(entry: &EntryData) -> Result<ClientQuotaAlteration, TopicRefused> {
    let entity = parse_entity(&entry.entity)?;
    let mut changes = BTreeMap::new();
    let mut named = std::collections::HashSet::new();
    for op in &entry.ops {
        if !named.insert(&op.key) {
            return Err(invalid(format!(
                "Duplicate quota key {} not updating quota for this entity",
                op.key
            )));
        }
        if let Some((key, value)) = parse_op(op)? {
            changes.insert(key, value);
        }
    }
    let sets = changes.values().any(Option::is_some);
    if let (Some(EntityName::Named(user)), true) = (&entity.user, sets)
        && !user.starts_with("arn:")
    {
        return Err(invalid(format!(
            "user {user} is not the ARN of a principal, such as arn:aws:iam::123456789012:user/name"
        )));
    }
    Ok(ClientQuotaAlteration { entity, changes })
}

fn parse_entity(parts: &[EntityData]) -> Result<ClientQuotaEntity, TopicRefused> {
    let mut entity = ClientQuotaEntity { user: None, client_id: None };
    for part in parts {
        let kind = &*part.entity_type;
        let place = match kind {
            USER => &mut entity.user,
            CLIENT_ID => &mut entity.client_id,
            IP => return Err(invalid(NO_ADDRESSES)),
            kind => return Err(invalid(format!("Unhandled client quota entity type: {kind}"))),
        };
        if place.is_some() {
            return Err(invalid(format!("Invalid client quota entity, duplicate entity entry {kind}")));
        }
        *place = Some(parse_name(kind, part.entity_name.as_deref())?);
    }
    match entity {
        ClientQuotaEntity { user: None, client_id: None } => {
            Err(invalid("Invalid empty client quota entity"))
        }
        entity => Ok(entity),
    }
}

/// Why quotas of addresses are refused.
pub(super) const NO_ADDRESSES: &str =
    "quotas of ip entities are not offered by this cluster; set quotas of user and client-id entities";

fn parse_name(kind: &str, name: Option<&str>) -> Result<EntityName, TopicRefused> {
    match name {
        None => Ok(EntityName::Default),
        Some("") => Err(invalid(format!("Empty {kind} not supported"))),
        Some(name) if name.len() > NAME_BYTES_MAX => {
            let length = name.len();
            Err(invalid(format!("{kind} of {length} bytes is longer than {NAME_BYTES_MAX}")))
        }
        Some(name) if name.contains(char::is_control) => {
            Err(invalid(format!("{kind} with control characters not supported")))
        }
        Some(name) => Ok(EntityName::Named(name.to_owned())),
    }
}

/// `None` for the removal of what does not exist.
fn parse_op(op: &OpData) -> Result<Option<(ClientQuotaKey, Option<f64>)>, TopicRefused> {
    let (name, value) = (&*op.key, op.value);
    let key = match name.parse::<ClientQuotaKey>() {
        Ok(key) => key,
        Err(_) if op.remove => return Ok(None),
        Err(_) => return Err(invalid(format!("Invalid configuration key {name}"))),
    };
    if op.remove {
        return Ok(Some((key, None)));
    }
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {name} must be greater than 0")));
    }
    if key.is_whole() && value >= i64::MAX as f64 || value.is_infinite() {
        return Err(invalid(format!("Proposed value for {name} is too large for a LONG.")));
    }
    if key.is_whole() && (value - value.round()).abs() > WHOLE_WITHIN {
        return Err(invalid(format!("Configuration {name} must be a Long value")));
    }
    Ok(Some((key, Some(if key.is_whole() { value.round() } else { value }))))
}

pub(super) fn invalid(text: impl Into<String>) -> TopicRefused {
    TopicRefused::new(Refusal::InvalidRequest, text)
}
