#!/usr/bin/env python3
"""A fleet of real processes under load while faults strike it, drawn from a seed, one at a time.

kill -9 of each role, SIGSTOP, links cut (also one way), a storage node lost with its disk, etcd away. Each is healed, and the
fleet whole again, before the next. Nothing acknowledged may be lost, doubled or moved, and clients may feel latency but no
error; a table tells how long each fault kept a partition without an acknowledgement. With root and iproute2 each process has
a network namespace; elsewhere the cuts are left out.
"""

import math
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet_calm import Calm  # noqa: E402
from fleet_probe import Group, Probe  # noqa: E402
from fleet_strikes import Strikes  # noqa: E402
from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.fleet import FleetFailed, Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.netns import NoNamespaces  # noqa: E402
from harness.runner import drawn_rows  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
TOPICS = ("orders", "payments", "clicks")
PROBED = "probe"
PARTITIONS = 8
PRODUCERS = 2
RECORDS_PER_SECOND = 200
RECORD_BYTES = 512
# Longer than any fault with its recovery.
PATIENCE_SECONDS = 150
FIRST_BATCHES = 50
# Small chunks, so that faults meet flushes and manifests as well as appends.
STORAGE = {"chunk_bytes": 4 * 2**20, "chunk_age_ms": 3000, "manifest_flushes_max": 4}
# Below this nodes slow producers down, and below a fraction of it they refuse them.
DISK_FREE_SLOW_BYTES = 2**30
# Between two faults, once all is well.
PAUSE_SECONDS = (1, 3)


@dataclass
class Row:
    """What one kind of fault did to one victim, over all its strikes."""

    gaps: list = field(default_factory=list)
    strikes: int = 0
    errors: int = 0
    timeouts: int = 0
    whole_again: list = field(default_factory=list)


class Client:
    """What the load generator needs of a server."""

    def __init__(self, fleet):
        self.dev_json = fleet.directory / "fleet.json"


def play(fault):
    seed = fault.arguments.seed if fault.arguments.seed is not None else random.SystemRandom().getrandbits(32)
    fault.say(f"seed {seed}")
    # Whoever ends this program ends the fleet, whose processes are in sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    fleet = start(fault)
    try:
        rows, findings = under_load(fault, fleet, random.Random(seed))
    finally:
        killed = fleet.down()
    print(table(rows), flush=True)
    findings += [f"these did not end in their time: {', '.join(killed)}"] if killed else []
    for finding in findings:
        fault.say(f"FOUND {finding}")
    require(not findings, f"seed {seed}: {len(findings)} findings, the first: {findings and findings[0]}")
    return f"seed {seed}, {sum(row.strikes for row in rows.values())} faults, no acknowledged record lost, no error"


def start(fault):
    toolchains = Toolchains(ROOT, fault.work / "install")

    def plan(netns):
        folder = fault.work / ("fleet-netns" if netns else "fleet")
        tools = etcd_binary(toolchains), python_with_moto(toolchains)
        return Plan(folder, fault.arguments.headgate, *tools, netns=netns, storage=STORAGE | {"disk_free_slow_bytes": DISK_FREE_SLOW_BYTES})

    try:
        fleet = plan(netns=True).up(fault.say)
    except NoNamespaces as reason:
        fault.say(f"without network namespaces: {reason}")
        fleet = plan(netns=False).up(fault.say)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": fleet.facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": fleet.facts["secret_access_key"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return fleet


def under_load(fault, fleet, choose):
    """Strikes until the time is over, then checks every topic; the rows of the table, and what is wrong."""
    probe, group = Probe(fleet.facts, PROBED), Group(fleet.facts, PROBED)
    loads = {topic: produce(fault, fleet, topic) for topic in TOPICS}
    try:
        probe.start()
        group.start()
        for topic, load in loads.items():
            loadtest.wait_for_acknowledgements(journal(fault, topic), FIRST_BATCHES, load, PATIENCE_SECONDS)
        rows, findings = strike_all(fault, fleet, choose, probe, group)
        findings += settled(loads, probe)
    finally:
        for load in loads.values():
            load.end()
    findings += group.findings(probe.places, PATIENCE_SECONDS)
    for topic in TOPICS:
        findings += verify(fault, fleet, topic)
    for client in (probe, group):
        findings += [f"{count} times {text}" for text, count in client.errors.of_kind("error").items()]
        for text, count in client.errors.of_kind("timeout").items():
            fault.say(f"allowed: {count} times {text}")
    if group.deadlocked:
        fault.say(f"allowed: {group.deadlocked} members of the group, of which librdkafka's threads wait for each other")
    fault.say(f"the group was given {len(group.read)} records, {len(probe.places)} were acknowledged to the probe")
    return rows, findings


def produce(fault, fleet, topic):
    words = ["produce", "--topic", topic, "--partitions", PARTITIONS, "--producers", PRODUCERS, "--record-bytes", RECORD_BYTES]
    words += ["--rate", RECORDS_PER_SECOND, "--seconds", 60 * fault.arguments.minutes + 10 * PATIENCE_SECONDS]
    words += ["--timeout-seconds", PATIENCE_SECONDS, "--journal", journal(fault, topic)]
    return loadtest.Load(fault.arguments.loadtest, Client(fleet), fault.work, f"produce-{topic}", words, iam=True)


def journal(fault, topic):
    return fault.work / f"journal-{topic}"


def strike_all(fault, fleet, choose, probe, group):
    seconds = 60 * fault.arguments.minutes
    strikes = Strikes(fleet, choose, seconds)
    for name in strikes.left_out:
        fault.say(f"left out, no network namespaces: {name}")
    calm, rows = Calm(fleet), {}
    require(calm.wait(calm.is_at_rest, PATIENCE_SECONDS), f"no rest before the first fault: {calm.copies}")
    over = time.monotonic() + seconds
    for strike in strikes:
        row = rows.setdefault((strike.fault, strike.victim), Row())
        began = time.monotonic()
        try:
            problem = strike_once(fleet, calm, probe, strike, row)
        except FleetFailed as failed:
            problem = str(failed)
        time.sleep(choose.uniform(*PAUSE_SECONDS))
        ended = time.monotonic()
        judge(fault, strike, row, probe, group, (began, ended))
        if problem:
            return rows, [f"{strike.fault} of {strike.victim}: {problem}"]
        if ended > over:
            return rows, []


def strike_once(fleet, calm, probe, strike, row):
    """Does it, heals it, waits until the fleet is whole; returns what did not come back."""
    strike.do()
    time.sleep(strike.seconds)
    healed = time.monotonic()
    if not fleet.process(strike.victim).is_running():
        calm.forget(strike.victim)
    strike.heal()
    for process in fleet.processes:
        fleet.await_ready(process)
    if not calm.wait(calm.has_three_copies, PATIENCE_SECONDS):
        return f"no three copies within {PATIENCE_SECONDS} s: {calm.copies}"
    if strike.loses_disk:
        row.whole_again.append(time.monotonic() - healed)
    # The next victim shall own its share, as a node of a fleet at rest does.
    if not calm.wait(calm.is_at_rest, PATIENCE_SECONDS):
        return f"no rest within {PATIENCE_SECONDS} s: {calm.copies}"
    # What still stalls now belongs to this fault, not to the next; a slot that never opens is found here.
    answered = calm.wait(probe.is_answered, PATIENCE_SECONDS)
    return None if answered else f"partitions without an acknowledgement for {PATIENCE_SECONDS} s"


def judge(fault, strike, row, probe, group, window):
    gaps = probe.gaps(*window)
    row.gaps += gaps
    row.strikes += 1
    told = [text for client in (probe, group) for text in client.errors.between(*window, "error")]
    row.errors += len(told)
    row.timeouts += sum(len(client.errors.between(*window, "timeout")) for client in (probe, group))
    again = f", three copies {row.whole_again[-1]:.1f} s after its start" if strike.loses_disk and row.whole_again else ""
    by_partition = " ".join(f"{gap:.1f}" for gap in gaps)
    fault.say(f"{strike.fault} {strike.victim} for {strike.seconds:.1f} s: gaps {by_partition} s{again}")
    if (free := shutil.disk_usage(fault.work).free) < DISK_FREE_SLOW_BYTES:
        fault.say(f"  the disk has {free // 2**20} MiB left: nodes slow producers down, the gaps are not the fault's alone")
    for text in sorted(set(told)):
        fault.say(f"  error {text}")


def settled(loads, probe):
    """Ends the load in order; whoever was refused or left without an answer is a finding."""
    findings = []
    for topic, load in loads.items():
        load.interrupt()
        try:
            result = load.finish(PATIENCE_SECONDS)
        except loadtest.LoadFailed as failed:
            findings.append(f"{failed}")
            continue
        for name in ("unsettled_records", "refused_records"):
            if result[name]:
                findings.append(f"{topic}: {result[name]} {name}")
    left = probe.stop()
    return findings + ([f"{left} records of the probe were never settled"] if left else [])


def verify(fault, fleet, topic):
    words = ["verify", "--topic", topic, "--journal", journal(fault, topic)]
    try:
        verified = loadtest.run(fault.arguments.loadtest, Client(fleet), fault.work, f"verify-{topic}", words, PATIENCE_SECONDS, iam=True)
    except loadtest.LoadFailed as failed:
        return [f"{failed}"]
    fault.say(f"{topic}: {verified['coverage']['acknowledged']} acknowledged records, {'clean' if verified['clean'] else 'NOT CLEAN'}")
    return [] if verified["clean"] else [f"{topic}: {verified['findings']}"]


def percentile(values, share):
    """The smallest value that at least this share of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(rows):
    header = ("fault", "victim", "strikes", "gap p50", "p99", "max", "errors", "timeouts", "three copies again")
    lines = []
    for (name, victim), row in sorted(rows.items()):
        if row.gaps:
            gaps = [f"{value:.2f} s" for value in (percentile(row.gaps, 0.5), percentile(row.gaps, 0.99), max(row.gaps))]
            again = f"{max(row.whole_again):.1f} s" if row.whole_again else ""
            lines.append((name, victim, str(row.strikes), *gaps, str(row.errors), str(row.timeouts), again))
    return drawn_rows(header, lines, right=set(range(2, len(header))))


if __name__ == "__main__":
    fault = Fault(
        __doc__.splitlines()[0],
        seed={"type": int, "help": "of an earlier run: the same faults in the same order"},
        minutes={"type": float, "default": 30, "help": "how long faults strike"},
    )
    code = fault.main("fleet", play)
    sys.stdout.flush()
    # At once: a client that hangs would be waited for.
    os._exit(code)
