//! From a row to the principals it is tried with.

use headgate_iam::{KafkaAction, ResourceType};
use headgate_metadata::record::ClusterRecord;

use super::row::{Asked, Need, On, Rights, Row, Scope, is_of_things};
use crate::support::harness::REGION;

/// A principal, by its rights.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) rights: Rights,
}

/// The principals that a row is tried with at every version: with exactly what is needed, with each of it missing, granted
/// on something else, or denied.
pub(crate) fn at_every_version(row: &Row) -> Vec<Case> {
    let mut cases = vec![Case { name: "nothing".into(), rights: Rights::default() }];
    for chosen in 0..alternatives(row.needs) {
        let exact = exactly(row.needs, chosen);
        let with = |at: usize, replaced: Option<Scope>| {
            let mut allowed = exact.clone();
            match replaced {
                Some(scope) => allowed[at].1 = scope,
                None => drop(allowed.remove(at)),
            }
            Rights { allowed, denied: Vec::new() }
        };
        let rights = Rights { allowed: exact.clone(), denied: Vec::new() };
        cases.push(Case { name: format!("exactly {}", listed(&exact)), rights });
        for (at, (action, _)) in exact.iter().enumerate() {
            let mut case = |what: &str, rights| {
                let name = format!("{what} {action}, else exactly {}", listed(&exact));
                cases.push(Case { name, rights });
            };
            case("without", with(at, None));
            case("of another cluster", with(at, Some(Scope::Elsewhere)));
            if is_of_things(*action) {
                case("on the first alone", with(at, Some(Scope::First)));
                case("on the second alone", with(at, Some(Scope::Second)));
            }
        }
    }
    for need in row.needs {
        let denied: Vec<KafkaAction> = need.any_of.iter().map(|(action, _)| *action).collect();
        let name = format!("everything, but denied {denied:?}");
        cases.push(Case { name, rights: Rights { allowed: all_but(None), denied } });
    }
    cases
}

/// Those it is tried with once: everything but one action, for every action there is.
pub(crate) fn at_one_version() -> Vec<Case> {
    let mut cases = vec![
        Case { name: "everything".into(), rights: Rights { allowed: all_but(None), denied: Vec::new() } },
        Case {
            name: "Connect alone".into(),
            rights: Rights { allowed: vec![(KafkaAction::Connect, Scope::Everything)], denied: Vec::new() },
        },
    ];
    for action in KafkaAction::ALL {
        let rights = Rights { allowed: all_but(Some(action)), denied: Vec::new() };
        cases.push(Case { name: format!("everything without {action}"), rights });
    }
    cases
}

fn all_but(missing: Option<KafkaAction>) -> Vec<(KafkaAction, Scope)> {
    let others = KafkaAction::ALL.into_iter().filter(|action| Some(*action) != missing);
    others.map(|action| (action, Scope::Everything)).collect()
}

/// In how many ways all needs can be met with nothing to spare.
fn alternatives(needs: &[Need]) -> usize {
    needs.iter().map(|need| need.any_of.len()).max().unwrap_or(1)
}

fn exactly(needs: &[Need], chosen: usize) -> Vec<(KafkaAction, Scope)> {
    let of_need = |need: &Need| {
        let (action, _): (KafkaAction, On) = need.any_of[chosen.min(need.any_of.len() - 1)];
        (action, Scope::Everything)
    };
    needs.iter().map(of_need).collect()
}

fn listed(allowed: &[(KafkaAction, Scope)]) -> String {
    let names: Vec<String> = allowed.iter().map(|(action, _)| format!("{action:?}")).collect();
    names.join("+")
}

impl Rights {
    /// The policy that gives these rights on things of these names; `None` where there are none.
    pub(crate) fn policy(&self, own: &ClusterRecord, other: &ClusterRecord, asked: &Asked) -> Option<String> {
        let statement = |effect: &str, action: KafkaAction, scope: Scope| {
            let kind = action.resource_type().as_str();
            let cluster = if scope == Scope::Elsewhere { other } else { own };
            let named = action.resource_type() != ResourceType::Cluster;
            let resource = cluster.arn_of(REGION, kind, named.then(|| name_of(scope, asked)));
            format!(r#"{{"Effect":"{effect}","Action":"{action}","Resource":"{resource}"}}"#)
        };
        let allowed = self.allowed.iter().map(|(action, scope)| statement("Allow", *action, *scope));
        let denied = self.denied.iter().map(|action| statement("Deny", *action, Scope::Everything));
        let statements: Vec<String> = allowed.chain(denied).collect();
        let document = || format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
        (!statements.is_empty()).then(document)
    }
}

fn name_of(scope: Scope, asked: &Asked) -> &str {
    match scope {
        Scope::Everything | Scope::Elsewhere => "*",
        Scope::First => &asked.names[0],
        Scope::Second => &asked.names[1],
    }
}
