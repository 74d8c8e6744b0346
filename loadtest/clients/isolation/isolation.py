#!/usr/bin/env python3
"""Tenants on one server that see their own world alone, and rights that come and go under living clients.

The first server has one port for a further cluster: the next one is reached by its names alone. The second reaches every
cluster by name. Both tenants use the same topic and group names.
"""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402
from lasting import LastingConsumer, LastingProducer, until  # noqa: E402
from tenancy import Tenancy, allow  # noqa: E402

TOPIC, GROUP, RECORDS = "orders", "billing", 20
TOPIC_DENIED = 29
STRANGERS_ACCOUNT = "999999999999"
NAMED_DOMAIN = "kafka.test"
BROKER = re.compile(r"^b(\d)-([a-z0-9]{8})\.")
# What whoever writes or reads records needs beside that.
BESIDE_DATA = ["kafka-cluster:Connect", "kafka-cluster:DescribeTopic", "kafka-cluster:CreateTopic"]


def own_world(fault, tenancy, user, cluster):
    """The tenant makes, writes and reads the same names as the others, and sees nothing else."""
    named = cluster.host != "localhost"
    options = {"suffix": cluster.suffix} if named else {}
    seen = tenancy.run(
        user, "round-trip", cluster, topic=TOPIC, group=GROUP, marker=cluster.name, records=RECORDS, **options
    )
    require(seen["values"] == sorted(f"{cluster.name}-{number}" for number in range(RECORDS)), f"values: {seen}")
    require(seen["topics"] == [TOPIC], f"topics: {seen}")
    # Admin clients ask every broker and append: each group must come once.
    require(seen["groups"] == [GROUP], f"groups: {seen}")
    if named:
        found = [BROKER.match(host).groups() for host in seen["brokers"]]
        cid = cluster.host.partition(".")[0].removeprefix("boot-")
        require(found == [(str(number), cid) for number in (1, 2, 3)], f"brokers: {seen}")
    else:
        require(seen["brokers"] == ["localhost"], f"brokers: {seen}")
    fault.say(f"{cluster.name} at {cluster.bootstrap}: {len(seen['values'])} records, brokers {', '.join(seen['brokers'])}")


def kept_out(fault, tenancy, user, cluster):
    """A user of one cluster does not get into another."""
    options = {"suffix": cluster.suffix} if cluster.host != "localhost" else {}
    refused = tenancy.run(user, "login", cluster, **options)["refused"]
    require(refused and "Access denied" in refused and "kafka-cluster:Connect" in refused, f"{user.name}: {refused}")
    fault.say(f"{user.name} at {cluster.name}: refused")


def two_tenants(fault, tenancy, clusters):
    users = {}
    for cluster in clusters:
        statement = allow("kafka-cluster:*", cluster.everything())
        users[cluster.name] = tenancy.user(f"user-of-{cluster.name}", statement)
    for cluster in clusters:
        own_world(fault, tenancy, users[cluster.name], cluster)
    for cluster in clusters:
        for other in clusters:
            if other is not cluster:
                kept_out(fault, tenancy, users[cluster.name], other)


def opened_by_policy(fault, tenancy, cluster):
    """Whoever has no policy of its own gets in by the cluster's, as far as that goes and as long as it stands."""
    guest = tenancy.user("guest")
    kept_out(fault, tenancy, guest, cluster)
    shared = [arn.removesuffix("*") + "shared" for arn in cluster.everything()[1:]]

    def opened_to(principal):
        of_cluster = allow(["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"], cluster.arn)
        return [part | {"Principal": {"AWS": principal}} for part in (of_cluster, allow("kafka-cluster:*", shared))]

    tenancy.put_policy(cluster, *opened_to(f"arn:aws:iam::{STRANGERS_ACCOUNT}:root"))
    kept_out(fault, tenancy, guest, cluster)
    tenancy.put_policy(cluster, *opened_to(guest.arn))
    seen = tenancy.run(guest, "round-trip", cluster, topic="shared", group="shared", marker="guest", records=RECORDS)
    require(seen["values"] == sorted(f"guest-{number}" for number in range(RECORDS)), f"values: {seen}")
    require(seen["topics"] == seen["groups"] == ["shared"], f"more than is shared: {seen}")
    tenancy.delete_policy(cluster)
    kept_out(fault, tenancy, guest, cluster)
    fault.say("a guest got in by the cluster's policy alone, saw what it shares, and was out with it")


def rights_come_and_go(fault, tenancy, cluster):
    """One producer and one consumer live through it all."""

    def data(*actions):
        return allow([*BESIDE_DATA, *(f"kafka-cluster:{action}" for action in actions)])

    worker = tenancy.user("worker", data("ReadData", "WriteData"))
    os.environ.update(worker.environment(tenancy.dev["region"]))
    topic = "lasting"
    create_topic(cluster, tenancy.dev, topic)
    producer = LastingProducer(cluster, tenancy.dev, topic)
    consumer = LastingConsumer(cluster, tenancy.dev, topic)
    producer.send_until(0)
    consumer.read_until(f"value-{producer.number}")

    tenancy.allow("worker", data("ReadData"))
    producer.send_until(TOPIC_DENIED)
    tenancy.allow("worker", data("ReadData", "WriteData"))
    producer.send_until(0)
    consumer.read_until(f"value-{producer.number}")
    fault.say("the producer lost WriteData, was told 29, and goes on")

    tenancy.allow("worker", data("WriteData"))
    producer.send_until(0)
    consumer.fail_until(TOPIC_DENIED)
    denied_from = producer.number
    require(f"value-{denied_from}" not in consumer.values, "a record came after the right had gone")
    tenancy.allow("worker", data("ReadData", "WriteData"))
    consumer.read_until(f"value-{denied_from}")
    fault.say("the consumer lost ReadData, was told 29, and goes on where it was")

    denied = allow("kafka-cluster:WriteData", cluster.everything()) | {"Effect": "Deny", "Principal": "*"}
    tenancy.put_policy(cluster, denied)
    producer.send_until(TOPIC_DENIED)
    tenancy.delete_policy(cluster)
    producer.send_until(0)
    consumer.read_until(f"value-{producer.number}")
    fault.say("the cluster's policy denied what the producer's own allows; it was told 29, and goes on")

    producer.errors.clear()
    tenancy.set_key(worker, "Inactive")
    until("a refused login", lambda: producer.send() != 0 and "inactive" in texts(producer.errors))
    tenancy.set_key(worker, "Active")
    producer.send_until(0)
    consumer.read_until(f"value-{producer.number}")
    fault.say("the key was deactivated, its connections ended; activated, both clients go on")


def create_topic(cluster, dev, topic):
    from confluent_kafka.admin import AdminClient, NewTopic
    from lasting import librdkafka

    admin = AdminClient(librdkafka(cluster, dev, []))
    admin.poll(0)
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)


def texts(errors):
    return " ".join(error.str() for error in errors)


def play(fault):
    binary = fault.arguments.headgate
    log = fault.work / "server.log"
    with DevServer(binary, fault.work / "ports", log, cluster_ports=1) as server:
        tenancy = Tenancy(server)
        with_port, by_name = tenancy.cluster("with-port"), tenancy.cluster("by-name")
        require(with_port.bootstrap == f"localhost:{server.cluster_ports.partition('-')[0]}", with_port.bootstrap)
        require(re.match(r"^boot-[a-z0-9]{8}\.c[a-z0-9]+\.kafka-serverless\.", by_name.bootstrap), by_name.bootstrap)
        require(by_name.bootstrap.endswith(f":{server.iam_port}"), by_name.bootstrap)
        two_tenants(fault, tenancy, [with_port, by_name])
        opened_by_policy(fault, tenancy, with_port)
        rights_come_and_go(fault, tenancy, with_port)
    with DevServer(binary, fault.work / "named", log, ["--named-domain", NAMED_DOMAIN]) as server:
        tenancy = Tenancy(server)
        clusters = [tenancy.demo(), tenancy.cluster("second"), tenancy.cluster("third")]
        require(all(cluster.suffix.endswith(NAMED_DOMAIN) for cluster in clusters), "a bootstrap string is no name")
        two_tenants(fault, tenancy, clusters)
    return "5 clusters with the same names, by port and by name; a producer and a consumer outlived 4 withdrawals"


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("isolation", play))
