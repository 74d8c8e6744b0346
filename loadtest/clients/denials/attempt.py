"""A real client that tries one thing and tells, as one JSON line, how it was refused. Runs in a process of its own,

so that its clock can be shifted (`faketime`) and its credentials are the environment's.
"""

import argparse
import json
import logging
import os
import ssl
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

TIMEOUT_SECONDS = 10


def resolve_as_loopback(name):
    """Lets a client dial a name that is not in any resolver: the machine's own settings stay untouched."""
    import socket

    original = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **named: original("127.0.0.1" if host == name else host, *rest, **named)


def unverified():
    """A client with a wrong clock would stumble over the certificate's dates before it could log in."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class LastError(logging.Handler):
    """kafka-python keeps retrying; what it was told stands in its log.

    It throws an answer away that it reads together with the end of the stream: a server that closes too soon behind a
    refusal never gets its text to the user, and this program sees "Unable to bootstrap" as the user would.
    """

    def __init__(self):
        super().__init__(logging.ERROR)
        self.text = None

    def emit(self, record):
        message = record.getMessage()
        if "SaslAuthenticationFailedError" in message:
            self.text = self.text or message


def kafka_python_login(arguments):
    from kafka import KafkaAdminClient
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class GivenToken(AbstractTokenProvider):
        def token(self):
            return arguments.token

    last = LastError()
    logging.getLogger("kafka").addHandler(last)
    settings = {"security_protocol": "SASL_SSL", "ssl_context": unverified(), "sasl_mechanism": "AWS_MSK_IAM"}
    if arguments.token:
        settings |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": GivenToken()}
    try:
        admin = KafkaAdminClient(bootstrap_servers=arguments.bootstrap, bootstrap_timeout_ms=2000, **settings)
        admin.list_topics()
    except Exception as error:
        # The class stands for error code 58: kafka-python has one for each code.
        return {"code": 58 if last.text else None, "text": last.text or f"{type(error).__name__}: {error}"}
    return {"code": 0, "text": "logged in"}


def librdkafka_settings(arguments, seen):
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

    def token(_config):
        # librdkafka has no use for a token that its own clock calls expired; the server is to judge it.
        return MSKAuthTokenProvider.generate_auth_token(os.environ["AWS_REGION"])[0], time.time() + 900

    return {
        "bootstrap.servers": arguments.bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": token,
        "enable.ssl.certificate.verification": False,
        "error_cb": seen.append,
        "reconnect.backoff.ms": 1000,  # It retries a refused login for ever; once a second is enough.
    }


def confluent_login(arguments):
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    seen = []
    admin = AdminClient(librdkafka_settings(arguments, seen))
    for _ in range(TIMEOUT_SECONDS):
        try:
            admin.list_topics(timeout=1)
            return {"code": 0, "text": "logged in"}
        except KafkaException:
            admin.poll(0)
        refused = next((error for error in seen if error.code() == KafkaError._AUTHENTICATION), None)
        if refused:
            return {"code": 58, "text": refused.str()}
    return {"code": None, "text": str([error.str() for error in seen])}


def produce(arguments):
    from confluent_kafka import Producer

    seen, outcome = [], []
    settings = librdkafka_settings(arguments, seen) | {"acks": "all", "enable.idempotence": arguments.idempotent}
    producer = Producer(settings)
    # A producer id may be refused before the first record. Then both calls raise, and only some exceptions say why.
    with raised_into(seen):
        producer.produce(arguments.topic, key=b"k", value=b"v", on_delivery=lambda error, _message: outcome.append(error))
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not outcome and not any(map(is_refusal, seen)) and time.monotonic() < deadline:
        with raised_into(seen):
            producer.poll(0.1)
    error = next(filter(is_refusal, seen), None) or (outcome and outcome[0])
    return told(error) if error or outcome else {"code": None, "text": str(seen)}


@contextmanager
def raised_into(errors):
    """Collects what librdkafka raises, as its callbacks do with what it tells."""
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        errors.append(error.args[0])


def is_refusal(error):
    """A fatal error that names the server's code; librdkafka's own code says only that there was one."""
    return error.fatal() and error.code() > 0


def consume(arguments):
    from confluent_kafka import Consumer, TopicPartition

    seen = []
    settings = librdkafka_settings(arguments, seen) | {"group.id": arguments.group, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"enable.auto.commit": False})
    if arguments.partition:
        consumer.assign([TopicPartition(arguments.topic, 0, 0)])  # No group is asked, so the topic itself is.
    else:
        consumer.subscribe([arguments.topic])
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error():
            return told(message.error())
        if message is not None:
            return told(None)
    return {"code": None, "text": str(seen)}


def create_topic(arguments):
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(librdkafka_settings(arguments, []))
    admin.poll(0)
    try:
        admin.create_topics([NewTopic(arguments.topic, num_partitions=1)])[arguments.topic].result(TIMEOUT_SECONDS)
    except KafkaException as error:
        return told(error.args[0])
    return told(None)


def told(error):
    return {"code": error.code(), "text": error.str()} if error else {"code": 0, "text": "allowed"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kafka-python-login", "confluent-login", "produce", "consume", "create-topic"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--name", help="dial this name; it resolves to loopback in this process alone")
    parser.add_argument("--token", help="an OAUTHBEARER token as it is")
    parser.add_argument("--topic")
    parser.add_argument("--group", default="denied-group")
    parser.add_argument("--partition", action="store_true", help="read a partition without a group")
    parser.add_argument("--idempotent", action="store_true")
    arguments = parser.parse_args()
    if arguments.name:
        resolve_as_loopback(arguments.name)
        arguments.bootstrap = f"{arguments.name}:{arguments.bootstrap.rpartition(':')[2]}"
    programs = {
        "kafka-python-login": kafka_python_login,
        "confluent-login": confluent_login,
        "produce": produce,
        "consume": consume,
        "create-topic": create_topic,
    }
    print(json.dumps(programs[arguments.what](arguments)), flush=True)
    os._exit(0)  # Retrying threads must not keep a refused client alive.


if __name__ == "__main__":
    main()
