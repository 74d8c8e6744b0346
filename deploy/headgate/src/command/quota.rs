//! `headgate quota list|set|explain`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::api_client::{ApiClient, percent_encode};
use crate::cli::{QuotaCluster, QuotaCommand};

/// What puts a quota back to its default.
const DEFAULT: &str = "default";

/// Runs the command.
pub(crate) async fn run(command: QuotaCommand) -> Result<()> {
    match command {
        QuotaCommand::List { cluster } => print!("{}", table(&call(&cluster, Method::GET, "", None).await?)),
        QuotaCommand::Set { cluster, quotas } => {
            let body = json!({ "quotas": parse(&quotas)? });
            let set = call(&cluster, Method::POST, "", Some(&body)).await;
            print!("{}", table(&set.context("no quota was set")?));
        }
        QuotaCommand::Explain { cluster, json } => {
            let explanation = call(&cluster, Method::GET, "/explanation", None).await?;
            if json {
                println!("{explanation:#}");
            } else {
                print!("{}", explained(&explanation));
            }
        }
    }
    Ok(())
}

async fn call(cluster: &QuotaCluster, method: Method, what: &str, body: Option<&Value>) -> Result<Value> {
    let client = ApiClient::from_environment(&cluster.api.url)?;
    let account = cluster.account.as_ref().map(|account| format!("?account={}", percent_encode(account)));
    let name = percent_encode(&cluster.cluster);
    let path = format!("/headgate/v1/clusters/{name}/quotas{what}{}", account.unwrap_or_default());
    client.json("headgate", method, &path, body).await?.json()
}

/// `KEY=VALUE` pairs; the value is a number, with `K`, `M` or `G` for powers of 1024 behind it, or `default`.
fn parse(quotas: &[String]) -> Result<BTreeMap<String, Option<u64>>> {
    let mut parsed = BTreeMap::new();
    for quota in quotas {
        let (key, value) = quota.split_once('=').with_context(|| format!("{quota} is not KEY=VALUE"))?;
        let value = if value == DEFAULT { None } else { Some(number(value).with_context(|| quota.clone())?) };
        if parsed.insert(key.to_owned(), value).is_some() {
            bail!("{key} is given twice");
        }
    }
    Ok(parsed)
}

fn number(text: &str) -> Result<u64> {
    let (digits, power) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().with_context(|| format!("{text} is not a number"))?;
    number.checked_mul(1 << power).with_context(|| format!("{text} is too large"))
}

/// One line a quota; those that were set are marked.
fn table(answer: &Value) -> String {
    let mut text = format!("{:<32} {:>14} {:>14}\n", "QUOTA", "VALUE", "DEFAULT");
    for quota in answer["quotas"].as_array().into_iter().flatten() {
        let shown = |field: &str| quota[field].as_u64().map(|number| number.to_string()).unwrap_or_default();
        let set = if quota["isSet"] == true { "*" } else { "" };
        let name = format!("{}{set}", quota["name"].as_str().unwrap_or_default());
        let what = quota["what"].as_str().unwrap_or_default();
        let _ = writeln!(text, "{name:<32} {:>14} {:>14}  {what}", shown("value"), shown("defaultValue"));
    }
    text
}

fn explained(answer: &Value) -> String {
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut text = String::new();
    let Some(flows) = answer["flows"].as_array() else {
        return "no client of this cluster is connected to this gateway: nobody is slowed down\n".to_owned();
    };
    let _ = writeln!(
        text,
        "{:<28} {:>12} {:>12} {:>12} {:>9}  WHAT WOULD LIFT IT",
        "QUOTA", "LIMIT/S", "USED/S", "SHARE/S", "HELD MS"
    );
    for flow in flows {
        let _ = writeln!(
            text,
            "{:<28} {:>12} {:>12} {:>12} {:>9}  {}",
            flow["quota"].as_str().unwrap_or_default(),
            number(&flow["limit"]),
            number(&flow["used"]),
            number(&flow["share"]),
            number(&flow["throttleMs"]),
            flow["advice"].as_str().unwrap_or_default(),
        );
    }
    let _ = writeln!(
        text,
        "connections {}, partitions {} of {}, compacted partitions {} of {}, gateways {}",
        number(&answer["connections"]),
        number(&answer["partitions"]["used"]),
        number(&answer["partitions"]["limit"]),
        number(&answer["compactedPartitions"]["used"]),
        number(&answer["compactedPartitions"]["limit"]),
        number(&answer["gateways"]),
    );
    for one in answer["throttled"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "{} was told to hold back {} times, {} ms in all, last {} ms ago by {}",
            one["principal"].as_str().unwrap_or_default(),
            number(&one["throttles"]),
            number(&one["throttledMs"]),
            number(&one["agoMs"]),
            one["limit"].as_str().unwrap_or_default(),
        );
    }
    for one in answer["refused"].as_array().into_iter().flatten() {
        let quota = one["quota"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{quota} refused {}, last {} ms ago",
            number(&one["refused"]),
            number(&one["agoMs"])
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_with_powers_of_1024_or_the_default() {
        let quotas =
            ["bytes_in_per_second=2M", "groups_max=default", "requests_per_second=7"].map(str::to_owned);
        let expected = [
            ("bytes_in_per_second".to_owned(), Some(2 << 20)),
            ("groups_max".to_owned(), None),
            ("requests_per_second".to_owned(), Some(7)),
        ];
        assert_eq!(parse(&quotas).expect("three pairs"), BTreeMap::from(expected));
        for wrong in ["x", "a=1,5", "a=1T", "a=", "a=-1", "a=99999999999G"] {
            assert!(parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(parse(&["a=1".to_owned(), "a=2".to_owned()]).is_err());
    }

    #[test]
    fn a_quota_that_was_set_is_marked_in_the_list() {
        let quota =
            json!({"name": "groups_max", "value": 3, "defaultValue": 500, "isSet": true, "what": "groups"});
        let text = table(&json!({ "quotas": [quota] }));
        let line = text.lines().nth(1).expect("a line a quota");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["groups_max*", "3", "500", "groups"]);
    }

    #[test]
    fn an_explanation_says_limit_use_share_time_and_remedy_and_who_was_held() {
        let flow = json!({"quota": "bytes_in_per_second", "limit": 100, "used": 99, "share": 50, "throttleMs": 7, "advice": "wait"});
        let held = json!({"principal": "arn:x", "limit": "bytes_in_per_second", "throttles": 2, "throttledMs": 9, "agoMs": 1});
        let text = explained(&json!({"flows": [flow], "throttled": [held], "connections": 4}));
        let line: Vec<_> = text.lines().nth(1).expect("a line a flow").split_whitespace().collect();
        assert_eq!(line, ["bytes_in_per_second", "100", "99", "50", "7", "wait"]);
        assert!(text.contains(
            "arn:x was told to hold back 2 times, 9 ms in all, last 1 ms ago by bytes_in_per_second"
        ));
        assert!(explained(&json!({})).starts_with("no client of this cluster"));
    }
}
