#!/usr/bin/env python3
"""All 256 slots of a fleet, with ten thousand partitions, moved from node to node under load.

Sixty-four clusters of 160 partitions fill the slots; three are written to by idempotent producers whose histories are checked,
a fourth by a librdkafka producer with default settings, which is not idempotent: the log of each partition must have its records
in the order in which they were sent. Clients may feel latency but no error. Per slot it is told how long nobody could
write to it, from the nodes' logs: from the moment its old owner stopped it until its new one had it open.
"""

import json
import math
import os
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet_calm import Calm  # noqa: E402
from fleet_probe import librdkafka  # noqa: E402
from fleet_roles import counted, owned  # noqa: E402
from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.fleet import SLOTS, Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PARTITIONS_EACH = 160
LOADED = 3
RATE = 300
ORDERED_PARTITIONS = 12
ORDERED_RATE = 400
TOPIC = "load"
MOVE_SECONDS = 240
PATIENCE_SECONDS = 120
LEAD_SECONDS = 3


class Server:
    """What the load generator needs of a server, for one cluster."""

    def __init__(self, fleet, work, name, bootstrap):
        self.name, self.bootstrap = name, bootstrap
        self.facts = fleet.facts | {"bootstrap_iam": bootstrap}
        self.dev_json = work / f"{name}.json"
        self.dev_json.write_text(json.dumps(self.facts))
        self.dev_json.chmod(0o600)


class Ordered:
    """A librdkafka producer with default settings: each partition's records are numbered as they are sent."""

    def __init__(self, server):
        from confluent_kafka import Producer

        self.server, self.errors, self.acknowledged = server, [], 0
        self.sent = [0] * ORDERED_PARTITIONS
        self.producer = Producer(librdkafka(server.facts, lambda _source, error: None))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        due = time.monotonic()
        while not self.stop.is_set():
            while due <= time.monotonic():
                due += 1 / ORDERED_RATE
                partition = sum(self.sent) % ORDERED_PARTITIONS
                self.producer.produce(TOPIC, str(self.sent[partition]), partition=partition, on_delivery=self.delivered)
                self.sent[partition] += 1
            self.producer.poll(0.01)

    def delivered(self, error, _message):
        if error:
            self.errors.append(error.str())
        else:
            self.acknowledged += 1

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.producer.flush(PATIENCE_SECONDS)

    def check(self):
        """Reads the log: nothing is lost, and nothing overtakes; a retry may stand twice, which is this producer's nature."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(librdkafka(self.server.facts, lambda _source, error: None) | {"group.id": "order", "enable.partition.eof": True})
        consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(ORDERED_PARTITIONS)])
        last, twice, ended = [-1] * ORDERED_PARTITIONS, 0, set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(ended) < ORDERED_PARTITIONS:
            require(time.monotonic() < deadline, "the log could not be read to its end")
            for message in consumer.consume(1000, 1):
                partition = message.partition()
                if message.error():
                    ended.add(partition)
                    continue
                number = int(message.value())
                require(number <= last[partition] + 1, f"partition {partition}: {number} follows {last[partition]}")
                twice += number <= last[partition]
                last[partition] = max(number, last[partition])
        consumer.close()
        require([number + 1 for number in last] == self.sent, f"of {self.sent} the log has {last}")
        return twice


def play(fault):
    toolchains = Toolchains(ROOT, fault.work / "install")
    plan = Plan(fault.work / "fleet", fault.arguments.headgate, etcd_binary(toolchains), python_with_moto(toolchains))
    fleet = plan.up(fault.say)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": fleet.facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": fleet.facts["secret_access_key"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        servers = fill(fault, plan, fleet)
        told = move(fault, plan, fleet, servers)
    finally:
        killed = fleet.down()
    require(not killed, f"these did not end in their time: {killed}")
    return told


def fill(fault, plan, fleet):
    """Clusters with topics; their slot sets cover the cell."""
    credentials = {
        "AWS_ACCESS_KEY_ID": fleet.facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": fleet.facts["secret_access_key"],
        "AWS_REGION": fleet.facts["region"],
    }
    api, servers, began = fleet.facts["api_url"], [], time.monotonic()
    for number in range(fault.arguments.clusters):
        name = f"cluster-{number}"
        shown = plan.operate("cluster", "create", name, "--api", api, environment=credentials)
        bootstrap = next(line.split(": ", 1)[1] for line in shown.splitlines() if line.startswith("bootstrapBrokers: "))
        partitions = ORDERED_PARTITIONS if number == LOADED else PARTITIONS_EACH
        plan.operate("topic", "create", TOPIC, "--cluster", name, "--partitions", str(partitions), "--api", api, environment=credentials)
        servers.append(Server(fleet, fault.work, name, bootstrap))
    fault.say(f"{len(servers)} clusters, {len(servers) * PARTITIONS_EACH} partitions in {time.monotonic() - began:.0f} s")
    return servers


def move(fault, plan, fleet, servers):
    config = str(fleet.directory / "headgate.toml")
    calm = Calm(fleet)
    require(calm.wait(calm.is_at_rest, PATIENCE_SECONDS), f"no rest: {calm.copies}")
    # Something in every partition, so that every slot has something to hand over.
    for server in servers[LOADED + 1 :]:
        words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS_EACH, "--producers", 1, "--records", 2 * PARTITIONS_EACH]
        loadtest.run(fault.arguments.loadtest, server, fault.work, f"fill-{server.name}", words, PATIENCE_SECONDS, iam=True)
    fault.say("every partition has records")
    loads = [produce(fault, server) for server in servers[:LOADED]]
    ordered = Ordered(servers[LOADED])
    ordered.thread.start()
    time.sleep(LEAD_SECONDS)
    before, began = flushed_bytes(fleet), datetime.now().timestamp()
    try:
        for node in ("1", "2", "3"):
            moment = time.monotonic()
            plan.operate("slot", "place", f"0-{SLOTS - 1}", "--node", node, "--config", config)
            while owned(plan, config).get(node, 0) < SLOTS:
                require(time.monotonic() - moment < MOVE_SECONDS, f"not all slots came to node {node}: {owned(plan, config)}")
                time.sleep(0.2)
            fault.say(f"all {SLOTS} slots are at node {node} after {time.monotonic() - moment:.1f} s")
        time.sleep(LEAD_SECONDS)
        flushed = flushed_bytes(fleet) - before
        results = []
        for load in loads:
            load.interrupt()
        for load in loads:
            results.append(load.finish(PATIENCE_SECONDS))
        left = ordered.end()
    finally:
        ordered.stop.set()
        for load in loads:
            load.end()
    require(not left and not ordered.errors, f"the default producer: {left} records left, {ordered.errors[:3]}")
    for result in results:
        require(not result["unsettled_records"] and not result["refused_records"], f"{result}")
    twice = ordered.check()
    for server in servers[:LOADED]:
        words = ["verify", "--topic", TOPIC, "--journal", fault.work / f"journal-{server.name}"]
        verified = loadtest.run(fault.arguments.loadtest, server, fault.work, f"verify-{server.name}", words, PATIENCE_SECONDS, iam=True)
        require(verified["clean"], f"verify found {verified['findings']}")
    closed = closed_times(fleet, began)
    require(len(closed) >= SLOTS, f"{len(closed)} moves are in the logs")
    latency = max(result["latency"]["max_ms"] for result in results), max(result["latency"]["p99_ms"] for result in results)
    return (
        f"{len(closed)} moves of slots, each closed for {percentile(closed, 0.5) * 1000:.0f} ms (p50), "
        f"{percentile(closed, 0.99) * 1000:.0f} ms (p99), {max(closed) * 1000:.0f} ms at most; {flushed} bytes put into objects meanwhile, "
        f"none copied between nodes; producers: p99 {latency[1]:.0f} ms, at most {latency[0]:.0f} ms, no error; "
        f"{ordered.acknowledged} records of the default producer in order, {twice} of them twice"
    )


def produce(fault, server):
    words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS_EACH, "--producers", 2, "--rate", RATE]
    words += ["--seconds", 3 * MOVE_SECONDS + PATIENCE_SECONDS, "--journal", fault.work / f"journal-{server.name}"]
    return loadtest.Load(fault.arguments.loadtest, server, fault.work, f"produce-{server.name}", words, iam=True)


def flushed_bytes(fleet):
    """What the nodes have put into objects."""
    return sum(counted(process, "headgate_storage_flushed_bytes_total") for process in fleet.of_role("storage"))


def closed_times(fleet, began):
    """For every slot and move: from the stop at its old owner until it was open at its new one, in seconds."""
    moved, opened = [], []
    for process in fleet.of_role("storage"):
        for line in Path(process.log).read_text(errors="replace").splitlines():
            if not line.startswith("{"):
                continue
            line = json.loads(line)
            moment = datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).timestamp()
            fields = line["fields"]
            if moment < began:
                continue
            if fields.get("message") == "slots moved":
                moved.append((moment - seconds(fields["took"]), str(fields["to"]), int(fields["slots"])))
            elif fields.get("message") == "slots restored and open":
                opened.append((moment, process.id, int(fields["slots"])))
    closed = []
    for stopped, to, count in moved:
        times = [moment for moment, node, slots in opened if node == to and moment >= stopped and slots >= count]
        if times:
            closed += [min(times) - stopped] * count
    return closed


def seconds(text):
    """A time as the log writes it."""
    for unit, factor in (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def percentile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0], clusters={"type": int, "default": 64, "help": "clusters of 160 partitions each"})
    sys.exit(fault.main("moves", play))
