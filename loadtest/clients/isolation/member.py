"""One tenant's round trip with kafka-python, AWS_MSK_IAM, as whoever the environment's credentials are. One JSON line.

Names of clusters lead to loopback in this process alone: the machine's own resolver stays untouched.
"""

import argparse
import json
import logging
import os
import socket
import sys

TIMEOUT_SECONDS = 30


def resolve_as_loopback(suffix):
    """Whatever ends with the suffix is here."""
    original = socket.getaddrinfo

    def resolve(host, *rest, **named):
        is_ours = isinstance(host, str) and host.endswith(suffix)
        return original("127.0.0.1" if is_ours else host, *rest, **named)

    socket.getaddrinfo = resolve


class LoginErrors(logging.Handler):
    """kafka-python keeps retrying a refused login; what it was told stands in its log."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.text = None

    def emit(self, record):
        message = record.getMessage()
        if "SaslAuthenticationFailedError" in message:
            self.text = self.text or message


def settings(arguments):
    return {
        "bootstrap_servers": arguments.bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_cafile": arguments.ca,
        "sasl_mechanism": "AWS_MSK_IAM",
    }


def round_trip(arguments):
    """Creates a topic, writes to it, reads it back in a group, and tells what can be seen of the cluster."""
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import NewTopic

    common = settings(arguments)
    admin = KafkaAdminClient(**common)
    admin.create_topics([NewTopic(arguments.topic, 3, -1)])
    producer = KafkaProducer(**common, acks="all")
    for number in range(arguments.records):
        producer.send(arguments.topic, f"{arguments.marker}-{number}".encode()).get(timeout=TIMEOUT_SECONDS)
    producer.close()
    consumer = KafkaConsumer(
        arguments.topic, **common, group_id=arguments.group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    values = []
    while len(values) < arguments.records:
        for batch in consumer.poll(timeout_ms=500).values():
            values += [record.value.decode() for record in batch]
    consumer.commit()
    seen = {
        "values": sorted(values),
        "topics": sorted(admin.list_topics()),
        "groups": sorted(listed_name(group) for group in admin.list_groups()),
        "brokers": sorted(broker["host"] for broker in admin.describe_cluster()["brokers"]),
    }
    consumer.close(autocommit=False)
    admin.close()
    return seen


def listed_name(group):
    """Releases of the library differ in whether they list names, pairs or objects."""
    if isinstance(group, str):
        return group
    return group["group_id"] if isinstance(group, dict) else group[0]


def login(arguments):
    """Whether this principal gets in, and what it is told if not."""
    from kafka import KafkaAdminClient

    errors = LoginErrors()
    logging.getLogger("kafka").addHandler(errors)
    try:
        KafkaAdminClient(**settings(arguments), bootstrap_timeout_ms=3000).list_topics()
    except Exception as error:
        return {"refused": errors.text or f"{type(error).__name__}: {error}"}
    return {"refused": None}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["round-trip", "login"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--suffix", help="what names end with that lead to loopback")
    parser.add_argument("--topic")
    parser.add_argument("--group")
    parser.add_argument("--marker")
    parser.add_argument("--records", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.suffix:
        resolve_as_loopback(arguments.suffix)
    print(json.dumps({"round-trip": round_trip, "login": login}[arguments.what](arguments)), flush=True)
    sys.stdout.flush()
    os._exit(0)  # Retrying threads must not keep a refused client alive.


if __name__ == "__main__":
    main()
