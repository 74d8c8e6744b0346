#!/usr/bin/env python3
"""Every quota of a cluster, hit on purpose with real clients: they must see what `gateway/PROTOCOL.md` §9 says.

Soft limits slow clients down and tell them so; hard limits are answered with Kafka's codes; a connection too many gets no
answer and is never taken for a failed login. Whoever ignores the throttle time, or comes back on a new connection, gains
nothing. Only upper bounds are judged: what comes through at most is the server's promise, on any machine.
"""

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from confluent_kafka import KafkaError, KafkaException  # noqa: E402
from confluent_kafka.admin import NewPartitions  # noqa: E402
from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402
from tenant import TIMEOUT_SECONDS, Heard, Tenant, consume, produce  # noqa: E402

MIB = 1 << 20
SECONDS = 6
UNTIL_SECONDS = 60
OTHERS = 3
# librdkafka's default `fetch.message.max.bytes`.
FETCHED_BYTES = MIB


def play(fault):
    work = fault.work
    with DevServer(fault.arguments.headgate, work / "data", work / "server.log") as server:
        tenant = Tenant(server)
        topic = tenant.topic(8)
        said = []
        for check in CHECKS:
            tenant.set()
            seen = check(fault, tenant, topic)
            name = check.__name__.replace("_", " ")
            fault.say(f"{name}: {seen}")
            said.append(name)
        tenant.set()
    return f"{len(said)} checks: {', '.join(said)}"


def told(seconds_or_bytes):
    return f"{seconds_or_bytes.rate / MIB:.2f} MiB/s, throttle times up to {seconds_or_bytes.throttle_ms} ms"


def code_of(call, *arguments):
    """The error that a client gets."""
    try:
        call(*arguments)
    except KafkaException as error:
        return error.args[0].code()
    return None


# Soft limits.


def bytes_in(_fault, tenant, topic):
    tenant.set(bytes_in_per_second="2M")
    flow = produce(tenant, topic, SECONDS, 8_000)
    require(flow.within(2 * MIB), f"{told(flow)} with a quota of 2 MiB/s")
    require(flow.throttle_ms > 0, "the producer was told no throttle time")
    explained = tenant.explain()
    held = {one["limit"] for one in explained["throttled"]}
    require("bytes_in_per_second" in held, f"the explanation names {held}")
    return told(flow)


def bytes_out(_fault, tenant, _topic):
    topic = tenant.topic(1)
    written = produce(tenant, topic, 3, 8_000)
    tenant.set(bytes_out_per_second="1M")
    flow = consume(tenant, topic, SECONDS)
    # An answer is charged when it is as large as it is.
    require(flow.within(MIB, largest=FETCHED_BYTES), f"{told(flow)} with a quota of 1 MiB/s")
    require(written.amount < 10 * MIB or flow.throttle_ms > 0, "the consumer was told no throttle time")
    return told(flow)


def requests(_fault, tenant, _topic):
    quota = 20
    tenant.set(requests_per_second=quota)
    count, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        tenant.admin.list_topics(timeout=TIMEOUT_SECONDS)
        count += 1
    took = time.monotonic() - began
    require(count <= quota * (took + 1) * 1.05, f"{count} requests in {took:.1f} s with a quota of {quota}/s")
    return f"{count / took:.1f} requests/s of {quota}"


def a_hot_partition(_fault, tenant, topic):
    """A partition borrows what its cluster leaves unused, and no more once others want it."""
    tenant.set(bytes_in_per_second="4M", partition_bytes_in_per_second="1M")
    alone = produce(tenant, topic, SECONDS, 8_000, partition=0)
    hot, rest = [], []
    # Several others: one alone is held back for seconds at a time, and what it leaves is borrowed meanwhile.
    threads = [threading.Thread(target=lambda: rest.append(produce(tenant, topic, SECONDS * 2, 8_000))) for _ in range(OTHERS)]
    threads += [threading.Thread(target=lambda: hot.append(produce(tenant, topic, SECONDS * 2, 8_000, partition=0)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require(hot and len(rest) == OTHERS, "a producer was refused")
    others = sum(flow.rate for flow in rest)
    both = hot[0].amount + sum(flow.amount for flow in rest)
    require(both <= 4 * MIB * (hot[0].seconds + 1) * 1.05, f"{both} bytes in {hot[0].seconds:.0f} s")
    require(hot[0].rate < others, f"the hot partition got {told(hot[0])}, the others {others / MIB:.2f} MiB/s")
    return f"alone {told(alone)}; beside others {told(hot[0])}, they {others / MIB:.2f} MiB/s"


def whoever_ignores_throttle_times(fault, tenant, _topic):
    """The load generator goes on as if nothing had been told."""
    tenant.set(bytes_in_per_second="2M")
    words = ["produce", "--topic", "deaf", "--partitions", 4, "--producers", 4, "--seconds", SECONDS, "--ignore-throttle"]
    result = loadtest.run(fault.arguments.loadtest, tenant.server, fault.work, "deaf", words, UNTIL_SECONDS, iam=True)
    amount, took = result["acknowledged_bytes"], result["elapsed_seconds"]
    require(amount <= 2 * MIB * (took + 1) * 1.05, f"{amount} bytes in {took:.1f} s with a quota of 2 MiB/s")
    return f"{amount / took / MIB:.2f} MiB/s of 2"


def whoever_comes_back_anew(_fault, tenant, topic):
    """The debt is the cluster's, not the connection's."""
    tenant.set(bytes_in_per_second="1M")
    began, amount, connections = time.monotonic(), 0, 0
    while time.monotonic() - began < SECONDS:
        heard, delivered = Heard(), []
        producer = tenant.producer(heard)
        for _ in range(32):
            producer.produce(topic, b"v" * 16_000, on_delivery=lambda error, message: delivered.append(len(message)))
        producer.flush(TIMEOUT_SECONDS)
        amount, connections = amount + sum(delivered), connections + 1
    took = time.monotonic() - began
    require(amount <= MIB * (took + 1) * 1.05, f"{amount} bytes in {took:.1f} s with a quota of 1 MiB/s")
    return f"{amount / took / MIB:.2f} MiB/s of 1 over {connections} connections"


def topic_operations(_fault, tenant, _topic):
    """Two a second is the default, with as many saved up: the others are held until their turn."""
    began, count = time.monotonic(), 10
    for _ in range(count):
        tenant.topic()
    took = time.monotonic() - began
    require(took >= (count - 4) / 2, f"{count} topics in {took:.1f} s")
    return f"{count} topics in {took:.1f} s, none refused"


# Hard limits.


def partition_changes(_fault, tenant, _topic):
    tenant.set(partition_changes_per_5_minutes=10)
    # What is not in debt may go, whatever its size (KIP-599): the next one waits it out.
    refused, created = None, 0
    while refused is None and created < 5:
        refused = code_of(tenant.topic, 8, 5)
        created += refused is None
    expected = {KafkaError.REQUEST_TIMED_OUT, KafkaError.THROTTLING_QUOTA_EXCEEDED}
    require(refused in expected, f"the client got {refused}")
    require(created <= 3, f"{created} topics of 8 partitions with a quota of 10")
    tenant.set(partition_changes_per_5_minutes=1000)
    tenant.topic(8)
    return f"the client got {name_of(refused)}; a greater quota lifts it"


def partitions_max(_fault, tenant, topic):
    used = tenant.explain()["partitions"]["used"]
    tenant.set(partitions_max=used + 2)
    created = code_of(tenant.topic, 3)
    require(created == KafkaError.POLICY_VIOLATION, f"CreateTopics got {created}")

    def grow():
        futures = tenant.admin.create_partitions([NewPartitions(topic, 11)])
        futures[topic].result(TIMEOUT_SECONDS)

    grown = code_of(grow)
    require(grown == KafkaError.INVALID_PARTITIONS, f"CreatePartitions got {grown}")
    tenant.topic(2)
    return f"{name_of(created)} and {name_of(grown)}; the two that were left could be had"


def compacted_partitions_max(_fault, tenant, _topic):
    """Partitions of compacted topics have a limit of their own."""
    used = tenant.explain()["partitions"]["used"]
    tenant.set(partitions_max=used, compacted_partitions_max=3)
    topic = tenant.topic(2, **{"cleanup.policy": "compact"})
    created = code_of(lambda: tenant.topic(2, **{"cleanup.policy": "compact,delete"}))
    require(created == KafkaError.POLICY_VIOLATION, f"CreateTopics got {created}")

    def grow(count):
        tenant.admin.create_partitions([NewPartitions(topic, count)])[topic].result(TIMEOUT_SECONDS)

    grown = code_of(grow, 4)
    require(grown == KafkaError.INVALID_PARTITIONS, f"CreatePartitions got {grown}")
    grow(3)
    counted = tenant.explain()["compactedPartitions"]["used"]
    require(counted == 3, f"{counted} are counted")
    return f"{name_of(created)} and {name_of(grown)}; the one that was left could be had"


def compacted_partition_bytes_max(_fault, tenant, _topic):
    topic = tenant.topic(1, **{"cleanup.policy": "compact"})
    tenant.set(compacted_partition_bytes_max="1M")
    keyed = {"message.timeout.ms": 20_000}

    def fill():
        producer, refused = tenant.producer(Heard(), **keyed), []
        for number in range(4_000):
            note = lambda error, _: error and refused.append(error.code())  # noqa: E731
            producer.produce(topic, key=str(number), value=b"x" * 1_000, on_delivery=note)
            if number % 100 == 0:
                producer.flush(UNTIL_SECONDS)
        producer.flush(UNTIL_SECONDS)
        return refused

    # Sizes are heard of every few seconds.
    codes = set()
    until(lambda: codes.update(fill()) or codes, "a full partition took everything")
    require(codes == {KafkaError.THROTTLING_QUOTA_EXCEEDED}, f"the producer got {codes}")
    tenant.set()
    lifted = []
    until(lambda: not lifted.append(fill()) and not lifted[-1], "a greater quota does not lift it")
    return f"{name_of(codes.pop())}; a greater quota lifts it"


def groups_max(_fault, tenant, topic):
    listed = len(tenant.admin.list_consumer_groups().result(TIMEOUT_SECONDS).valid)
    tenant.set(groups_max=listed + 1)
    first, second = tenant.consumer(Heard()), tenant.consumer(Heard())
    first.subscribe([topic])
    until(lambda: first.poll(0.1) is not None or first.assignment(), "the first group was not joined")
    second.subscribe([topic])
    codes = set()

    def refused():
        message = second.poll(0.2)
        if message is not None and message.error():
            codes.add(message.error().code())
        return codes

    until(refused, "the group too many got no error")
    require(codes == {KafkaError.GROUP_MAX_SIZE_REACHED}, f"the group too many got {codes}")
    for consumer in (first, second):
        consumer.close()
    return name_of(codes.pop())


def message_bytes_max(_fault, tenant, topic):
    tenant.set(message_bytes_max="64K")
    refused = code_of(produce, tenant, topic, SECONDS, 100_000)
    require(refused == KafkaError.MSG_SIZE_TOO_LARGE, f"the producer got {refused}")
    small = produce(tenant, topic, 1, 1_000, **{"batch.size": 32_000})
    require(small.amount > 0, "small batches were not taken")
    return name_of(refused)


def fetch_bytes_max(_fault, tenant, _topic):
    """What is asked for beyond it is cut, and comes with the next answer."""
    topic = tenant.topic(1)
    written = produce(tenant, topic, 2, 8_000)
    tenant.set(fetch_bytes_max="64K")
    flow = consume(tenant, topic, UNTIL_SECONDS, until=written.amount)
    require(flow.amount >= written.amount, f"{flow.amount} of {written.amount} bytes could be read")
    return f"{flow.amount} bytes, all of them"


# Connections.


def connections_max(_fault, tenant, topic):
    tenant.set(connections_max=5)
    clients = [(tenant.producer(heard), heard) for heard in [Heard() for _ in range(8)]]
    delivered = []
    for producer, _ in clients:
        producer.produce(topic, b"v", on_delivery=lambda error, _message: delivered.append(error))
    began, most = time.monotonic(), 0
    while time.monotonic() - began < SECONDS:
        for producer, _ in clients:
            producer.poll(0.02)
        most = max(most, tenant.explain()["connections"])
    waiting = len(clients) - len(delivered)
    require(most <= 5, f"{most} connections with a quota of 5")
    require(waiting > 0, "all clients were served")
    refused = [text for _, heard in clients for text in heard.was_refused_as_somebody()]
    require(not refused, f"taken for a failed login: {refused[:2]}")
    # Those who wait come in as soon as there is room.
    tenant.set(connections_max=20)
    until(lambda: [producer.poll(0.05) for producer, _ in clients] and len(delivered) == len(clients), "some never got in")
    require(not any(delivered), f"{delivered}")
    return f"{most} at once, {waiting} waited until there was room, no login failed"


def connection_attempts(_fault, tenant, topic):
    tenant.set(connection_attempts_per_second=1)
    began, delivered = time.monotonic(), []
    clients = [(tenant.producer(heard), heard) for heard in [Heard() for _ in range(8)]]
    for producer, _ in clients:
        producer.produce(topic, b"v", on_delivery=lambda error, _message: delivered.append(error))
    until(lambda: [producer.poll(0.02) for producer, _ in clients] and len(delivered) == len(clients), "some never got in")
    took = time.monotonic() - began
    refused = [text for _, heard in clients for text in heard.was_refused_as_somebody()]
    require(not refused and not any(delivered), f"{refused} {delivered}")
    require(took >= len(clients) - 3, f"{len(clients)} connections in {took:.1f} s with a quota of 1/s")
    counted = {one["quota"]: one["refused"] for one in tenant.explain()["refused"]}
    require(counted.get("connection_attempts_per_second", 0) > 0, f"the explanation counts {counted}")
    return f"{len(clients)} clients in {took:.1f} s, {counted['connection_attempts_per_second']} attempts put off, no login failed"


def until(condition, text):
    began = time.monotonic()
    while not condition():
        require(time.monotonic() - began < UNTIL_SECONDS, text)


def name_of(code):
    return KafkaError(code).name()


CHECKS = (
    bytes_in, bytes_out, requests, a_hot_partition, whoever_ignores_throttle_times, whoever_comes_back_anew,
    topic_operations, partition_changes, partitions_max, compacted_partitions_max,
    compacted_partition_bytes_max, groups_max, message_bytes_max, fetch_bytes_max, connections_max, connection_attempts,
)  # fmt: skip


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("quotas", play))
