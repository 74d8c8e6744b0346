#!/usr/bin/env python3
"""A fleet whose object store is away: nodes fail and come back, slots move, and nobody needs it until it is there again.

The store stands still while each storage node in turn is killed and started anew, and all slots are moved to the next one. It is
away until chunks have been closed as often as in an hour of a fleet with ordinary settings. Before, every partition has records in flush objects and in manifests, so that whoever opens a
slot needs what the store holds: it must have a copy. Nothing acknowledged may be lost. How long each step stalled the
acknowledgements is told, not judged.
"""

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet_calm import Calm  # noqa: E402
from fleet_roles import Client, Gaps, owned, verify  # noqa: E402
from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.fleet import SLOTS, Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402
from moves import flushed_bytes  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
TOPIC = "fleet"
PRODUCERS = 4
PARTITIONS = 64
RATE = 1_000
LOAD_SECONDS_MAX = 600
PATIENCE_SECONDS = 60
RESUMED_BATCHES = 50
# Seconds between flushes and manifests, so that whoever opens a slot needs what the store holds.
STORAGE = {"chunk_bytes": 4 * 2**20, "chunk_age_ms": 3000, "manifest_flushes_max": 4}
LEAD_SECONDS = 20
# An hour of chunks that are closed after 120 s, the default: 30 times.
AWAY_SECONDS = 30 * STORAGE["chunk_age_ms"] / 1000


def play(fault):
    toolchains = Toolchains(ROOT, fault.work / "install")
    tools = etcd_binary(toolchains), python_with_moto(toolchains)
    plan = Plan(fault.work / "fleet", fault.arguments.headgate, *tools, storage=STORAGE)
    fleet = plan.up(fault.say)
    journal = fault.work / "journal"
    try:
        told = under_load(fault, plan, fleet, journal)
        verified = verify(fault, fleet, journal)
    finally:
        killed = fleet.down()
    require(not killed, f"these did not end in their time: {killed}")
    return f"{verified['coverage']['acknowledged']} acknowledged records, stalls in s: {told}"


def under_load(fault, plan, fleet, journal):
    calm, (store,) = Calm(fleet), fleet.of_role("s3")
    config = str(fleet.directory / "headgate.toml")
    words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS, "--producers", PRODUCERS, "--rate", RATE]
    words += ["--seconds", LOAD_SECONDS_MAX, "--journal", journal]
    load = loadtest.Load(fault.arguments.loadtest, Client(fleet), fault.work, "produce", words, iam=True)
    gaps, told = Gaps(journal), []

    def stalled_by(name, act, seconds):
        act()
        stall = gaps.during(seconds)
        loadtest.wait_for_acknowledgements(journal, RESUMED_BATCHES, load, PATIENCE_SECONDS)
        told.append(f"{name} {max(stall, gaps.during(1)):.1f}")
        fault.say(f"the store is away: {told[-1]} s")

    def placed(node):
        plan.operate("slot", "place", f"0-{SLOTS - 1}", "--node", node, "--config", config)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while owned(plan, config).get(node, 0) < SLOTS:
            require(time.monotonic() < deadline, f"not all slots came to node {node}: {owned(plan, config)}")
            time.sleep(0.2)

    def restarted(victim):
        calm.forget(victim.name)
        fleet.start(victim)
        require(calm.wait(calm.has_three_copies, PATIENCE_SECONDS), f"no three copies: {calm.copies}")

    try:
        loadtest.wait_for_acknowledgements(journal, RESUMED_BATCHES, load, PATIENCE_SECONDS)
        require(calm.wait(calm.is_at_rest, PATIENCE_SECONDS), f"no rest: {calm.copies}")
        time.sleep(LEAD_SECONDS)
        before = flushed_bytes(fleet)
        require(before > 0, "nothing was flushed, so nobody would need the store")
        store.signal(signal.SIGSTOP)
        began = time.monotonic()
        for node in ("1", "2", "3"):
            victim = fleet.process(f"storage-{node}")
            stalled_by(f"{victim.name} killed", lambda victim=victim: victim.signal(signal.SIGKILL), 5)
            stalled_by(f"{victim.name} started", lambda victim=victim: restarted(victim), 1)
            to = str(int(node) % 3 + 1)
            stalled_by(f"all slots moved to storage-{to}", lambda to=to: placed(to), 1)
        time.sleep(max(0, AWAY_SECONDS - (time.monotonic() - began)))
        fault.say(f"the store was away for {time.monotonic() - began:.0f} s")
        store.signal(signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while flushed_bytes(fleet) <= before:
            require(time.monotonic() < deadline, "nothing was flushed after the store had come back")
            time.sleep(0.2)
        load.interrupt()
        result = load.finish(PATIENCE_SECONDS)
    finally:
        store.signal(signal.SIGCONT)
        load.end()
    require(not result["unsettled_records"] and not result["refused_records"], f"{result}")
    return ", ".join(told)


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("store-away", play))
