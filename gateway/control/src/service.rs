//! The four services of the endpoint, and how each speaks.

/// What a request is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Kafka,
    Iam,
    Sts,
    Headgate,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Kafka, Self::Iam, Self::Sts, Self::Headgate];

    /// The name in credential scopes and in front of actions.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Headgate => "headgate",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// rest-json.
    Json,
    /// AWS Query: XML answers in a namespace, for one API version.
    Query { namespace: &'static str, version: &'static str },
}

impl Dialect {
    pub(crate) const IAM: Self =
        Self::Query { namespace: "https://iam.amazonaws.com/doc/2010-05-08/", version: "2010-05-08" };
    pub(crate) const STS: Self =
        Self::Query { namespace: "https://sts.amazonaws.com/doc/2011-06-15/", version: "2011-06-15" };

    /// The service decides; where none is known, the path does: Query services have one path only.
    pub(crate) fn of(service: Option<Service>, raw_path: &str) -> Self {
        match service {
            Some(Service::Iam) => Self::IAM,
            Some(Service::Sts) => Self::STS,
            None if matches!(raw_path, "" | "/") => Self::STS,
            Some(Service::Kafka | Service::Headgate) | None => Self::Json,
        }
    }
}
