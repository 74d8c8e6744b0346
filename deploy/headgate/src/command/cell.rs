//! `headgate cell init` and `headgate cell issue`: what must exist before the first process of a cell starts.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use chrono::Utc;
use headgate_gateway::HostNames;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::record::CellRecord;
use headgate_storage_client::wire::{PeerIdentity, PeerRole};
use serde::Serialize;

use crate::authority::Authority;
use crate::cli::CellCommand;
use crate::data_dir::{create_private_dir, write_private};
use crate::first_start::{self, Cell, CellSpec};
use crate::roles::cell::{self, CLIENTS_CA, INTERNAL_CA, MASTER_KEY, stem};
use crate::roles::gateway::host_names;
use crate::roles::settings::CellSettings;
use crate::{master_key, object_store};

/// `SECRETS/administrator.json`. Field names are an interface: scripts read them.
#[derive(Debug, Serialize)]
struct Administrator {
    cell: String,
    region: String,
    account_id: String,
    access_key_id: String,
    secret_access_key: String,
    /// What Kafka clients trust.
    ca_pem_path: String,
}

/// Runs the command.
pub(crate) async fn run(command: CellCommand) -> Result<()> {
    match command {
        CellCommand::Init { region, slots, issue, cell } => {
            init(&CellSpec { slots, region }, &issue, &cell.decide()?).await
        }
        CellCommand::Issue { roles, cell } => {
            let settings = cell.decide()?;
            let store = cell::metadata_store(&settings)?;
            let record = cell::record(&store, &settings).await?;
            issue_all(&roles, &record, &settings)
        }
    }
}

async fn init(spec: &CellSpec, issue: &[String], settings: &CellSettings) -> Result<()> {
    let dir = &settings.secrets_dir;
    // Read before anything is made: a typo must not leave half a cell.
    issue.iter().try_for_each(|text| Wanted::parse(text).map(drop))?;
    create_private_dir(dir)?;
    let master_key = master_key::load_or_create(&dir.join(MASTER_KEY))?;
    let store = cell::metadata_store(settings)?;
    let now = TimestampMs::new(Utc::now().timestamp_millis() as u64);
    let made = first_start::find_or_create(&store, spec, &master_key, now).await?;
    if made.record.slots != spec.slots || made.record.region != spec.region {
        bail!(
            "the cell is there already, with {} slots in {}; these are fixed with it",
            made.record.slots,
            made.record.region
        );
    }
    object_store::open_for(&made.record, &object_store::absolute(settings.object_store()?)?).await?;
    issue_all(issue, &made.record, settings)?;
    let ca = Authority::load_or_create(dir, CLIENTS_CA, "Headgate clients CA")?.pem_path;
    let administrator = administrator(&made, &ca)?;
    let json = serde_json::to_string_pretty(&administrator)? + "\n";
    write_private(&dir.join("administrator.json"), json.as_bytes())?;
    println!("cell {} in {}, secrets in {}", administrator.cell, administrator.region, dir.display());
    Ok(())
}

fn administrator(made: &Cell, ca_pem_path: &Path) -> Result<Administrator> {
    let path = std::path::absolute(ca_pem_path).context("the secrets directory has no path")?;
    Ok(Administrator {
        cell: made.record.cell.clone(),
        region: made.record.region.clone(),
        account_id: made.record.account.to_string(),
        access_key_id: made.access_key_id.clone(),
        secret_access_key: made.secret.expose().to_owned(),
        ca_pem_path: path.display().to_string(),
    })
}

/// A certificate to be made.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    role: PeerRole,
    hosts: Vec<String>,
}

impl Wanted {
    fn parse(text: &str) -> Result<Self> {
        let (role, hosts) = text.split_once('=').unwrap_or((text, ""));
        let hosts: Vec<String> =
            hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect();
        // The role's text is the end of an identity's.
        let identity: PeerIdentity = format!("headgate://cell/{role}").parse().with_context(|| {
            format!("`{text}`: storage/NUMBER, gateway/NAME=HOST,… or metering/NAME is expected")
        })?;
        match (&identity.role, hosts.is_empty()) {
            (PeerRole::Gateway(_), true) => {
                bail!("`{text}`: by which names do clients reach it? Say gateway/NAME=HOST,HOST…")
            }
            (PeerRole::Storage(_) | PeerRole::Metering(_), false) => {
                bail!("`{text}`: only gateways have hosts")
            }
            _ => Ok(Self { role: identity.role, hosts }),
        }
    }
}

fn issue_all(roles: &[String], record: &CellRecord, settings: &CellSettings) -> Result<()> {
    let dir = &settings.secrets_dir;
    let wanted = roles.iter().map(|text| Wanted::parse(text)).collect::<Result<Vec<_>>>()?;
    let internal = Authority::load_or_create(dir, INTERNAL_CA, "Headgate internal CA")?;
    let clients = Authority::load_or_create(dir, CLIENTS_CA, "Headgate clients CA")?;
    for Wanted { role, hosts } in wanted {
        let stem = stem(&role);
        let identity = PeerIdentity { cell: record.cell.as_str().into(), role };
        internal.issue_identity(dir, &stem, &identity.to_string())?;
        if !hosts.is_empty() {
            let names: HostNames = host_names(record, settings, hosts);
            let in_certificate = [names.local.clone(), vec![names.wildcard()]].concat();
            clients.issue_server(dir, &format!("{stem}-clients"), &in_certificate)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_with_its_hosts_and_a_wrong_one_is_refused_with_what_is_expected() {
        let gateway = Wanted::parse("gateway/g1=10.0.0.1,kafka.example").expect("valid");
        assert_eq!(gateway.role, PeerRole::Gateway("g1".into()));
        assert_eq!(gateway.hosts, ["10.0.0.1", "kafka.example"]);
        assert!(Wanted::parse("storage/3").expect("valid").hosts.is_empty());
        let refused = |text: &str| Wanted::parse(text).expect_err(text).to_string();
        assert!(refused("gateway/g1").contains("gateway/NAME=HOST"));
        assert!(refused("storage/x").contains("storage/NUMBER"));
        assert!(refused("storage/1=h").contains("only gateways"));
    }
}
