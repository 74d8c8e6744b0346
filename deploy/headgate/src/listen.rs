//! Where to listen and under which names, as flags and files say it.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, bail};

/// The flag for the metrics that name clusters.
pub(crate) const TENANT_METRICS: &str = "--listen-tenant-metrics";

/// A place to listen, with the flag that changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) flag: &'static str,
}

impl Listen {
    pub(crate) fn parse(text: &str, flag: &'static str) -> Result<Self> {
        let (host, port) =
            text.rsplit_once(':').with_context(|| format!("{flag} {text}: HOST:PORT is expected"))?;
        let port = port.parse().with_context(|| format!("{flag} {text}: `{port}` is not a port"))?;
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, flag })
    }

    pub(crate) fn parse_optional(text: Option<&str>, flag: &'static str) -> Result<Option<Self>> {
        text.map(|text| Self::parse(text, flag)).transpose()
    }

    /// The addresses to bind. `localhost` is 127.0.0.1 *and* ::1, because Node and librdkafka try ::1 first.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>> {
        if self.host == "localhost" {
            return Ok(vec![
                ([127, 0, 0, 1], self.port).into(),
                ([0, 0, 0, 0, 0, 0, 0, 1u16], self.port).into(),
            ]);
        }
        let address = self.host.parse().with_context(|| {
            format!("{} {}: the host must be `localhost` or an IP address", self.flag, self.host)
        })?;
        Ok(vec![SocketAddr::new(address, self.port)])
    }

    pub(crate) fn is_loopback(&self) -> Result<bool> {
        Ok(self.addresses()?.iter().all(|address| address.ip().is_loopback()))
    }
}

/// Labels of letters, digits and inner hyphens; short enough for what comes before it in clusters' names.
pub(crate) fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 150 && text.split('.').all(is_label)
}

pub(crate) fn parse_ports(text: &str) -> Result<RangeInclusive<u16>> {
    let parsed = text.split_once('-').and_then(|(from, to)| Some(from.parse().ok()?..=to.parse().ok()?));
    match parsed {
        Some(ports) if !ports.is_empty() => Ok(ports),
        _ => bail!("--cluster-ports {text}: FROM-TO is expected, such as 9100-9199"),
    }
}
