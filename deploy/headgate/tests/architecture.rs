//! `ARCHITECTURE.md` is held against the code: a map that lies is worse than none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root exists")
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is readable")
}

/// The text under the heading, up to the next heading of the same or a higher level.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let start = text.find(heading).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let body = &text[start + heading.len()..];
    let level = heading.split(' ').next().expect("a heading begins with #");
    let next = body.lines().scan(0, |at, line| {
        let here = *at;
        *at += line.len() + 1;
        Some((here, line))
    });
    let end = next.skip(1).find(|(_, line)| {
        line.starts_with("# ") || line.starts_with("## ") || line.starts_with(&format!("{level} "))
    });
    &body[..end.map_or(body.len(), |(at, _)| at)]
}

/// Steps of the form "1. `path` `function` …".
fn steps(text: &str) -> Vec<(String, String)> {
    let numbered = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    numbered
        .map(|line| {
            let mut quoted = line.split('`').skip(1).step_by(2).map(str::to_owned);
            let path = quoted.next().unwrap_or_else(|| panic!("a step names no file: {line}"));
            (path, quoted.next().unwrap_or_else(|| panic!("a step names no function: {line}")))
        })
        .collect()
}

fn check_path_of(heading: &str) {
    let text = architecture();
    let steps = steps(section(&text, heading));
    let files: BTreeSet<&String> = steps.iter().map(|(path, _)| path).collect();
    assert!(!steps.is_empty() && files.len() <= 6, "{heading}: one to six files, {} named", files.len());
    for (path, function) in &steps {
        let code = std::fs::read_to_string(root().join(path))
            .unwrap_or_else(|_| panic!("{heading}: {path} does not exist"));
        let name = function.rsplit("::").next().expect("split gives at least one part");
        assert!(code.contains(&format!("fn {name}")), "{heading}: {path} has no function {name}");
    }
}

#[test]
fn one_produce_is_followed_through_at_most_six_files_that_exist() {
    check_path_of("### One produce");
}

#[test]
fn one_fetch_is_followed_through_at_most_six_files_that_exist() {
    check_path_of("### One fetch");
}

#[test]
fn the_drawing_of_crates_has_exactly_the_arrows_of_the_manifests() {
    let text = architecture();
    let drawn: BTreeSet<(String, String)> = section(&text, "### Arrows between crates")
        .lines()
        .filter_map(|line| line.split_once("→"))
        .flat_map(|(from, to)| {
            let from = from.trim().to_owned();
            to.split(',').map(move |to| (from.clone(), to.trim().to_owned())).collect::<Vec<_>>()
        })
        .filter(|(_, to)| to != "nothing")
        .collect();
    let folders = [
        "autoscaler",
        "deploy/headgate",
        "gateway",
        "gateway/control",
        "gateway/iam",
        "loadtest",
        "metering",
        "storage",
        "storage/client",
        "storage/log",
        "storage/metadata",
    ];
    let folder_of = |package: &str| match package {
        "headgate-control" => "gateway/control".to_owned(),
        "headgate-iam" => "gateway/iam".to_owned(),
        "headgate-log" => "storage/log".to_owned(),
        "headgate-metadata" => "storage/metadata".to_owned(),
        "headgate-storage-client" => "storage/client".to_owned(),
        other => other.trim_start_matches("headgate-").to_owned(),
    };
    let mut real = BTreeSet::new();
    for folder in folders {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml"))
            .expect("the manifest is readable");
        let manifest: toml::Table = manifest.parse().expect("the manifest is TOML");
        let dependencies = manifest["dependencies"].as_table().expect("every crate has dependencies");
        for package in dependencies.keys().filter(|name| name.starts_with("headgate-")) {
            real.insert((folder.to_owned(), folder_of(package)));
        }
    }
    assert_eq!(drawn, real, "left: ARCHITECTURE.md, right: the manifests");
}
