#!/usr/bin/env python3
"""Clients of a fleet in several zones: a consumer that names its rack reads in its zone, and what crosses zones is counted.

A topic is written through the gateway of zone a, then read by a consumer of each zone in turn (`client.rack`, KIP-392), each
given the other zone's address to begin with. Counted at the gateways: who answered the fetches that brought records.
"""

import os
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet_probe import librdkafka  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.fleet import Plan, etcd_binary, python_with_moto  # noqa: E402
from harness.toolchains import Toolchains  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent.parent
TOPIC, PARTITIONS = "zones", 12
RECORDS, RECORD_BYTES = 4_000, 1_000
PATIENCE_SECONDS = 60


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
        said = clients(fault, fleet)
    finally:
        killed = fleet.down()
    require(not killed, f"these did not end in their time: {killed}")
    return said


def clients(fault, fleet):
    by_zone = fleet.facts["bootstrap_iam_by_zone"]
    gateways = {process.zone: process for process in fleet.of_role("gateway")}
    require(len(by_zone) == len(gateways) == 2, f"bootstrap strings by zone: {by_zone}")
    write(settings(fleet, by_zone["a"]))
    said = []
    for zone, other in (("a", "b"), ("b", "a")):
        before = {name: fetches(gateway) for name, gateway in gateways.items()}
        read(settings(fleet, by_zone[other]) | {"client.rack": zone}, f"readers-{zone}")
        asked = {name: fetches(gateway) - before[name] for name, gateway in gateways.items()}
        fault.say(f"a consumer of zone {zone} asked {asked}")
        # Each partition whose leader is over there is asked for once, or with others at the same time.
        require(asked[other] <= PARTITIONS, f"fetches of a consumer of zone {zone}: {asked}")
        require(asked[zone] > 0, f"fetches of a consumer of zone {zone}: {asked}")
        said.append(f"zone {zone}: {asked[zone]} fetches there, {asked[other]} elsewhere")
    return f"{'; '.join(said)}; {traffic(fleet)}"


def settings(fleet, bootstrap):
    def told(_source, error):
        require(not error.fatal(), f"{error}")

    return librdkafka(fleet.facts, told) | {"bootstrap.servers": bootstrap}


def write(config):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(config)
    admin.poll(0)
    admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS)])[TOPIC].result(PATIENCE_SECONDS)
    producer, refused = Producer(config), []
    for number in range(RECORDS):
        producer.produce(
            TOPIC, bytes(RECORD_BYTES), partition=number % PARTITIONS, on_delivery=lambda error, _: error and refused.append(error)
        )
        producer.poll(0)
    require(not producer.flush(PATIENCE_SECONDS) and not refused, f"not written: {refused[:3]}")


def read(config, group):
    from confluent_kafka import Consumer, TopicPartition

    # Small answers, so that the fetches of one run are many.
    own = {"group.id": group, "fetch.message.max.bytes": 20_000, "queued.max.messages.kbytes": 100}
    consumer = Consumer(config | own)
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    seen, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    while seen < RECORDS:
        require(time.monotonic() < deadline, f"{seen} of {RECORDS} records came")
        for message in consumer.consume(500, 1):
            require(message.error() is None, f"{message.error()}")
            seen += 1
    consumer.close()


def metrics(process):
    url = process.addresses["metrics"]
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        return answer.read().decode().splitlines()


def fetches(gateway):
    lines = [line for line in metrics(gateway) if line.startswith('headgate_gateway_requests_total{api="Fetch"}')]
    return sum(int(float(line.split()[-1])) for line in lines)


def traffic(fleet):
    """Bytes between processes of the fleet, within zones and across them."""
    total = {"same": 0, "other": 0}
    for process in [*fleet.of_role("gateway"), *fleet.of_role("storage")]:
        for line in metrics(process):
            if line.startswith("headgate_storage_traffic_bytes_total"):
                zone = "other" if 'zone="other"' in line else "same"
                total[zone] += int(float(line.split()[-1]))
    # Mirrors are in other zones, so every record crosses.
    require(total["other"] > RECORDS * RECORD_BYTES, f"traffic: {total}")
    return f"{total['same']} bytes within zones, {total['other']} across"


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("zones", play))
