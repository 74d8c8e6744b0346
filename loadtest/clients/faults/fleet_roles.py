#!/usr/bin/env python3
"""A fleet of real processes under load while its processes are killed, frozen, drained and restarted one after another, a
disk hangs, and a clock is wrong.

Producers are idempotent and retry. Nothing acknowledged may be lost, doubled or moved; traffic goes on after every fault and
while etcd is away; the bill is to the byte; and `down` ends exactly what `up` started. How long each fault stalled the
acknowledgements is told, not judged.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet_calm import Calm  # noqa: E402
from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.fleet import Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.processes import without_aws  # noqa: E402
from harness.threads import StoppedThread  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
TOPIC = "fleet"
APPENDED = "headgate_storage_appended_records_total"
PRODUCERS = 4
PARTITIONS = 16
RATE = 1_000
LOAD_SECONDS_MAX = 600
RESUME_SECONDS = 60
# Enough that acknowledgements have surely resumed.
RESUMED_BATCHES = 50
FROZEN_SECONDS = 10
# What a mirror says that takes the slots from an owner whose disk hangs, and how long it hangs.
RELIEVED = "it is relieved"
HUNG_SECONDS = 10
# What a mirror says that takes an owner for lost. One that stood still itself must not.
TAKEN_FOR_LOST = "owner lost, sealing its WAL"
LOOK_SECONDS = 2
# What a node says that finds its clock wrong, how wrong it is, and for how long: slots go home after ten seconds.
OFF = "is off those of its peers"
OFF_BY = "+5s"
OFF_SECONDS = 15
ETCD_AWAY_SECONDS = 8


class Gaps:
    """Watches the journal: the longest time in which nothing was acknowledged."""

    def __init__(self, journal):
        self.journal = journal

    def during(self, seconds):
        """The longest silence of the next seconds, which may have begun before their end."""
        over = time.monotonic() + seconds
        return self.until(lambda: time.monotonic() >= over)

    @contextmanager
    def watched(self):
        """The longest silence while the block runs, as `seconds` of what it gives."""
        done, seen = threading.Event(), SimpleNamespace(seconds=0.0)

        def watch():
            seen.seconds = self.until(done.is_set)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield seen
        finally:
            done.set()
            watcher.join()

    def until(self, is_over):
        size, longest, last = self.size(), 0.0, time.monotonic()
        while not is_over():
            time.sleep(0.01)
            now, grown = time.monotonic(), self.size()
            if grown != size:
                longest, last, size = max(longest, now - last), now, grown
        return max(longest, time.monotonic() - last)

    def size(self):
        return self.journal.stat().st_size if self.journal.exists() else 0


def play(fault):
    toolchains = Toolchains(ROOT, fault.work / "install")
    plan = Plan(fault.work / "fleet", fault.arguments.headgate, etcd_binary(toolchains), python_with_moto(toolchains))
    fleet = plan.up(fault.say)
    journal = fault.work / "journal"
    try:
        report = under_load(fault, plan, fleet, journal)
        verified = verify(fault, fleet, journal)
        check_bill(fault, fleet, verified)
    finally:
        killed = fleet.down()
    require(not killed, f"these did not end in their time: {killed}")
    left = running_in(fleet.directory)
    require(not left, f"these still run after `down`: {left}")
    return f"{verified['coverage']['acknowledged']} acknowledged records, stalls in s: {report}"


def under_load(fault, plan, fleet, journal):
    words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS, "--producers", PRODUCERS, "--rate", RATE]
    words += ["--seconds", LOAD_SECONDS_MAX, "--journal", journal]
    load = loadtest.Load(fault.arguments.loadtest, Client(fleet), fault.work, "produce", words, iam=True)
    gaps, report = Gaps(journal), []
    try:
        loadtest.wait_for_acknowledgements(journal, RESUMED_BATCHES, load, RESUME_SECONDS)
        for name, seconds, break_it, mend_it in faults(plan, fleet):
            break_it()
            stall = gaps.during(seconds)
            mend_it()
            loadtest.wait_for_acknowledgements(journal, RESUMED_BATCHES, load, RESUME_SECONDS)
            stall = max(stall, gaps.during(2))
            report.append(f"{name} {stall:.1f}")
            fault.say(f"{name}: acknowledgements stalled {stall:.2f} s")
        load.interrupt()
        result = load.finish(RESUME_SECONDS)
    finally:
        load.end()
    require(not result["unsettled_records"] and not result["refused_records"], f"{result}")
    return ", ".join(report)


def faults(plan, fleet):
    """Name, how long it lasts, how it is done, how it is undone."""

    def signalled(name, number):
        process = fleet.process(name)
        return lambda: process.signal(number)

    def started(name):
        return lambda: fleet.start(fleet.process(name))

    def stopped(name):
        process = fleet.process(name)
        return lambda: require(process.stop(RESUME_SECONDS), f"{name} did not end on SIGTERM")

    def drained(name):
        process = fleet.process(name)
        flags = process.command[2:]
        return lambda: plan.operate("storage", "--drain", *flags)

    calm, hung = Calm(fleet), []

    def disk_hangs():
        require(calm.wait(calm.is_at_rest, RESUME_SECONDS), f"no rest: {calm.copies}")
        hung.append(StoppedThread(busiest(fleet).pid, "sequencer"))
        hung[0].stop()

    def went_on(name):
        process = fleet.process(name)

        def act():
            process.signal(signal.SIGCONT)
            time.sleep(LOOK_SECONDS)
            require(not says(process, TAKEN_FOR_LOST), f"{name} sealed the WAL of a node that was well all the time")

        return act

    def disk_works():
        hung.pop().go_on()
        require(any(says(node, RELIEVED) for node in fleet.of_role("storage")), "nobody relieved the node whose disk hung")

    def says(process, text):
        return text in Path(process.log).read_text(errors="replace")

    def started_anew(name, more_environment):
        process = fleet.process(name)
        environment = process.environment

        def act():
            stopped(name)()
            process.environment = environment | more_environment
            fleet.start(process)

        return act

    def clock_is_right(name):
        process, config = fleet.process(name), str(fleet.directory / "headgate.toml")
        right = started_anew(name, {})

        def act():
            require(says(process, OFF), f"{name} has not noticed that its clock is wrong")
            slots = owned(plan, config)
            require(slots.get(process.id, 0) == 0, f"{name} has slots although its clock is wrong: {slots}")
            right()
            deadline = time.monotonic() + RESUME_SECONDS
            while owned(plan, config).get(process.id, 0) == 0:
                require(time.monotonic() < deadline, f"{name} gets no slots although its clock is right again")
                time.sleep(0.5)

        return act

    kill, stop = signal.SIGKILL, signal.SIGSTOP
    return [
        ("kill storage-2", 5, signalled("storage-2", kill), started("storage-2")),
        ("kill gateway-2", 5, signalled("gateway-2", kill), started("gateway-2")),
        ("freeze storage-3", FROZEN_SECONDS, signalled("storage-3", stop), went_on("storage-3")),
        ("hang the busiest disk", HUNG_SECONDS, disk_hangs, disk_works),
        ("drain storage-1", 3, drained("storage-1"), started("storage-1")),
        ("kill etcd-1", ETCD_AWAY_SECONDS, signalled("etcd-1", kill), started("etcd-1")),
        ("stop gateway-1", 3, stopped("gateway-1"), started("gateway-1")),
        ("stop storage-2", 3, stopped("storage-2"), started("storage-2")),
        ("wrong clock of storage-3", OFF_SECONDS, started_anew("storage-3", shifted_clock(OFF_BY)), clock_is_right("storage-3")),
        ("kill metering-1", 1, signalled("metering-1", kill), started("metering-1")),
    ]


def running_in(directory):
    """The command lines of all processes that name a file of this directory, whoever started them."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # It has ended meanwhile.
        if f"{directory}/" in line:
            lines.append(f"{process.name} {line}")
    return lines


def shifted_clock(by):
    """The environment in which a program sees another wall clock. Not the `faketime` command itself: that stays beside what it starts."""
    told = subprocess.run(["faketime", "--exclude-monotonic", "-f", by, "env"], capture_output=True, text=True, check=True)
    variables = dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)
    return {name: variables[name] for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")}


class Client:
    """What the load generator needs of a server."""

    def __init__(self, fleet):
        self.dev_json = fleet.directory / "fleet.json"


def busiest(fleet):
    """The storage node that appends most: one without work would not be missed."""
    nodes = fleet.of_role("storage")
    before = [counted(node, APPENDED) for node in nodes]
    time.sleep(LOOK_SECONDS)
    appended = [counted(node, APPENDED) - earlier for node, earlier in zip(nodes, before)]
    require(max(appended) > 0, "nobody appends anything")
    return nodes[appended.index(max(appended))]


def counted(process, metric):
    """What a process says of one of its counters, all labels together."""
    with urllib.request.urlopen(process.addresses["metrics"], timeout=RESUME_SECONDS) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(metric))


def owned(plan, config):
    """How many slots each node has."""
    lines = plan.operate("slot", "list", "--config", config).splitlines()[1:]
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def verify(fault, fleet, journal):
    words = ["verify", "--topic", TOPIC, "--journal", journal]
    verified = loadtest.run(
        fault.arguments.loadtest, Client(fleet), fault.work, "verify", words, LOAD_SECONDS_MAX, iam=True
    )
    require(verified["clean"], f"verify found {verified['findings']}")
    fault.say(f"verify: clean, {verified['bytes_in']} bytes in")
    return verified


def check_bill(fault, fleet, verified):
    """Through a gateway and the metering process, from the counters of all nodes."""
    facts = fleet.facts
    credentials = {
        "AWS_ACCESS_KEY_ID": facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": facts["secret_access_key"],
        "AWS_REGION": facts["region"],
    }
    command = [str(fault.arguments.headgate), "bill", "--cluster", facts["cluster_name"], "--by", "partition"]
    command += ["--format", "json", "--api", facts["api_url"]]
    environment = without_aws(os.environ) | credentials
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RESUME_SECONDS)
    require(done.returncode == 0, f"no bill: {done.stdout}{done.stderr}")
    items = json.loads(done.stdout)["items"]
    billed = {item["partition"]: item["bytes_in"] for item in items if item.get("topic") == TOPIC}
    stored = {partition["partition"]: partition["bytes_in"] for partition in verified["partitions"]}
    require(billed == stored, f"billed {billed}, stored {stored}")


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("fleet", play))
