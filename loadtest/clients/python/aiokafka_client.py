"""The scenario with aiokafka, SASL OAUTHBEARER. One event loop on its own thread serves the scenario's threads."""

import asyncio
import ssl
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import scenario
from connection import OAUTHBEARER, parse_arguments
from ledger import key_of, value_of

TIMEOUT_SECONDS = 60


class Loop:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT_SECONDS)


def settings(connection):
    common = {"bootstrap_servers": connection.bootstrap}
    if connection.is_plaintext:
        return common

    class Signer(AbstractTokenProvider):
        async def token(self):
            return await asyncio.get_running_loop().run_in_executor(None, lambda: connection.token()[0])

    return common | {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=connection.ca_file),
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth_token_provider": Signer(),
    }


class Listener(ConsumerRebalanceListener):
    def __init__(self, consumer, on_assign):
        self.consumer, self.assigned = consumer, on_assign

    async def on_partitions_revoked(self, revoked):
        if revoked:
            await self.consumer.commit()

    async def on_partitions_assigned(self, assigned):
        self.assigned([partition.partition for partition in assigned])


class Member:
    def __init__(self, loop, base, topic, group, on_assign):
        self.loop = loop
        loop.run(self.start(base, topic, group, on_assign))

    async def start(self, base, topic, group, on_assign):
        self.consumer = AIOKafkaConsumer(
            **base,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=500,
        )
        self.consumer.subscribe([topic], listener=Listener(self.consumer, on_assign))
        await self.consumer.start()

    def poll(self):
        batches = self.loop.run(self.consumer.getmany(timeout_ms=100, max_records=500))
        return [(r.partition, r.offset, r.key, r.value) for batch in batches.values() for r in batch]

    def pause(self):
        self.loop.run(self.pause_on_loop())

    async def pause_on_loop(self):
        self.consumer.pause(*self.consumer.assignment())

    def commit(self):
        self.loop.run(self.consumer.commit())

    def close(self):
        self.loop.run(self.consumer.stop())


class Client:
    name = "aiokafka"

    def __init__(self, connection):
        self.settings, self.loop = settings(connection), Loop()
        # aiokafka cannot leave the choice to the server. A single Apache Kafka broker has only one replica to give.
        self.replication_factor = 1 if connection.is_plaintext else 3
        self.admin = self.loop.run(self.start_admin())

    async def start_admin(self):
        admin = AIOKafkaAdminClient(**self.settings)
        await admin.start()
        return admin

    def create_topic(self, topic):
        answer = self.loop.run(self.admin.create_topics([NewTopic(topic, scenario.PARTITIONS, self.replication_factor)]))
        for name, code, *text in answer.topic_errors:
            if code:
                raise RuntimeError(f"create {name}: error {code} {text}")

    def produce(self, topic, numbers, ledger):
        self.loop.run(self.produce_all(topic, numbers, ledger))

    async def produce_all(self, topic, numbers, ledger):
        producer = AIOKafkaProducer(**self.settings, acks="all", enable_idempotence=True, linger_ms=5, compression_type="gzip")
        await producer.start()
        try:
            sent = [(number, await producer.send(topic, key=key_of(number), value=value_of(number))) for number in numbers]
            for number, future in sent:
                metadata = await future
                ledger.acknowledge(number, metadata.partition, metadata.offset)
        finally:
            await producer.stop()

    def member(self, topic, group, on_assign):
        return Member(self.loop, self.settings, topic, group, on_assign)

    def committed(self, group, _topic):
        offsets = self.loop.run(self.admin.list_consumer_group_offsets(group))
        return {partition.partition: offset.offset for partition, offset in offsets.items()}

    def close(self):
        self.loop.run(self.admin.close())


if __name__ == "__main__":
    connection = parse_arguments(Client.name, [OAUTHBEARER])
    scenario.main(Client(connection), connection)
