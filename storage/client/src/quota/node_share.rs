//! What is left for each cluster when a node is asked for more than it can do: in proportion to what each is entitled to.

/// A cluster at a node: what it may have, and what it wants, a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Its quota.
    pub entitled: f64,
    /// What it used and what waits.
    pub wanted: f64,
}

/// The part of its quota that every cluster may use of this node, so that all together use `capacity`: whoever wants less than
/// that gets all it wants, and what it leaves goes to the others (max-min fairness, weighted by quota). `None` when there is
/// enough for all.
pub fn fair_part(capacity: f64, claims: &mut [Claim]) -> Option<f64> {
    if claims.iter().map(|claim| claim.wanted).sum::<f64>() <= capacity {
        return None;
    }
    let part = |claim: &Claim| claim.wanted / claim.entitled;
    claims.sort_unstable_by(|left, right| part(left).total_cmp(&part(right)));
    let mut left = capacity;
    let mut entitled: f64 = claims.iter().map(|claim| claim.entitled).sum();
    for claim in claims.iter() {
        if part(claim) * entitled > left {
            break;
        }
        left -= claim.wanted;
        entitled -= claim.entitled;
    }
    Some(left / entitled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(capacity: f64, claims: &[(f64, f64)], expected: Option<f64>) {
        let mut claims: Vec<Claim> =
            claims.iter().map(|(entitled, wanted)| Claim { entitled: *entitled, wanted: *wanted }).collect();
        let part = fair_part(capacity, &mut claims);
        assert_eq!(part, expected);
        if let Some(part) = part {
            let used: f64 = claims.iter().map(|claim| claim.wanted.min(part * claim.entitled)).sum();
            assert!((used - capacity).abs() < 1e-6, "all of the node is used: {used}");
        }
    }

    #[test]
    fn with_enough_for_all_nobody_is_limited() {
        check(10.0, &[(5.0, 5.0), (100.0, 5.0)], None);
    }

    #[test]
    fn everybody_gets_the_same_part_of_its_quota() {
        check(30.0, &[(10.0, 50.0), (20.0, 50.0)], Some(1.0));
        check(15.0, &[(10.0, 50.0), (20.0, 50.0)], Some(0.5));
    }

    #[test]
    fn what_a_modest_cluster_leaves_goes_to_the_others() {
        check(30.0, &[(10.0, 2.0), (10.0, 50.0), (10.0, 50.0)], Some(1.4));
    }
}
