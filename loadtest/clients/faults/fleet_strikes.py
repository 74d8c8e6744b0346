"""The faults that strike a fleet: what each does to its victim, and how it is healed."""

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass

from harness import netns
from harness.threads import StoppedThread

FROZEN_SECONDS = 10
CUT_SECONDS = 10
DEAD_SECONDS = (1.5, 6)
ETCD_AWAY_SECONDS = 60
# Of a short run, the store may be away for this part.
ETCD_AWAY_SHARE = 1 / 8
DIRECTIONS = ("both ways", "to it", "from it")


@dataclass
class Strike:
    """One fault, ready to be done. `seconds` is how long it lasts before it is healed."""

    fault: str
    victim: str
    seconds: float
    do: Callable[[], None]
    heal: Callable[[], None]
    loses_disk: bool = False


class Strikes:
    """Draws faults: every kind once before any comes a second time, each time with other victims."""

    def __init__(self, fleet, choose, seconds_in_all):
        self.fleet, self.choose = fleet, choose
        self.etcd_away_seconds = min(ETCD_AWAY_SECONDS, seconds_in_all * ETCD_AWAY_SHARE)
        self.kinds = [self.kill_storage, self.kill_gateway, self.kill_metering, self.kill_etcd]
        self.kinds += [self.freeze_storage, self.freeze_gateway, self.freeze_other, self.hang_disk, self.lose_disk, self.etcd_away]
        self.left_out = []
        if fleet.facts["netns"]:
            self.kinds += [self.cut_from_nodes, self.cut_from_etcd, self.cut_from_s3]
        else:
            self.left_out = ["partition from the other nodes", "partition from etcd", "partition from S3"]

    def __iter__(self):
        while True:
            # A round begins with what matters most, so that a short run meets it.
            kinds = self.kinds[1:]
            self.choose.shuffle(kinds)
            for kind in [self.kinds[0], *kinds]:
                yield kind()

    def one_of(self, *roles):
        return self.choose.choice([process for role in roles for process in self.fleet.of_role(role)])

    # Processes that end.

    def kill(self, victim, seconds=None):
        seconds = self.choose.uniform(*DEAD_SECONDS) if seconds is None else seconds
        return Strike("kill -9", victim.name, seconds, self.killed(victim), lambda: self.fleet.start(victim))

    def killed(self, victim):
        def do():
            victim.signal(signal.SIGKILL)
            victim.wait(FROZEN_SECONDS)

        return do

    def kill_storage(self):
        return self.kill(self.one_of("storage"))

    def kill_gateway(self):
        return self.kill(self.one_of("gateway"))

    def kill_metering(self):
        return self.kill(self.one_of("metering"))

    def kill_etcd(self):
        return self.kill(self.one_of("etcd"))

    def etcd_away(self):
        strike = self.kill(self.one_of("etcd"), self.etcd_away_seconds)
        strike.fault = f"away {self.etcd_away_seconds:.0f} s"
        return strike

    def lose_disk(self):
        strike = self.kill(self.one_of("storage"))
        kill, victim = strike.do, self.fleet.process(strike.victim)

        def do():
            kill()
            shutil.rmtree(victim.data_dir)

        strike.fault, strike.do, strike.loses_disk = "kill -9, disk lost", do, True
        return strike

    # Processes that stand still.

    def freeze(self, victim):
        return Strike(
            f"SIGSTOP {FROZEN_SECONDS} s", victim.name, FROZEN_SECONDS,
            lambda: victim.signal(signal.SIGSTOP), lambda: victim.signal(signal.SIGCONT),
        )  # fmt: skip

    def freeze_storage(self):
        return self.freeze(self.one_of("storage"))

    def freeze_gateway(self):
        return self.freeze(self.one_of("gateway"))

    def freeze_other(self):
        return self.freeze(self.one_of("etcd", "metering"))

    def hang_disk(self):
        victim, hung = self.one_of("storage"), []

        def do():
            hung.append(StoppedThread(victim.pid, "sequencer"))
            hung[0].stop()

        return Strike(f"disk hangs {FROZEN_SECONDS} s", victim.name, FROZEN_SECONDS, do, lambda: hung.pop().go_on())

    # Links that are cut.

    def cut(self, victim, others, what):
        direction = self.choose.choice(DIRECTIONS)
        # What comes from an address is dropped in the namespace of whoever would take it.
        ends = [(victim, other) for other in others if direction != "from it"]
        ends += [(other, victim) for other in others if direction != "to it"]

        def each(change):
            for taker, source in ends:
                change(taker.netns, source.address)

        return Strike(
            f"cut from {what}, {direction}", victim.name, CUT_SECONDS,
            lambda: each(netns.cut), lambda: each(netns.mend),
        )  # fmt: skip

    def cut_from_nodes(self):
        victim = self.one_of("storage")
        return self.cut(victim, [other for other in self.fleet.of_role("storage") if other is not victim], "nodes")

    def cut_from_etcd(self):
        return self.cut(self.one_of("storage", "gateway"), self.fleet.of_role("etcd"), "etcd")

    def cut_from_s3(self):
        return self.cut(self.one_of("storage"), self.fleet.of_role("s3"), "S3")
