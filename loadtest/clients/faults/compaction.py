#!/usr/bin/env python3
"""A compacted topic with real clients: of each key the newest record stays where it was, also when the server is killed.

Producers write keys again and again, under every codec, and delete some; the server compacts meanwhile and is killed with
SIGKILL. Then clients read the topics from their beginning: each must find the newest value of every key, at the offset it was
acknowledged at, and far fewer records than were written. A record without a key is refused.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "quotas"))

import aiokafka_client  # noqa: E402
import kafka_python_client  # noqa: E402
from aiokafka import AIOKafkaConsumer  # noqa: E402
from aiokafka import TopicPartition as AioPlace  # noqa: E402
from confluent_kafka import KafkaError  # noqa: E402
from confluent_kafka import TopicPartition as Place  # noqa: E402
from connection import OAUTHBEARER, Connection  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402
from kafka import KafkaConsumer  # noqa: E402
from kafka import TopicPartition as KafkaPlace  # noqa: E402
from tenant import Heard, Tenant  # noqa: E402

KEYS, ROUNDS = 50, 200
RECORDS_A_ROUND, DELETED = 5, 0.1
# What was written last may not be compacted yet.
LEFT_MAX = 2 * KEYS
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# What Python's own clients read without further libraries.
PLAIN_CODECS = ("none", "gzip")
# So that there is something to compact within seconds.
CONFIG = "[storage]\nchunk_age_ms = 500\nmanifest_flushes_max = 4\n"
COMPACTED_SECONDS, POLL_SECONDS = 90, 60


class Writer:
    """Writes keys again and again, and knows what was acknowledged: by offset, key and value."""

    def __init__(self, tenant, codecs):
        self.topic = tenant.topic(**{"cleanup.policy": "compact"})
        self.choose, self.written = random.Random(7), {}
        self.producers = [tenant.producer(Heard(), **{"compression.type": codec, "linger.ms": 20}) for codec in codecs]

    def write(self, rounds):
        for number in range(rounds):
            producer = self.producers[number % len(self.producers)]
            for _ in range(RECORDS_A_ROUND):
                key = f"key-{self.choose.randrange(KEYS)}"
                value = None if self.choose.random() < DELETED else f"{number}-" + "x" * self.choose.randrange(200)
                producer.produce(self.topic, key=key, value=value, partition=0, on_delivery=self.noted)
            # One codec after the other, so that offsets tell who came last.
            require(producer.flush(POLL_SECONDS) == 0, "a record was not settled")

    def noted(self, error, message):
        require(error is None, f"a record was refused: {error}")
        self.written[message.offset()] = record_of(message.key(), message.value())


def play(fault):
    config = fault.work / "headgate.toml"
    config.write_text(CONFIG)
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(config)])
    with server:
        tenant = Tenant(server)
        writers = [Writer(tenant, codecs) for codecs in (CODECS, PLAIN_CODECS)]
        for writer in writers:
            writer.write(ROUNDS)
        wait_until_compacted(fault, tenant, writers)
        for writer in writers:
            writer.write(ROUNDS)
        server.kill()
        server.start()
        for writer in writers:
            check("after SIGKILL", writer.written, read(tenant, writer.topic))
        wait_until_compacted(fault, tenant, writers)
        plain = writers[-1]
        found = {name: reads(server, plain.topic) for name, reads in (("kafka-python", kafka_python), ("aiokafka", aiokafka))}
        found["librdkafka"] = read(tenant, plain.topic)
        for name, records in found.items():
            check(name, plain.written, records)
            require(len(records) <= LEFT_MAX, f"{name} found {len(records)} records")
        refused = keyless(tenant, plain.topic)
        require(refused == KafkaError.INVALID_RECORD, f"a record without a key got {refused}")
    written, left = len(plain.written), len(found["librdkafka"])
    return f"{written} records of {KEYS} keys, {left} left; three clients found every newest one"


def read(tenant, topic):
    """Everything from the beginning to the end as it is now: by offset, key and value."""
    consumer = tenant.consumer(Heard())
    try:
        _, end = consumer.get_watermark_offsets(Place(topic, 0), timeout=POLL_SECONDS)
        consumer.assign([Place(topic, 0, 0)])
        found, began = {}, time.monotonic()
        while consumer.position([Place(topic, 0)])[0].offset < end:
            require(time.monotonic() - began < POLL_SECONDS, f"the reader does not reach the end, {end}")
            for message in consumer.consume(500, timeout=1):
                require(message.error() is None, f"the reader got {message.error()}")
                found[message.offset()] = record_of(message.key(), message.value())
        return found
    finally:
        consumer.close()


def kafka_python(server, topic):
    connection, place = Connection(server.dev, OAUTHBEARER), KafkaPlace(topic, 0)
    consumer = KafkaConsumer(**kafka_python_client.settings(connection))
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end, found, began = consumer.end_offsets([place])[place], {}, time.monotonic()
    while consumer.position(place) < end:
        require(time.monotonic() - began < POLL_SECONDS, f"kafka-python does not reach the end, {end}")
        for records in consumer.poll(timeout_ms=1000).values():
            found |= {one.offset: record_of(one.key, one.value) for one in records}
    consumer.close()
    return found


def aiokafka(server, topic):
    async def play():
        connection, place = Connection(server.dev, OAUTHBEARER), AioPlace(topic, 0)
        consumer = AIOKafkaConsumer(**aiokafka_client.settings(connection))
        await consumer.start()
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end, found = (await consumer.end_offsets([place]))[place], {}
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(place, timeout_ms=1000)).values():
                found |= {one.offset: record_of(one.key, one.value) for one in records}
        await consumer.stop()
        return found

    return asyncio.run(asyncio.wait_for(play(), POLL_SECONDS))


def record_of(key, value):
    return key.decode(), None if value is None else value.decode()


def check(who, written, found):
    """The newest record of each key is there, what is there was written there, and the last one is there."""
    newest = {key: offset for offset, (key, _) in sorted(written.items())}
    for key, offset in newest.items():
        require(found.get(offset) == written[offset], f"{who}: the newest of {key}, at {offset}, is {found.get(offset)}")
    for offset, record in found.items():
        require(written.get(offset) == record, f"{who}: at {offset} stands {record}, written was {written.get(offset)}")


def wait_until_compacted(fault, tenant, writers):
    began = time.monotonic()
    for writer in writers:
        while True:
            found = read(tenant, writer.topic)
            check("while it compacts", writer.written, found)
            if len(found) <= LEFT_MAX:
                break
            require(time.monotonic() - began < COMPACTED_SECONDS, f"still {len(found)} records of {KEYS} keys")
            time.sleep(1)
        fault.say(f"{len(writer.written)} records written, {len(found)} left after {time.monotonic() - began:.0f} s")


def keyless(tenant, topic):
    got = []
    producer = tenant.producer(Heard())
    producer.produce(topic, value="no key", on_delivery=lambda error, _: got.append(error and error.code()))
    producer.flush(POLL_SECONDS)
    return got[0] if got else KafkaError._TIMED_OUT


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("compaction", play))
