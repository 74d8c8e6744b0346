#!/usr/bin/env python3
"""etcd of a fleet is put back to an old copy of its data while everything runs: every storage node must stop and refuse to start.

`headgate metadata rebuild` then brings back what slots and WALs are, from the object store and the WALs of all nodes but one,
whose disk is lost on top. After that no acknowledged record may be lost, doubled or moved.
"""

import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet_calm import Calm  # noqa: E402
from fleet_roles import Client, verify  # noqa: E402
from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.fleet import FleetFailed, Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
TOPIC, PARTITIONS, PRODUCERS, RATE = "fleet", 16, 4, 1_000
PATIENCE_SECONDS = 60
# Flushes, manifests and moves that the copy of etcd does not know of.
MORE_SECONDS = 25


def play(fault):
    toolchains = Toolchains(ROOT, fault.work / "install")
    plan = Plan(fault.work / "fleet", fault.arguments.headgate, etcd_binary(toolchains), python_with_moto(toolchains))
    fleet = plan.up(fault.say)
    journal = fault.work / "journal"
    try:
        told = go_back(fault, plan, fleet, journal)
        verified = verify(fault, fleet, journal)
    finally:
        killed = fleet.down()
    require(not killed, f"these did not end in their time: {killed}")
    return f"{verified['coverage']['acknowledged']} acknowledged records; {told}"


def go_back(fault, plan, fleet, journal):
    (etcd,), nodes, calm = fleet.of_role("etcd"), fleet.of_role("storage"), Calm(fleet)
    data, copy = fleet.directory / "etcd", fault.work / "etcd-copy"
    require(calm.wait(calm.is_at_rest, PATIENCE_SECONDS), f"no rest: {calm.copies}")
    produced(fault, fleet, journal, "first", 5)
    require(etcd.stop(PATIENCE_SECONDS), "etcd did not end on SIGTERM")
    shutil.copytree(data, copy)
    fleet.start(etcd)
    produced(fault, fleet, journal, "second", 5)
    victim = fleet.process("storage-3")
    victim.signal(signal.SIGKILL)
    calm.forget(victim.name)
    produced(fault, fleet, journal, "third", MORE_SECONDS)
    fleet.start(victim)
    require(calm.wait(calm.is_at_rest, PATIENCE_SECONDS), f"no rest: {calm.copies}")
    produced(fault, fleet, journal, "fourth", 5)

    etcd.signal(signal.SIGKILL)
    etcd.wait(PATIENCE_SECONDS)
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    fleet.start(etcd)
    began = time.monotonic()
    while any(node.is_running() for node in nodes):
        require(time.monotonic() - began < PATIENCE_SECONDS, f"still run: {[node.name for node in nodes if node.is_running()]}")
        time.sleep(0.05)
    noticed = time.monotonic() - began
    fault.say(f"etcd went back; all storage nodes have stopped after {noticed:.1f} s")
    for node in nodes:
        try:
            fleet.start(node)
        except FleetFailed as refused:
            require("headgate metadata rebuild" in str(refused), f"{node.name} does not say what to do: {refused}")
            continue
        require(False, f"{node.name} started on metadata that went back in time")
    for process in [*fleet.of_role("gateway"), *fleet.of_role("metering")]:
        require(process.stop(PATIENCE_SECONDS), f"{process.name} did not end on SIGTERM")

    shutil.rmtree(fleet.process("storage-2").data_dir)
    shown = rebuild(plan, fleet)
    fault.say(f"rebuilt: {shown.splitlines()[-1]}")
    require("0 keys written" in rebuild(plan, fleet), "a second rebuild changed something")
    for process in fleet.processes:
        if not process.is_running():
            fleet.start(process)
    for process in fleet.processes:
        fleet.await_ready(process)
    produced(fault, fleet, journal, "fifth", 5)
    return f"all nodes noticed within {noticed:.1f} s, one disk lost, {shown.splitlines()[-1]}"


def rebuild(plan, fleet):
    words = ["metadata", "rebuild", "--config", str(fleet.directory / "headgate.toml")]
    for node in fleet.of_role("storage"):
        if Path(node.data_dir).exists():
            words += ["--data-dir", node.data_dir]
    return plan.operate(*words)


def produced(fault, fleet, journal, name, seconds):
    words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS, "--producers", PRODUCERS, "--rate", RATE]
    words += ["--seconds", seconds, "--journal", journal]
    result = loadtest.run(fault.arguments.loadtest, Client(fleet), fault.work, f"produce-{name}", words, seconds + PATIENCE_SECONDS, iam=True)
    require(not result["unsettled_records"] and not result["refused_records"], f"{name}: {result}")


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("rebuild-fleet", play))
