//! Why the object store did not do what it was asked, in words an operator can act on.

/// A failed call, named by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such object. A reader reloads the manifest and retries (`storage/PROTOCOL.md` §8).
    #[error("`{name}` does not exist in {place}")]
    NotFound {
        /// The object.
        name: String,
        /// The store.
        place: String,
    },
    /// The object is shorter than what refers to it says. Corruption.
    #[error("`{name}` in {place} gave {found} of {expected} bytes")]
    Short {
        /// The object.
        name: String,
        /// The store.
        place: String,
        /// The bytes asked for.
        expected: u64,
        /// The bytes there.
        found: u64,
    },
    /// The store refused for a reason that waiting does not cure: credentials, permissions, a missing bucket. A human
    /// must look; going on with the back-off does no harm.
    #[error("{place} refuses to {operation} `{name}`: {reason}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On which object.
        name: String,
        /// The store.
        place: String,
        /// The store's own words.
        reason: String,
    },
    /// The store is slow, full, broken or out of reach, or the reply was lost. Repeat after a back-off.
    #[error("cannot {operation} `{name}` in {place}: {reason}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// On which object.
        name: String,
        /// The store.
        place: String,
        /// The store's own words.
        reason: String,
    },
}

/// Why a store cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreOpenError {
    /// The URL is not one of the two forms.
    #[error("`{url}` is not an object store: {reason}; use file:///absolute/path or s3://bucket/prefix")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings do not make a store.
    #[error("cannot open object store {place}: {reason}")]
    Settings {
        /// The store.
        place: String,
        /// Why.
        reason: String,
    },
    /// A step of the start-up probe failed.
    #[error("object store {place} failed its probe: {step} did not work: {reason}")]
    Probe {
        /// The store.
        place: String,
        /// Which step: `writing`, `reading back`, `deleting`.
        step: &'static str,
        /// Why.
        reason: String,
        /// The store did not answer, or not now; nothing says that it is the wrong one.
        away: bool,
    },
}

impl StoreOpenError {
    /// Whether the store may be the right one, but cannot be reached now.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Probe { away: true, .. })
    }
}

impl StoreError {
    pub(super) fn of(operation: &'static str, name: &str, place: &str, error: &object_store::Error) -> Self {
        use object_store::Error;
        let (name, place) = (name.to_owned(), place.to_owned());
        let reason = reason_of(error);
        match error {
            Error::NotFound { .. } if reason.contains("NoSuchBucket") => {
                Self::Refused { operation, name, place, reason }
            }
            Error::NotFound { .. } => Self::NotFound { name, place },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::InvalidPath { .. } => {
                Self::Refused { operation, name, place, reason }
            }
            _ => Self::Unavailable { operation, name, place, reason },
        }
    }
}

/// The whole chain of causes: the outermost alone often says nothing.
fn reason_of(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}
