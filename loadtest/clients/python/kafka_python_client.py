"""The scenario with kafka-python, SASL AWS_MSK_IAM (built in) or OAUTHBEARER."""

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

import scenario
from connection import AWS_MSK_IAM, OAUTHBEARER, parse_arguments
from ledger import key_of, value_of

TIMEOUT_SECONDS = 30


def settings(connection):
    common = {"bootstrap_servers": connection.bootstrap}
    if connection.is_plaintext:
        return common
    common |= {"security_protocol": "SASL_SSL", "ssl_cafile": connection.ca_file, "sasl_mechanism": connection.mechanism}
    if connection.mechanism == OAUTHBEARER:
        from kafka.net.sasl.oauth import AbstractTokenProvider

        class Signer(AbstractTokenProvider):
            def token(self):
                return connection.token()[0]

        common["sasl_oauth_token_provider"] = Signer()
    return common


class Listener(AsyncConsumerRebalanceListener):
    def __init__(self, member, on_assign):
        self.member, self.assigned = member, on_assign

    async def on_partitions_revoked(self, _revoked):
        await self.member.consumer.commit_async()

    async def on_partitions_assigned(self, assigned):
        self.member.consumer.resume(*assigned)  # A pause outlives a rebalance here.
        self.assigned([partition.partition for partition in assigned])


class Member:
    def __init__(self, base, topic, group, on_assign):
        self.consumer = KafkaConsumer(
            **base,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=500,
        )
        self.consumer.subscribe([topic], listener=Listener(self, on_assign))

    def poll(self):
        batches = self.consumer.poll(timeout_ms=100)
        return [(r.partition, r.offset, r.key, r.value) for batch in batches.values() for r in batch]

    def pause(self):
        self.consumer.pause(*self.consumer.assignment())

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close(autocommit=False)


class Client:
    name = "kafka-python"

    def __init__(self, connection):
        self.settings = settings(connection)
        self.admin = KafkaAdminClient(**self.settings)

    def create_topic(self, topic):
        self.admin.create_topics([NewTopic(topic, scenario.PARTITIONS, -1)])

    def produce(self, topic, numbers, ledger):
        producer = KafkaProducer(**self.settings, acks="all", enable_idempotence=True, linger_ms=5, compression_type="gzip")
        sent = [(number, producer.send(topic, key=key_of(number), value=value_of(number))) for number in numbers]
        for number, future in sent:
            metadata = future.get(timeout=TIMEOUT_SECONDS)
            ledger.acknowledge(number, metadata.partition, metadata.offset)
        producer.close(timeout=TIMEOUT_SECONDS)

    def member(self, topic, group, on_assign):
        return Member(self.settings, topic, group, on_assign)

    def committed(self, group, _topic):
        offsets = self.admin.list_group_offsets({group: None})[group]
        return {partition.partition: offset.offset for partition, offset in offsets.items()}

    def close(self):
        self.admin.close()


if __name__ == "__main__":
    connection = parse_arguments(Client.name, [AWS_MSK_IAM, OAUTHBEARER])
    scenario.main(Client(connection), connection)
