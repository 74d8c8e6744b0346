"""A producer and a consumer of confluent-kafka that live on while their rights come and go."""

import os
import time

# Longer than any client's back-off; what is waited for comes within seconds.
PATIENCE_SECONDS = 60


def librdkafka(cluster, dev, errors):
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

    def token(_config):
        text, expires_ms = MSKAuthTokenProvider.generate_auth_token(os.environ["AWS_REGION"])
        return text, expires_ms / 1000

    return {
        "bootstrap.servers": cluster.bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": token,
        "ssl.ca.location": dev["ca_pem_path"],
        "error_cb": errors.append,
        "reconnect.backoff.max.ms": 1000,
        # A topic that librdkafka was refused stays refused in its own books until it looks again.
        "topic.metadata.refresh.interval.ms": 1000,
    }


class LastingProducer:
    """Not idempotent: a lost right is to be seen at the record it is lost for, and not at a producer id."""

    def __init__(self, cluster, dev, topic):
        from confluent_kafka import Producer

        self.topic, self.number, self.errors = topic, 0, []
        settings = librdkafka(cluster, dev, self.errors) | {"acks": "all", "message.timeout.ms": 5000}
        self.producer = Producer(settings | {"enable.idempotence": False})

    def send(self):
        """Sends one record and returns the code of its error, 0 if it is stored."""
        from confluent_kafka import KafkaException

        outcome, self.number = [], self.number + 1
        value = f"value-{self.number}".encode()
        try:
            self.producer.produce(self.topic, value, on_delivery=lambda error, _: outcome.append(error))
        except KafkaException as refused:
            self.producer.poll(0.2)
            return refused.args[0].code()

        def reported():
            self.producer.poll(0.1)
            return bool(outcome)

        until("a delivery report", reported)
        return outcome[0].code() if outcome[0] else 0

    def send_until(self, code):
        until(f"a record that ends with {code}", lambda: self.send() == code)


class LastingConsumer:
    """Reads one partition without a group: nobody is asked but the topic."""

    def __init__(self, cluster, dev, topic):
        from confluent_kafka import Consumer, TopicPartition

        self.errors, self.values = [], []
        settings = librdkafka(cluster, dev, self.errors) | {"group.id": "unused", "enable.auto.commit": False}
        self.consumer = Consumer(settings)
        self.consumer.assign([TopicPartition(topic, 0, 0)])

    def poll(self):
        """Takes one record, or returns the code of an error."""
        message = self.consumer.poll(0.2)
        if message is None:
            return None
        if message.error():
            return message.error().code()
        self.values.append(message.value().decode())
        return 0

    def read_until(self, value):
        until(f"the record {value}", lambda: self.poll() == 0 and self.values[-1] == value)

    def fail_until(self, code):
        until(f"error {code}", lambda: self.poll() == code)


def until(what, holds):
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what} did not come within {PATIENCE_SECONDS} s")
