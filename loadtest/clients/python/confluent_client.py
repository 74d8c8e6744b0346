"""The scenario with confluent-kafka (librdkafka), SASL OAUTHBEARER."""

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import scenario
from connection import OAUTHBEARER, parse_arguments
from ledger import key_of, value_of

TIMEOUT_SECONDS = 30


def settings(connection):
    if connection.is_plaintext:
        return {"bootstrap.servers": connection.bootstrap}

    def oauth(_config):
        token, expiry_ms = connection.token()
        return token, expiry_ms / 1000

    return {
        "bootstrap.servers": connection.bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": oauth,
        "ssl.ca.location": connection.ca_file,
    }


class Member:
    def __init__(self, base, topic, group, on_assign):
        self.consumer = Consumer(
            base
            | {
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 500,
            }
        )

        def assigned(consumer, partitions):
            on_assign([partition.partition for partition in partitions])
            consumer.assign(partitions)
            consumer.resume(partitions)

        def revoked(consumer, _partitions):
            self.commit()
            consumer.unassign()

        self.consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)

    def poll(self):
        records = []
        for message in self.consumer.consume(num_messages=200, timeout=0.1):
            if message.error():
                raise KafkaException(message.error())
            records.append((message.partition(), message.offset(), message.key(), message.value()))
        return records

    def pause(self):
        self.consumer.pause(self.consumer.assignment())

    def commit(self):
        try:
            for partition in self.consumer.commit(asynchronous=False):
                if partition.error:
                    raise KafkaException(partition.error)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # Nothing was read since the last commit.
                raise

    def close(self):
        self.consumer.close()


class Client:
    name = "confluent-kafka"

    def __init__(self, connection):
        self.settings = settings(connection)
        self.admin = AdminClient(self.settings)
        # librdkafka asks for a token only when it is polled; the admin client polls by itself from the first call on.
        self.admin.poll(0)

    def create_topic(self, topic):
        self.admin.create_topics([NewTopic(topic, num_partitions=scenario.PARTITIONS)])[topic].result(TIMEOUT_SECONDS)

    def produce(self, topic, numbers, ledger):
        producer = Producer(self.settings | {"acks": "all", "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4"})
        failures = []

        def delivered(number):
            def report(error, message):
                if error is None:
                    ledger.acknowledge(number, message.partition(), message.offset())
                else:
                    failures.append(error)

            return report

        for number in numbers:
            producer.produce(topic, key=key_of(number), value=value_of(number), on_delivery=delivered(number))
            producer.poll(0)
        left = producer.flush(TIMEOUT_SECONDS)
        if left or failures:
            raise RuntimeError(f"{left} records not delivered, {len(failures)} refused: {failures[:1]}")

    def member(self, topic, group, on_assign):
        return Member(self.settings, topic, group, on_assign)

    def committed(self, group, topic):
        asked = [TopicPartition(topic, partition) for partition in range(scenario.PARTITIONS)]
        answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group].result(TIMEOUT_SECONDS)
        return {partition.partition: partition.offset for partition in answer.topic_partitions}

    def close(self):
        pass


if __name__ == "__main__":
    connection = parse_arguments(Client.name, [OAUTHBEARER])
    scenario.main(Client(connection), connection)
