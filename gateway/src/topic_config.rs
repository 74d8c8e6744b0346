//! The configs of a topic: which there are, which may be set, and what they mean (`gateway/PROTOCOL.md`, MSK Serverless's
//! rules: seven can be set, `cleanup.policy` only at creation, the rest are shown and refused).

use std::collections::BTreeMap;

/// A config and its rules.
#[derive(Debug)]
pub(crate) struct ConfigKey {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) kind: ConfigKind,
    pub(crate) settable: Settable,
    /// Whether Amazon MSK shows the default as the cluster's own choice rather than Kafka's default.
    pub(crate) chosen: bool,
    pub(crate) documentation: &'static str,
}

/// When a config may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settable {
    Always,
    AtCreation,
    Never,
}

/// What values a config takes, in the terms DescribeConfigs knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigKind {
    Boolean,
    Text,
    Int {
        min: i64,
        max: i64,
    },
    Long {
        min: i64,
        max: i64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of some of these words.
    Words(&'static [&'static str]),
}

const fn key(name: &'static str, default: &'static str, kind: ConfigKind, settable: Settable) -> ConfigKey {
    ConfigKey { name, default, kind, settable, chosen: false, documentation: "" }
}

impl ConfigKey {
    const fn chosen(mut self) -> Self {
        self.chosen = true;
        self
    }
    const fn documented(mut self, documentation: &'static str) -> Self {
        self.documentation = documentation;
        self
    }
}

const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const TIMESTAMP_DIFFERENCE: &str = "message.timestamp.difference.max.ms";
const CREATE_TIME: &str = "CreateTime";
const LOG_APPEND_TIME: &str = "LogAppendTime";

/// The largest `max.message.bytes`: 8 MiB.
const MESSAGE_BYTES_LIMIT: i64 = 8 * 1024 * 1024;

/// All configs a topic shows, by name.
pub(crate) static CONFIG_KEYS: &[ConfigKey] = &[
    key(CLEANUP_POLICY, "delete", ConfigKind::Words(&[COMPACT, "delete"]), Settable::AtCreation)
        .documented("Whether old records are deleted or compacted. Set at creation only."),
    key(
        "compression.type",
        "producer",
        ConfigKind::Word(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        Settable::Always,
    )
    .documented("The codec of the topic; batches are stored as the producer compressed them."),
    key(MAX_MESSAGE_BYTES, "1048588", ConfigKind::Int { min: 0, max: MESSAGE_BYTES_LIMIT }, Settable::Always)
        .documented("The largest record batch accepted, in bytes. At most 8 MiB."),
    key("message.format.version", "2.8-IV2", ConfigKind::Text, Settable::Never).chosen(),
    key(
        TIMESTAMP_DIFFERENCE,
        "9223372036854775807",
        ConfigKind::Long { min: 0, max: i64::MAX },
        Settable::Always,
    )
    .documented("How far a record's timestamp may be from the server's time, in ms."),
    key(TIMESTAMP_TYPE, CREATE_TIME, ConfigKind::Word(&[CREATE_TIME, LOG_APPEND_TIME]), Settable::Always)
        .documented("Whether records carry the producer's time or the server's."),
    key("min.insync.replicas", "2", ConfigKind::Int { min: 1, max: i32::MAX as i64 }, Settable::Never)
        .chosen(),
    key("retention.bytes", "268435456000", ConfigKind::Long { min: -1, max: i64::MAX }, Settable::Always)
        .chosen()
        .documented("How many bytes a partition keeps; -1 for no limit."),
    key("retention.ms", "604800000", ConfigKind::Long { min: -1, max: i64::MAX }, Settable::Always)
        .chosen()
        .documented("How long records are kept, in ms; -1 for ever."),
    key("segment.bytes", "134217728", ConfigKind::Int { min: 14, max: i32::MAX as i64 }, Settable::Never)
        .chosen(),
    key("unclean.leader.election.enable", "false", ConfigKind::Boolean, Settable::Never).chosen(),
];

/// Why a config is not accepted, in words for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigRefused {
    /// Kafka has none of that name, or it is not offered.
    #[error(
        "Topic config {0} cannot be set on this cluster; settable are cleanup.policy (at creation), compression.type, \
             max.message.bytes, message.timestamp.difference.max.ms, message.timestamp.type, retention.bytes and \
             retention.ms"
    )]
    NotSettable(String),
    /// Only at creation.
    #[error("Topic config {0} can only be set when the topic is created")]
    OnlyAtCreation(String),
    /// The value does not fit.
    #[error("Invalid value {value} for configuration {name}: {expected}")]
    Value {
        /// Which.
        name: String,
        /// What was sent.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// APPEND and SUBTRACT work on lists.
    #[error("Config value append is not allowed for config key: {0}")]
    NotAList(String),
}

/// When a config is being set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Creation,
    Later,
}

/// The config of this name.
pub(crate) fn find(name: &str) -> Option<&'static ConfigKey> {
    CONFIG_KEYS.iter().find(|key| key.name == name)
}

/// Checks that the config may be set to this value now.
pub(crate) fn check(name: &str, value: &str, moment: Moment) -> Result<(), ConfigRefused> {
    let key = settable(name, moment)?;
    key.kind.check(value.trim()).map_err(|expected| ConfigRefused::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    })?;
    Ok(())
}

/// Checks that the config may be changed or removed now.
pub(crate) fn settable(name: &str, moment: Moment) -> Result<&'static ConfigKey, ConfigRefused> {
    let key = find(name).ok_or_else(|| ConfigRefused::NotSettable(name.to_owned()))?;
    match (key.settable, moment) {
        (Settable::Always, _) | (Settable::AtCreation, Moment::Creation) => Ok(key),
        (Settable::AtCreation, Moment::Later) => Err(ConfigRefused::OnlyAtCreation(name.to_owned())),
        (Settable::Never, _) => Err(ConfigRefused::NotSettable(name.to_owned())),
    }
}

impl ConfigKind {
    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Int { min, max } | Self::Long { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                Ok(_) => Err(format!("Value must be between {min} and {max}")),
                Err(_) => Err("Not a number".to_owned()),
            },
            Self::Boolean if matches!(value, "true" | "false") => Ok(()),
            Self::Boolean => Err("Expected true or false".to_owned()),
            Self::Text => Ok(()),
            Self::Word(words) if words.contains(&value) => Ok(()),
            Self::Word(words) => Err(format!("String must be one of: {}", words.join(", "))),
            Self::Words(words) => {
                let fits = !value.is_empty() && value.split(',').all(|word| words.contains(&word.trim()));
                if fits { Ok(()) } else { Err(format!("String must be one of: {}", words.join(", "))) }
            }
        }
    }

    /// The type as DescribeConfigs numbers it.
    pub(crate) fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Text | Self::Word(_) => 2,
            Self::Int { .. } => 3,
            Self::Long { .. } => 5,
            Self::Words(_) => 7,
        }
    }
}

/// A config as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown<'t> {
    pub(crate) value: &'t str,
    pub(crate) read_only: bool,
    /// Where the value comes from, as DescribeConfigs numbers it.
    pub(crate) source: i8,
}

/// Set on the topic.
const SOURCE_TOPIC: i8 = 1;
/// Chosen by the cluster.
const SOURCE_CLUSTER: i8 = 4;
/// Kafka's own default.
const SOURCE_DEFAULT: i8 = 5;

/// The value in force and where it comes from.
pub(crate) fn shown<'t>(configs: &'t BTreeMap<String, String>, key: &'static ConfigKey) -> Shown<'t> {
    let (value, source) = values(configs, key)[0];
    Shown { value, read_only: key.settable == Settable::Never, source }
}

/// All values a config has, the one in force first.
pub(crate) fn values<'t>(
    configs: &'t BTreeMap<String, String>,
    key: &'static ConfigKey,
) -> Vec<(&'t str, i8)> {
    let inherited = if key.chosen { SOURCE_CLUSTER } else { SOURCE_DEFAULT };
    let set = configs.get(key.name).map(|value| (value.as_str(), SOURCE_TOPIC));
    set.into_iter().chain([(key.default, inherited)]).collect()
}

/// Whether the topic is compacted.
pub(crate) fn is_compacted(configs: &BTreeMap<String, String>) -> bool {
    configs.get(CLEANUP_POLICY).is_some_and(|value| value.split(',').any(|word| word.trim() == COMPACT))
}

/// What the produce path reads of a topic's configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProduceRules {
    /// The largest batch, in bytes.
    pub(crate) batch_bytes_max: u64,
    /// Whether the server's time replaces the producer's.
    pub(crate) log_append_time: bool,
    /// How far the producer's time may be off, in ms.
    pub(crate) timestamp_difference_ms_max: i64,
    /// Whether the topic is compacted.
    pub(crate) compacted: bool,
}

impl ProduceRules {
    /// The rules of a topic. Values were checked when they were set; one that no longer parses counts as its default.
    pub(crate) fn of(configs: &BTreeMap<String, String>) -> Self {
        let number = |name| configs.get(name).and_then(|value| value.trim().parse::<i64>().ok());
        Self {
            batch_bytes_max: number(MAX_MESSAGE_BYTES).map_or(1_048_588, |bytes| bytes.max(0) as u64),
            log_append_time: configs.get(TIMESTAMP_TYPE).is_some_and(|value| value.trim() == LOG_APPEND_TIME),
            timestamp_difference_ms_max: number(TIMESTAMP_DIFFERENCE).unwrap_or(i64::MAX),
            compacted: is_compacted(configs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_its_own_rule() {
        for key in CONFIG_KEYS {
            assert_eq!(key.kind.check(key.default), Ok(()), "{}", key.name);
        }
    }

    #[test]
    fn exactly_the_seven_of_msk_serverless_can_be_set() {
        let settable: Vec<&str> =
            CONFIG_KEYS.iter().filter(|key| key.settable != Settable::Never).map(|key| key.name).collect();
        assert_eq!(
            settable,
            [
                "cleanup.policy",
                "compression.type",
                "max.message.bytes",
                "message.timestamp.difference.max.ms",
                "message.timestamp.type",
                "retention.bytes",
                "retention.ms"
            ]
        );
    }

    #[test]
    fn values_beyond_their_bounds_are_refused_with_the_bounds() {
        assert_eq!(check("max.message.bytes", "8388608", Moment::Later), Ok(()));
        let refused = check("max.message.bytes", "8388609", Moment::Later).expect_err("above 8 MiB");
        assert_eq!(
            refused.to_string(),
            "Invalid value 8388609 for configuration max.message.bytes: Value must be between 0 and 8388608"
        );
        assert_eq!(check("retention.ms", "-1", Moment::Later), Ok(()));
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.bytes", "x"),
            ("cleanup.policy", ""),
            ("compression.type", "zip"),
        ] {
            assert!(
                matches!(check(name, value, Moment::Creation), Err(ConfigRefused::Value { .. })),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn the_cleanup_policy_is_set_at_creation_only() {
        for value in ["delete", "compact", "compact,delete", "delete, compact"] {
            assert_eq!(check("cleanup.policy", value, Moment::Creation), Ok(()), "{value}");
        }
        let later = check("cleanup.policy", "delete", Moment::Later);
        assert_eq!(later, Err(ConfigRefused::OnlyAtCreation("cleanup.policy".into())));
    }

    #[test]
    fn other_configs_are_refused_by_name() {
        for name in ["segment.bytes", "min.insync.replicas", "no.such.config"] {
            assert_eq!(check(name, "1", Moment::Creation), Err(ConfigRefused::NotSettable(name.into())));
        }
    }

    #[test]
    fn the_produce_path_reads_what_was_set() {
        assert_eq!(
            ProduceRules::of(&BTreeMap::new()),
            ProduceRules {
                batch_bytes_max: 1_048_588,
                log_append_time: false,
                timestamp_difference_ms_max: i64::MAX,
                compacted: false,
            }
        );
        let set = [("max.message.bytes", "100"), ("message.timestamp.type", "LogAppendTime")];
        let set: BTreeMap<_, _> = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(ProduceRules::of(&set).batch_bytes_max, 100);
        assert!(ProduceRules::of(&set).log_append_time && !ProduceRules::of(&set).compacted);
        let compacted = [("cleanup.policy".to_owned(), "compact,delete".to_owned())].into();
        assert!(ProduceRules::of(&compacted).compacted);
    }
}
