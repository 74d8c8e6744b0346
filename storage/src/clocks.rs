//! How the wall clocks of peers stand to this node's own (`storage/PROTOCOL.md` §13). A node that is off takes no slots: hours,
//! retention and transaction time-outs would follow its clock.
//!
//! Every mirror tells its clock when it is asked whether it still follows. The median is taken over the mirrors and this node:
//! with two mirrors one clock of three that is wrong is found out, and only by its own node; with one nobody can tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headgate_metadata::id::{NodeId, TimestampMs};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::SharedClock;

/// How far off the median a clock may be.
const OFF_MS_MAX: u64 = 500;
/// An answer that took longer says too little: it is off by half of that at most.
const WAY_MAX: Duration = Duration::from_millis(100);
/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Clocks {
    clock: SharedClock,
    peers: Mutex<BTreeMap<NodeId, Heard>>,
    off: watch::Sender<bool>,
}

#[derive(Debug)]
struct Heard {
    ahead_ms: i64,
    at: Duration,
}

impl Clocks {
    /// Nothing is known of others yet.
    pub fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { clock, peers: Mutex::default(), off: watch::Sender::new(false) })
    }

    /// Whether the own clock is off.
    pub fn is_off(&self) -> bool {
        *self.off.borrow()
    }

    /// The same, and when it changes.
    pub fn off(&self) -> watch::Receiver<bool> {
        self.off.subscribe()
    }

    /// A peer that was asked `way` ago has answered just now; its clock stood at `wall`.
    pub(crate) fn answered(&self, peer: NodeId, way: Duration, wall: TimestampMs) {
        if way > WAY_MAX {
            return;
        }
        let now = self.clock.monotonic();
        let own = self.clock.wall().get() as i64 - way.as_millis() as i64 / 2;
        // A peer may say anything.
        let ahead_ms = (wall.get() as i64).saturating_sub(own);
        let median = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            peers.insert(peer, Heard { ahead_ms, at: now });
            peers.retain(|_, heard| now.saturating_sub(heard.at) < FRESH);
            median(peers.values().map(|heard| heard.ahead_ms))
        };
        let is_off = median.unsigned_abs() > OFF_MS_MAX;
        if self.off.send_if_modified(|off| std::mem::replace(off, is_off) != is_off) {
            if is_off {
                warn!(
                    peers_ahead_ms = median,
                    "the clock of this node is off those of its peers: it takes no slots"
                );
            } else {
                info!("the clock of this node is right again");
            }
        }
    }
}

/// The median of these and of zero, which is how far the own clock is ahead of itself; of two in the middle that nearer zero.
fn median(peers: impl Iterator<Item = i64>) -> i64 {
    let mut all: Vec<i64> = peers.chain([0]).collect();
    all.sort_unstable();
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    if low.unsigned_abs() <= high.unsigned_abs() { low } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const START: u64 = 1_000_000;

    fn heard(ahead: &[i64]) -> (Arc<Clocks>, Arc<ManualClock>) {
        let clock = ManualClock::at(TimestampMs::new(START));
        let clocks = Clocks::new(clock.clone());
        for (node, ahead) in (1..).zip(ahead) {
            say(&clocks, node, Duration::ZERO, *ahead);
        }
        (clocks, clock)
    }

    fn say(clocks: &Clocks, node: u32, way: Duration, ahead: i64) {
        let wall = TimestampMs::new((clocks.clock.wall().get() as i64 + ahead) as u64);
        clocks.answered(NodeId::new(node), way, wall);
    }

    #[test]
    fn section_13_a_clock_off_the_median_of_its_peers_is_found_out_by_its_own_node() {
        for (ahead, is_off) in [
            (&[][..], false),
            (&[5_000], false),
            (&[5_000, 5_100], true),
            (&[-600, -600], true),
            (&[-500, 500], false),
            (&[0, 5_000], false),
            (&[0, 5_000, 5_000], false),
            (&[10, 5_000, 5_000, 5_000], true),
        ] {
            assert_eq!(heard(ahead).0.is_off(), is_off, "{ahead:?}");
        }
    }

    #[test]
    fn what_no_clock_says_is_taken_for_a_wrong_clock() {
        for wall in [0, i64::MAX as u64, 1 << 63, u64::MAX] {
            let (clocks, _) = heard(&[0]);
            clocks.answered(NodeId::new(2), Duration::ZERO, TimestampMs::new(wall));
            assert!(!clocks.is_off(), "{wall}: one of two");
            clocks.answered(NodeId::new(1), Duration::ZERO, TimestampMs::new(wall));
            assert!(clocks.is_off(), "{wall}: both");
        }
    }

    #[test]
    fn section_13_a_clock_that_is_set_right_is_right() {
        let (clocks, clock) = heard(&[2_000, 2_000]);
        assert!(clocks.is_off());
        clock.step_wall(TimestampMs::new(START + 2_000));
        for node in [1, 2] {
            say(&clocks, node, Duration::ZERO, 0);
        }
        assert!(!clocks.is_off());
    }

    #[test]
    fn an_answer_that_took_long_or_is_old_does_not_count() {
        let (clocks, clock) = heard(&[2_000]);
        say(&clocks, 2, Duration::from_millis(200), 2_000);
        assert!(!clocks.is_off(), "it took long");
        clock.advance(FRESH);
        say(&clocks, 2, Duration::ZERO, 2_000);
        assert!(!clocks.is_off(), "the other one is too old");
        say(&clocks, 1, Duration::from_millis(100), 2_050);
        assert!(clocks.is_off());
    }
}
