//! DescribeClientQuotas: the quotas of users and client ids that match a filter (KIP-546).

use headgate_metadata::client_quota::{ClientQuotaEntity, EntityName};
use headgate_metadata::record::ClientQuotaEntry;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::alter_client_quotas::{CLIENT_ID, IP, NO_ADDRESSES, USER, invalid};
use super::{Call, message, text};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_creation::TopicRefused;

/// `match_type` of one name.
const EXACT: i8 = 0;
/// `match_type` of the default.
const DEFAULT: i8 = 1;
/// `match_type` of any name, and of the default.
const ANY: i8 = 2;

/// What one part of an entity must be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Anything,
    Exactly(EntityName),
}

/// The parts that must be there; a part that is not named here may be there only where the filter is not strict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Filter {
    user: Option<Wanted>,
    client_id: Option<Wanted>,
    strict: bool,
}

pub(super) async fn handle(
    session: &Session,
    _: &Call,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    match describe(session, &request).await {
        Ok(entries) => {
            DescribeClientQuotasResponse::default().with_error_message(None).with_entries(Some(entries))
        }
        Err(refused) => DescribeClientQuotasResponse::default()
            .with_error_code(error_code::of_refusal(refused.refusal))
            .with_error_message(Some(message(refused.text)))
            .with_entries(None),
    }
}

async fn describe(
    session: &Session,
    request: &DescribeClientQuotasRequest,
) -> Result<Vec<EntryData>, TopicRefused> {
    let unavailable =
        || TopicRefused::new(Refusal::ChangeUnavailable, "the cluster's metadata is not available");
    let view = session.view().await.map_err(|_| unavailable())?;
    if !session.may_on_cluster(&view, rights::DESCRIBE_CLIENT_QUOTAS) {
        return Err(TopicRefused::new(Refusal::ClusterDenied, "Cluster authorization failed."));
    }
    let filter = Filter::parse(request)?;
    let quotas = &session.shared.parts.client_quotas;
    if let Err(error) = quotas.refresh().await {
        tracing::warn!(cluster = %session.cluster, %error, "quotas of clients not seen");
        return Err(unavailable());
    }
    let Some(quotas) = quotas.of(session.cluster) else { return Ok(Vec::new()) };
    Ok(quotas.record.entities.iter().filter(|entry| filter.matches(&entry.entity)).map(shown).collect())
}

impl Filter {
    fn parse(request: &DescribeClientQuotasRequest) -> Result<Self, TopicRefused> {
        let mut filter = Self { strict: request.strict, ..Self::default() };
        for component in &request.components {
            let kind = &*component.entity_type;
            let place = match kind {
                USER => &mut filter.user,
                CLIENT_ID => &mut filter.client_id,
                IP => return Err(invalid(NO_ADDRESSES)),
                "" => return Err(invalid("Invalid empty entity type.")),
                kind => {
                    let text = format!("Unsupported entity type {kind}");
                    return Err(TopicRefused::new(Refusal::UnsupportedVersion, text));
                }
            };
            if place.is_some() {
                return Err(invalid(format!(
                    "Entity type {kind} cannot appear more than once in the filter."
                )));
            }
            *place = Some(wanted(component)?);
        }
        Ok(filter)
    }

    fn matches(&self, entity: &ClientQuotaEntity) -> bool {
        let part = |wanted: &Option<Wanted>, part: &Option<EntityName>| match (wanted, part) {
            (None, part) => part.is_none() || !self.strict,
            (Some(Wanted::Anything), part) => part.is_some(),
            (Some(Wanted::Exactly(name)), part) => part.as_ref() == Some(name),
        };
        part(&self.user, &entity.user) && part(&self.client_id, &entity.client_id)
    }
}

fn wanted(component: &ComponentData) -> Result<Wanted, TopicRefused> {
    match (component.match_type, &component._match) {
        (EXACT, Some(name)) => Ok(Wanted::Exactly(EntityName::Named(name.to_string()))),
        (DEFAULT, None) => Ok(Wanted::Exactly(EntityName::Default)),
        (ANY, None) => Ok(Wanted::Anything),
        (EXACT, None) => Err(invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.")),
        (DEFAULT, Some(_)) => {
            Err(invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string."))
        }
        (ANY, Some(_)) => {
            Err(invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."))
        }
        (kind, _) => Err(invalid(format!("Unknown match type {kind}"))),
    }
}

fn shown(entry: &ClientQuotaEntry) -> EntryData {
    let part = |kind: &'static str, name: &EntityName| {
        let name = match name {
            EntityName::Default => None,
            EntityName::Named(name) => Some(text(name.clone())),
        };
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name)
    };
    let user = entry.entity.user.iter().map(|name| part(USER, name));
    let client_id = entry.entity.client_id.iter().map(|name| part(CLIENT_ID, name));
    let value =
        |(key, value): (&String, &f64)| ValueData::default().with_key(text(key.clone())).with_value(*value);
    EntryData::default()
        .with_entity(user.chain(client_id).collect())
        .with_values(entry.values.iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<&str>, client_id: Option<&str>) -> ClientQuotaEntity {
        let part = |name: &str| match name {
            "*" => EntityName::Default,
            name => EntityName::Named(name.to_owned()),
        };
        ClientQuotaEntity { user: user.map(part), client_id: client_id.map(part) }
    }

    fn matching(components: &[(&str, i8, Option<&str>)], strict: bool) -> Vec<&'static str> {
        let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| {
            ComponentData::default()
                .with_entity_type(text(*kind))
                .with_match_type(*match_type)
                .with_match(name.map(text))
        };
        let request = DescribeClientQuotasRequest::default()
            .with_components(components.iter().map(component).collect())
            .with_strict(strict);
        let filter = Filter::parse(&request).expect("a filter");
        let entities = [
            ("u", entity(Some("u"), None)),
            ("*", entity(Some("*"), None)),
            ("u+c", entity(Some("u"), Some("c"))),
            ("u+*", entity(Some("u"), Some("*"))),
            ("c", entity(None, Some("c"))),
        ];
        entities.iter().filter(|(_, entity)| filter.matches(entity)).map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_filter_finds_what_kafkas_finds() {
        let check = |components: &[_], strict, expected: &[&str]| {
            assert_eq!(matching(components, strict), expected, "{components:?} {strict}");
        };
        check(&[], false, &["u", "*", "u+c", "u+*", "c"]);
        check(&[], true, &[]);
        check(&[(USER, EXACT, Some("u"))], false, &["u", "u+c", "u+*"]);
        check(&[(USER, EXACT, Some("u"))], true, &["u"]);
        check(&[(USER, DEFAULT, None)], false, &["*"]);
        check(&[(USER, ANY, None)], false, &["u", "*", "u+c", "u+*"]);
        check(&[(USER, ANY, None)], true, &["u", "*"]);
        check(&[(CLIENT_ID, ANY, None)], true, &["c"]);
        check(&[(USER, ANY, None), (CLIENT_ID, EXACT, Some("c"))], true, &["u+c"]);
        check(&[(USER, EXACT, Some("u")), (CLIENT_ID, DEFAULT, None)], false, &["u+*"]);
        check(&[(USER, EXACT, Some("*"))], false, &[]);
    }
}
