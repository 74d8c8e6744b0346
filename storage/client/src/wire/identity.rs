//! Who is at the other end: the role and name in its certificate, a URI in the manner of SPIFFE.
//!
//! `headgate://<cell>/storage/<node>`, `headgate://<cell>/gateway/<name>` or `headgate://<cell>/metering/<name>`; exactly one
//! such URI stands among a certificate's subject alternative names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use headgate_metadata::id::NodeId;

const SCHEME: &str = "headgate://";

/// A peer that proved to be part of the cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The cell.
    pub cell: Arc<str>,
    /// What it is there.
    pub role: PeerRole,
}

/// What a process is in its cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// The storage node of this number.
    Storage(NodeId),
    /// A gateway, by name.
    Gateway(Arc<str>),
    /// What adds usage up, by name.
    Metering(Arc<str>),
}

/// The text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form headgate://<cell>/storage/<node>, …/gateway/<name> or …/metering/<name>")]
pub struct InvalidIdentity(pub String);

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.cell, self.role)
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(node) => write!(f, "storage/{node}"),
            Self::Gateway(name) => write!(f, "gateway/{name}"),
            Self::Metering(name) => write!(f, "metering/{name}"),
        }
    }
}

impl FromStr for PeerIdentity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let parsed = || {
            let mut parts = text.strip_prefix(SCHEME)?.split('/');
            let (cell, role, name) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() || !is_name(cell) || !is_name(name) {
                return None;
            }
            let role = match role {
                "storage" => PeerRole::Storage(name.parse().ok()?),
                "gateway" => PeerRole::Gateway(name.into()),
                "metering" => PeerRole::Metering(name.into()),
                _ => return None,
            };
            Some(Self { cell: cell.into(), role })
        };
        parsed().ok_or_else(|| InvalidIdentity(text.to_owned()))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_its_own_text() {
        for text in [
            "headgate://abcd1234/storage/3",
            "headgate://abcd1234/gateway/zone-a.7",
            "headgate://abcd1234/metering/1",
        ] {
            assert_eq!(
                text.parse::<PeerIdentity>().map(|identity| identity.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn a_text_that_names_no_role_of_a_cell_is_refused() {
        for text in [
            "",
            "headgate://",
            "spiffe://cell/storage/3",
            "headgate://cell/storage",
            "headgate://cell/storage/x",
            "headgate://cell/storage/3/4",
            "headgate:///storage/3",
            "headgate://cell/operator/3",
            "headgate://cell/gateway/",
            "headgate://cell/gateway/a b",
        ] {
            assert_eq!(text.parse::<PeerIdentity>(), Err(InvalidIdentity(text.to_owned())));
        }
    }
}
