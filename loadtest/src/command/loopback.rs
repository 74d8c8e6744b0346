//! Keeps the subcommands that misbehave on purpose away from other people's machines.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};

use crate::endpoint::HostPort;

/// Resolves an address and refuses it unless everything it may mean is this machine's loopback.
pub(super) async fn resolve_loopback(address: &HostPort) -> anyhow::Result<SocketAddr> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port))
        .await
        .with_context(|| format!("cannot resolve {address}"))?;
    let found: Vec<SocketAddr> = found.collect();
    ensure!(
        !found.is_empty() && found.iter().all(|address| address.ip().is_loopback()),
        "{address} is not a loopback address; this subcommand only ever attacks its own machine"
    );
    // Source addresses are IPv4, so that is preferred.
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .context("the list was just seen not to be empty")
}

/// Parses `127.0.0.1-127.0.0.8` or a single address; loopback only.
pub(super) fn parse_sources(text: &str) -> anyhow::Result<Vec<IpAddr>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parse = |text: &str| {
        let address: std::net::Ipv4Addr =
            text.trim().parse().with_context(|| format!("`{text}` is not an IPv4 address"))?;
        ensure!(address.is_loopback(), "source {address} is not a loopback address");
        Ok(u32::from(address))
    };
    let (first, last) = (parse(first)?, parse(last)?);
    ensure!(first <= last && last - first < 256, "`{text}` is not a range of at most 256 addresses");
    Ok((first..=last).map(|address| IpAddr::from(std::net::Ipv4Addr::from(address))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_targets_are_accepted() {
        let resolve =
            async |host: &str| resolve_loopback(&HostPort { host: host.to_owned(), port: 9092 }).await;
        assert!(resolve("127.0.0.1").await.is_ok());
        assert!(resolve("127.8.8.8").await.is_ok());
        assert!(resolve("::1").await.is_ok());
        for host in ["192.0.2.1", "0.0.0.0", "2001:db8::1"] {
            assert!(resolve(host).await.is_err(), "{host}");
        }
    }

    #[test]
    fn sources_are_a_range_of_loopback_addresses() {
        assert_eq!(parse_sources("127.0.0.1-127.0.0.8").expect("a range").len(), 8);
        assert_eq!(parse_sources("127.0.0.5").expect("one").len(), 1);
        for wrong in ["127.0.0.8-127.0.0.1", "10.0.0.1", "127.0.0.1-127.0.9.1", "localhost", ""] {
            assert!(parse_sources(wrong).is_err(), "{wrong}");
        }
    }
}
