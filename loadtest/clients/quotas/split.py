#!/usr/bin/env python3
"""One tenant at twice its quota, through three gateways at once, split 80, 15 and 5 percent: real clients, real processes.

Each client writes to partitions whose leader is one gateway, so that the split is the gateways'. Then the demand moves: the
gateway that had the least has the most. What comes through at most is judged; the throughput measured at the clients and the
throttle times they saw are told.
"""

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.fault import Fault, require  # noqa: E402
from harness.fleet import Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.processes import without_aws  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402
from tenant import Heard, Tenant, drop  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
MIB = 1 << 20
QUOTA = 6 * MIB
DEMAND = 2 * QUOTA
SHARES = (0.80, 0.15, 0.05)
VALUE_BYTES = 8_000
PARTITIONS = 12
WARM_SECONDS, SECONDS = 3, 20


class Server:
    """A fleet as `Tenant` knows a server."""

    def __init__(self, plan, fleet):
        self.plan, self.dev = plan, fleet.facts

    def operator(self, *words):
        keys = {
            "AWS_ACCESS_KEY_ID": self.dev["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.dev["secret_access_key"],
            "AWS_REGION": self.dev["region"],
            "AWS_CA_BUNDLE": self.dev["ca_pem_path"],
        }
        return self.plan.operate(*words, "--api", self.dev["api_url"], environment=without_aws({}) | keys)


class Producer:
    """Writes at a steady rate to the partitions of one gateway."""

    def __init__(self, tenant, topic, partitions, rate):
        self.topic, self.partitions, self.rate = topic, partitions, rate
        self.heard, self.acknowledged, self.errors = Heard(), 0, []
        # What cannot be sent now is not owed later: the demand stays what it is.
        self.producer = tenant.producer(self.heard, **{"queue.buffering.max.kbytes": 4096})
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        value, due, turn = b"v" * VALUE_BYTES, time.monotonic(), 0
        while not self.stop.is_set():
            now = time.monotonic()
            while due <= now:
                due += VALUE_BYTES / self.rate
                turn += 1
                try:
                    partition = self.partitions[turn % len(self.partitions)]
                    self.producer.produce(self.topic, value, partition=partition, on_delivery=self.delivered)
                except BufferError:
                    pass
            self.producer.poll(0.005)

    def delivered(self, error, message):
        if error:
            self.errors.append(str(error))
        else:
            self.acknowledged += len(message)

    def end(self):
        self.stop.set()
        self.thread.join()
        self.refused = list(self.errors)
        drop(self.producer)


def play(fault):
    toolchains = Toolchains(ROOT, fault.work / "install")
    plan = Plan(
        fault.work / "fleet", fault.arguments.headgate, etcd_binary(toolchains), python_with_moto(toolchains), gateways=3
    )
    fleet = plan.up(fault.say)
    try:
        tenant = Tenant(Server(plan, fleet))
        topic = tenant.topic(PARTITIONS)
        led = partitions_by_leader(tenant, topic)
        require(len(led) == len(SHARES), f"partitions are led by {sorted(led)}")
        tenant.set(bytes_in_per_second=QUOTA, partition_bytes_in_per_second=QUOTA)
        seen = [run(fault, tenant, topic, led, shares) for shares in (SHARES, SHARES[::-1])]
    finally:
        killed = fleet.down()
    require(not killed, f"these did not end in their time: {killed}")
    return "; ".join(seen)


def partitions_by_leader(tenant, topic):
    """As clients are told. Retried until the topic is known everywhere."""
    for _ in range(50):
        partitions = tenant.admin.list_topics(topic, timeout=30).topics[topic].partitions
        led = {}
        for number, partition in partitions.items():
            led.setdefault(partition.leader, []).append(number)
        if len(partitions) == PARTITIONS:
            break
        time.sleep(0.1)
    return led


def run(fault, tenant, topic, led, shares):
    producers = [
        Producer(tenant, topic, partitions, DEMAND * share) for (_, partitions), share in zip(sorted(led.items()), shares)
    ]
    try:
        time.sleep(WARM_SECONDS)
        before, began = [producer.acknowledged for producer in producers], time.monotonic()
        time.sleep(SECONDS)
        amounts = [producer.acknowledged - earlier for producer, earlier in zip(producers, before)]
        took, explained = time.monotonic() - began, tenant.explain()
    finally:
        for producer in producers:
            producer.end()
    errors = [error for producer in producers for error in producer.refused]
    require(not errors, f"to be slowed down is no error: {errors[:2]}")
    require(explained["gateways"] == 3, f"the coordinator knows {explained['gateways']} gateways")
    whole = sum(amounts)
    # The burst, the published bound and one largest request.
    require(whole <= QUOTA * (took + 0.48) * 1.05 + MIB, f"{whole} bytes in {took:.1f} s with a quota of {QUOTA}/s")
    parts = ", ".join(
        f"{share:.0%}: {amount / took / MIB:.2f} MiB/s, throttled up to {producer.heard.throttle_ms} ms"
        for share, amount, producer in zip(shares, amounts, producers)
    )
    text = f"{whole / took / QUOTA:.1%} of the quota ({parts})"
    fault.say(text)
    return text


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("quota-split", play))
