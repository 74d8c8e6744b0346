"""A tenant of a running server: its clients (librdkafka, SASL OAUTHBEARER), and the operator who sets its quotas."""

import json
import os
import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from connection import OAUTHBEARER, Connection  # noqa: E402

TIMEOUT_SECONDS = 30
CLUSTER = "demo"


class Heard:
    """What one client was told beside its answers: throttle times, and errors of its connections."""

    def __init__(self):
        self.throttle_ms, self.errors = 0, []

    def settings(self):
        return {
            "statistics.interval.ms": 200,
            "stats_cb": self.statistics,
            "error_cb": lambda error: self.errors.append(error),
        }

    def statistics(self, text):
        for broker in json.loads(text)["brokers"].values():
            self.throttle_ms = max(self.throttle_ms, broker["throttle"]["max"])

    def was_refused_as_somebody(self):
        """An authentication failure would make a client give up."""
        fatal = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._FATAL}
        return [str(error) for error in self.errors if error.code() in fatal]


class Tenant:
    def __init__(self, server):
        self.server = server
        dev = server.dev
        connection = Connection(dev, OAUTHBEARER)
        # Where the signer looks for them.
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = dev["access_key_id"], dev["secret_access_key"]

        def oauth(_config):
            token, expiry_ms = connection.token()
            return token, expiry_ms / 1000

        self.base = {
            "bootstrap.servers": connection.bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "OAUTHBEARER",
            "oauth_cb": oauth,
            "ssl.ca.location": connection.ca_file,
        }
        self.admin = AdminClient(self.base)

    # The operator.

    def set(self, **quotas):
        """Sets quotas; the others go back to their defaults."""
        listed = self.server.operator("quota", "list", "--cluster", CLUSTER).splitlines()[1:]
        marked = {line.split("*")[0]: "default" for line in listed if "*" in line.split()[0]}
        wanted = marked | quotas
        if wanted:
            words = [f"{key}={value}" for key, value in wanted.items()]
            self.server.operator("quota", "set", "--cluster", CLUSTER, *words)

    def explain(self):
        return json.loads(self.server.operator("quota", "explain", "--cluster", CLUSTER, "--json"))

    # Clients.

    def topic(self, partitions=1, timeout=TIMEOUT_SECONDS, **configs):
        """Creates a topic; an error is raised as the client got it."""
        name = f"t-{uuid.uuid4().hex[:8]}"
        futures = self.admin.create_topics(
            [NewTopic(name, partitions, config=configs)], operation_timeout=timeout, request_timeout=timeout
        )
        futures[name].result(timeout * 2)
        return name

    def producer(self, heard, **settings):
        # Nothing is given up that the server may still want to slow down.
        return Producer(self.base | heard.settings() | {"linger.ms": 5, "message.timeout.ms": 120_000} | settings)

    def consumer(self, heard, **settings):
        group = {"group.id": f"g-{uuid.uuid4().hex[:8]}", "auto.offset.reset": "earliest"}
        return Consumer(self.base | heard.settings() | group | settings)


class Flow:
    """What came through in a time."""

    def __init__(self, amount, seconds, throttle_ms):
        self.amount, self.seconds, self.throttle_ms = amount, seconds, throttle_ms

    @property
    def rate(self):
        return self.amount / self.seconds

    def within(self, quota, largest=0):
        """Not more than the quota gives in that time, what was saved up before, and its error bound: 5 % and one largest request."""
        return self.amount <= quota * (self.seconds + 1) * 1.05 + largest


def drop(producer):
    """Ends a producer with what it still holds."""
    producer.purge()
    producer.poll(0)


def produce(tenant, topic, seconds, value_bytes, partition=-1, **settings):
    """As fast as it goes, for so long; what was acknowledged, and the errors."""
    heard, delivered, errors = Heard(), [0], []

    def acknowledged(error, message):
        if error:
            errors.append(error)
        else:
            delivered[0] += len(message)

    producer = tenant.producer(heard, **({"queue.buffering.max.kbytes": 4096} | settings))
    value, began = b"v" * value_bytes, time.monotonic()
    while time.monotonic() - began < seconds and not errors:
        try:
            where = {} if partition < 0 else {"partition": partition}
            producer.produce(topic, value, on_delivery=acknowledged, **where)
            producer.poll(0)
        except BufferError:
            producer.poll(0.05)
    took, amount, refused = time.monotonic() - began, delivered[0], list(errors)
    drop(producer)
    if refused:
        raise KafkaException(refused[0])
    return Flow(amount, took, heard.throttle_ms)


def consume(tenant, topic, seconds, partitions=1, until=None, **settings):
    """Reads from the beginning, for so long or until so many bytes."""
    heard, amount = Heard(), 0
    consumer = tenant.consumer(heard, **settings)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    began = time.monotonic()
    while time.monotonic() - began < seconds and (until is None or amount < until):
        for message in consumer.consume(num_messages=500, timeout=0.1):
            if message.error():
                raise KafkaException(message.error())
            amount += len(message)
    took = time.monotonic() - began
    consumer.close()
    return Flow(amount, took, heard.throttle_ms)
