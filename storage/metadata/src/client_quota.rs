//! Quotas inside a cluster: what a cluster's own administrator allows single users and client ids (KIP-13, KIP-124, KIP-599).
//!
//! What holds for a client is found for each kind of quota by itself, in Apache Kafka's order, from the most to the least
//! special: whoever sets one kind for an entity leaves the other kinds to those behind it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::ClientQuotaRecord;

/// One row per kind: variant, Kafka's name, and what it limits.
macro_rules! client_quotas {
    ($($variant:ident $name:literal $what:literal;)+) => {
        /// A kind of quota, by Kafka's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ClientQuotaKey {
            $(#[doc = $what] $variant,)+
        }

        impl ClientQuotaKey {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

client_quotas! {
    ProducerByteRate "producer_byte_rate" "Bytes of Produce requests a second.";
    ConsumerByteRate "consumer_byte_rate" "Bytes of fetched records a second.";
    RequestPercentage "request_percentage" "Time in handlers, in percent of one thread.";
    ControllerMutationRate "controller_mutation_rate" "Partitions created and deleted a second.";
}

impl ClientQuotaKey {
    /// Whether only whole numbers are allowed.
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::ProducerByteRate | Self::ConsumerByteRate)
    }
}

impl fmt::Display for ClientQuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no kind of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no quota of clients named `{0}`")]
pub struct ClientQuotaUnknown(pub String);

impl FromStr for ClientQuotaKey {
    type Err = ClientQuotaUnknown;
    fn from_str(text: &str) -> Result<Self, ClientQuotaUnknown> {
        let found = Self::ALL.iter().find(|key| key.name() == text);
        found.copied().ok_or_else(|| ClientQuotaUnknown(text.to_owned()))
    }
}

/// Whom a part of an entity stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntityName {
    /// Everyone who has no entity of their own.
    Default,
    /// One user, by ARN, or one client id.
    Named(String),
}

/// Whom a quota is for: a user, a client id, or both together. At least one is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientQuotaEntity {
    /// Which users; absent where it is for a client id whoever uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<EntityName>,
    /// Which client ids; absent where it is for all that a user does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<EntityName>,
}

/// Who uses up one and the same quota together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SharedBy {
    /// Everything of one user.
    User,
    /// Everyone with one client id.
    ClientId,
    /// One user with one client id.
    UserAndClientId,
}

/// What holds for a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientQuota {
    /// How much; greater than 0.
    pub value: f64,
    /// Whose use counts against it: also of an entity for many, each has its own.
    pub shared_by: SharedBy,
}

/// The quotas of a cluster's clients, to be looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientQuotaSet {
    values: HashMap<ClientQuotaEntity, [Option<f64>; ClientQuotaKey::COUNT]>,
}

impl ClientQuotaSet {
    /// Those of a record. Kinds that this version does not know, and values that it cannot have, are passed over: a newer
    /// process wrote them.
    pub fn of(record: &ClientQuotaRecord) -> Self {
        let mut set = Self::default();
        for entry in &record.entities {
            let values = set.values.entry(entry.entity.clone()).or_default();
            for (name, value) in &entry.values {
                if let Ok(key) = name.parse::<ClientQuotaKey>()
                    && *value > 0.0
                {
                    values[key as usize] = Some(*value);
                }
            }
        }
        set
    }

    /// What holds of one kind for a user with a client id; `None` where nobody set anything.
    pub fn find(&self, key: ClientQuotaKey, user: &str, client_id: &str) -> Option<ClientQuota> {
        use SharedBy::{ClientId, User, UserAndClientId};
        let user = || Some(EntityName::Named(user.to_owned()));
        let client = || Some(EntityName::Named(client_id.to_owned()));
        let any = || Some(EntityName::Default);
        let in_order = [
            (user(), client(), UserAndClientId),
            (user(), any(), UserAndClientId),
            (user(), None, User),
            (any(), client(), UserAndClientId),
            (any(), any(), UserAndClientId),
            (any(), None, User),
            (None, client(), ClientId),
            (None, any(), ClientId),
        ];
        in_order.into_iter().find_map(|(user, client_id, shared_by)| {
            let values = self.values.get(&ClientQuotaEntity { user, client_id })?;
            values[key as usize].map(|value| ClientQuota { value, shared_by })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ClientQuotaEntry;

    const KEY: ClientQuotaKey = ClientQuotaKey::ProducerByteRate;

    fn entity(user: Option<&str>, client_id: Option<&str>) -> ClientQuotaEntity {
        let part = |name: &str| match name {
            "*" => EntityName::Default,
            name => EntityName::Named(name.to_owned()),
        };
        ClientQuotaEntity { user: user.map(part), client_id: client_id.map(part) }
    }

    fn entry(user: Option<&str>, client_id: Option<&str>, key: &str, value: f64) -> ClientQuotaEntry {
        ClientQuotaEntry { entity: entity(user, client_id), values: [(key.to_owned(), value)].into() }
    }

    fn found(entities: Vec<ClientQuotaEntry>) -> Option<(f64, SharedBy)> {
        let set = ClientQuotaSet::of(&ClientQuotaRecord { entities });
        set.find(KEY, "u", "c").map(|quota| (quota.value, quota.shared_by))
    }

    #[test]
    fn the_most_special_entity_holds_in_kafkas_order() {
        let order = [
            (Some("u"), Some("c"), SharedBy::UserAndClientId),
            (Some("u"), Some("*"), SharedBy::UserAndClientId),
            (Some("u"), None, SharedBy::User),
            (Some("*"), Some("c"), SharedBy::UserAndClientId),
            (Some("*"), Some("*"), SharedBy::UserAndClientId),
            (Some("*"), None, SharedBy::User),
            (None, Some("c"), SharedBy::ClientId),
            (None, Some("*"), SharedBy::ClientId),
        ];
        let entries: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(at, (user, client, _))| entry(*user, *client, KEY.name(), (at + 1) as f64))
            .collect();
        for (at, (_, _, shared_by)) in order.iter().enumerate() {
            let left = entries[at..].to_vec();
            assert_eq!(found(left), Some(((at + 1) as f64, *shared_by)), "without the first {at}");
        }
        assert_eq!(found(Vec::new()), None);
    }

    #[test]
    fn entities_of_others_do_not_hold() {
        let others = [(Some("v"), None), (None, Some("d")), (Some("u"), Some("d")), (Some("*"), Some("d"))];
        let entries = others.iter().map(|(user, client)| entry(*user, *client, KEY.name(), 1.0)).collect();
        assert_eq!(found(entries), None);
    }

    #[test]
    fn each_kind_is_found_by_itself() {
        let special = entry(Some("u"), Some("c"), "consumer_byte_rate", 5.0);
        let general = entry(None, Some("*"), KEY.name(), 7.0);
        assert_eq!(found(vec![special, general]), Some((7.0, SharedBy::ClientId)));
    }

    #[test]
    fn what_a_newer_process_wrote_is_passed_over() {
        let entries = vec![
            entry(Some("u"), None, "of_the_future", 5.0),
            entry(Some("u"), Some("c"), KEY.name(), 0.0),
            entry(None, Some("c"), KEY.name(), 9.0),
        ];
        assert_eq!(found(entries), Some((9.0, SharedBy::ClientId)));
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for key in ClientQuotaKey::ALL {
            assert_eq!(key.name().parse(), Ok(*key));
        }
        assert!("speed".parse::<ClientQuotaKey>().is_err());
    }
}
