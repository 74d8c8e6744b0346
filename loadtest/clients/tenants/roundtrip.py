"""A Kafka client with exactly the bootstrap string and keys it is given: creates a topic, produces, consumes.

The keys are the environment's; names that no resolver knows lead to loopback in this process alone."""

import argparse
import os
import socket
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

RECORDS = 100
TIMEOUT_SECONDS = 30


def resolve_as_loopback():
    """A resolver override for `*.kafka-serverless.*`, as a user would have in the hosts file."""
    original = socket.getaddrinfo

    def resolve(host, *rest, **named):
        return original("127.0.0.1" if ".kafka-serverless." in str(host) else host, *rest, **named)

    socket.getaddrinfo = resolve


def settings(bootstrap, ca):
    return {
        "bootstrap_servers": bootstrap,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "AWS_MSK_IAM",
        "ssl_cafile": ca,
        "bootstrap_timeout_ms": 10_000,
    }


def run(bootstrap, ca, topic, create=True):
    """Returns how many records made the round."""
    connection = settings(bootstrap, ca)
    if create:
        admin = KafkaAdminClient(**connection)
        admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=3)])
        admin.close()
    producer = KafkaProducer(**connection, acks="all")
    sent = [f"{topic}-{number}".encode() for number in range(RECORDS)]
    for future in [producer.send(topic, value) for value in sent]:
        future.get(timeout=TIMEOUT_SECONDS)
    producer.close()
    consumer = KafkaConsumer(topic, **connection, group_id=f"{topic}-readers", auto_offset_reset="earliest")
    read, deadline = [], time.monotonic() + TIMEOUT_SECONDS
    while len(read) < RECORDS and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=500).values():
            read += [record.value for record in records]
    consumer.close()
    if sorted(read) != sorted(sent):
        raise RuntimeError(f"{len(sent)} records were sent, {len(read)} read")
    return len(read)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--existing", action="store_true", help="the topic is there already")
    arguments = parser.parse_args()
    resolve_as_loopback()
    count = run(arguments.bootstrap, arguments.ca, arguments.topic, create=not arguments.existing)
    print(f"ok {count} records as {os.environ['AWS_ACCESS_KEY_ID']} at {arguments.bootstrap}")


if __name__ == "__main__":
    sys.exit(main())
