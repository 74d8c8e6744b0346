//! The complete matrix of APIs and actions (`gateway/PROTOCOL.md` §8), generated: for every API at every version, a principal
//! with exactly the actions needed is served, and one with any of them missing, granted on something else or denied sees what
//! its row says. For every API and every action there is, a principal with all others sees the same.
//!
//! A cell is one request. What it must see follows from its row and the principal's rights alone ([`row::Row::expected`]);
//! what it changed, and what was audited, must agree with what it saw.

mod calls;
mod cases;
mod row;
mod rows;
mod world;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::StrBytes;

use self::cases::{Case, at_every_version, at_one_version};
use self::row::{Row, Seen};
use self::rows::ROWS;
use self::world::World;
use crate::support::Harness;

/// What a row's cells came to.
#[derive(Default)]
struct Tally {
    cells: usize,
    wrong: Vec<String>,
}

async fn run(row: &Row) -> Tally {
    let mut tally = Tally::default();
    let mut world = World::new(*row).await;
    for version in row.versions() {
        for case in at_every_version(row) {
            cell(&mut world, row, version, &case, &mut tally).await;
        }
    }
    for case in at_one_version() {
        cell(&mut world, row, *row.versions().end(), &case, &mut tally).await;
    }
    tally.wrong.extend(world.wrongly_audited().into_iter().map(|wrong| format!("{}: {wrong}", row.name())));
    tally
}

async fn cell(world: &mut World, row: &Row, version: i16, case: &Case, tally: &mut Tally) {
    tally.cells += 1;
    let asked = world.asked().await;
    let expected = row.expected(&case.rights);
    let seen = world.ask(case, version, &asked, &expected).await;
    let mut wrong = |what: String| {
        tally.wrong.push(format!("{} {version}, {}: {what}", row.name(), case.name));
    };
    if seen != expected {
        wrong(format!("seen {seen:?}, expected {expected:?}"));
    }
    let done: Vec<bool> = expected.iter().map(|seen| *seen == Seen::Done).collect();
    if let Some(changed) = world.changed(&asked).await.filter(|changed| *changed != done) {
        wrong(format!("changed {changed:?}, expected {done:?}"));
    }
}

#[tokio::test]
async fn every_cell_of_apis_and_actions_is_as_its_row_says() {
    let tallies = join_all(ROWS.iter().map(run)).await;
    let cells: usize = tallies.iter().map(|tally| tally.cells).sum();
    let wrong: Vec<String> = tallies.into_iter().flat_map(|tally| tally.wrong).collect();
    println!("{} rows, {cells} cells, {} wrong", ROWS.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_version_of_every_api_that_is_advertised_has_a_row() {
    let harness = Harness::start().await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("test"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let advertised = harness.client().await.call(4, &request).await.api_keys;
    let mut missing = BTreeMap::new();
    for api in &advertised {
        let rows = || ROWS.iter().filter(|row| row.api as i16 == api.api_key);
        // Produce is advertised from 0 and served from 3.
        let first = if api.api_key == 0 { 3 } else { api.min_version };
        let without: Vec<i16> = (first..=api.max_version)
            .filter(|version| !rows().any(|row| row.versions().contains(version)))
            .collect();
        if !without.is_empty() {
            missing.insert(api.api_key, without);
        }
    }
    assert_eq!(missing, BTreeMap::new(), "API key: versions without a row");
    let known = |row: &&Row| advertised.iter().any(|api| api.api_key == row.api as i16);
    assert!(ROWS.iter().all(|row| known(&row)), "every row is of an API that is advertised");
}
