"""A small paced producer and the group that reads what it wrote: what clients feel of a fault, measured and checked.

Both are confluent-kafka's (librdkafka) with their usual settings; nothing is forgiven that a program of a user would see.
"""

import threading
import time
from collections import Counter
from pathlib import Path

PARTITIONS = 12
PERIOD_SECONDS = 0.05
TICK_SECONDS = 0.005
FLOWING_SECONDS = 0.5
FLUSH_SECONDS = 150
CLOSE_SECONDS = 60
DEADLOCK_SECONDS = 5
# The number of the system call on x86-64.
FUTEX = "202"
# Lost connections, which clients mend by themselves and tell for information.
CONNECTION_LOST = {"_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE"}
# A client's own deadlines, allowed while what it asks for is away.
TIMEOUTS = {"_TIMED_OUT", "_MSG_TIMED_OUT", "REQUEST_TIMED_OUT", "_TIMED_OUT_QUEUE"}
# How a group tells its members to join again.
REJOIN = {"ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID"}


def librdkafka(facts, told):
    """Settings of every client; `told(source, error)` gets what librdkafka itself reports."""
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

    def token(_config):
        text, expires_ms = MSKAuthTokenProvider.generate_auth_token(facts["region"])
        return text, expires_ms / 1000

    return {
        "bootstrap.servers": facts["bootstrap_iam"],
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": token,
        "ssl.ca.location": facts["ca_pem_path"],
        "error_cb": lambda error: told("client", error),
    }


def librdkafka_is_deadlocked():
    """Whether a thread of librdkafka in this process waits for another one without a limit, for seconds: it never does else.

    Its threads can wait for each other when a broker goes while its OffsetForLeaderEpoch is not answered (librdkafka's issue
    5476). The group goes on without such a member, as with one that died."""

    def waiting():
        found = set()
        for task in Path("/proc/self/task").iterdir():
            # Number, address, operation, value, limit; a lock has no limit.
            call = (task / "syscall").read_text().split() if (task / "comm").read_text().startswith("rdk:main") else []
            if call[:1] == [FUTEX] and call[4] == "0x0":
                found.add((task.name, call[1]))
        return found

    before = waiting()
    time.sleep(DEADLOCK_SECONDS)
    return bool(before & waiting())


class Errors:
    """What clients were told, each with its moment: errors proper, timeouts that are allowed, calls to join a group again."""

    def __init__(self):
        self.lock, self.seen = threading.Lock(), []

    def told(self, source, error, allowed=frozenset()):
        name = error.name()
        if name in CONNECTION_LOST and not error.fatal():
            return
        kind = "timeout" if name in TIMEOUTS else "rejoin" if name in allowed else "error"
        self.note(kind, f"{source}: {name}: {error.str()}")

    def note(self, kind, text):
        with self.lock:
            self.seen.append((time.monotonic(), kind, text))

    def between(self, began, ended, kind):
        with self.lock:
            return [text for moment, of, text in self.seen if of == kind and began <= moment < ended]

    def of_kind(self, kind):
        return Counter(text for _, of, text in self.seen if of == kind)


class Probe:
    """Sends one record to each partition every 50 ms and notes when each was acknowledged."""

    def __init__(self, facts, topic):
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient, NewTopic

        self.topic, self.errors = topic, Errors()
        # By partition: the moments of acknowledgement; and by place the number of the record that was said to be there.
        self.acknowledged_at = [[] for _ in range(PARTITIONS)]
        self.places = {}
        settings = librdkafka(facts, self.errors.told)
        admin = AdminClient(settings)
        admin.poll(0)
        admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS)])[topic].result(30)
        self.producer = Producer(settings | {"acks": "all", "enable.idempotence": True, "linger.ms": 0})
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, name="probe", daemon=True)

    def start(self):
        self.thread.start()

    def run(self):
        number, due = 0, time.monotonic()
        while not self.done.is_set():
            for partition in range(PARTITIONS):
                self.producer.produce(self.topic, str(number).encode(), partition=partition, on_delivery=self.reported(number))
            number, due = number + 1, due + PERIOD_SECONDS
            self.producer.poll(0)
            while time.monotonic() < due:
                self.producer.poll(TICK_SECONDS)

    def reported(self, number):
        def report(error, message):
            if error is not None:
                self.errors.told("producer", error)
                return
            self.acknowledged_at[message.partition()].append(time.monotonic())
            self.places[message.partition(), message.offset()] = number

        return report

    def stop(self):
        """Waits for what is on its way; how many records were never settled."""
        self.done.set()
        self.thread.join()
        return self.producer.flush(FLUSH_SECONDS)

    def is_answered(self):
        """Whether every partition was acknowledged a moment ago."""
        now = time.monotonic()
        return all(moments and now - moments[-1] < FLOWING_SECONDS for moments in self.acknowledged_at)

    def gaps(self, began, ended):
        """For each partition, the longest time without an acknowledgement that reaches into the window, in seconds."""
        longest = []
        for moments in self.acknowledged_at:
            moments = list(moments)
            before = [moment for moment in moments if moment <= began][-1:] or [began]
            inside = [moment for moment in moments if began < moment <= ended]
            stops = [*before, *inside, ended]
            longest.append(max(later - earlier for earlier, later in zip(stops, stops[1:])))
        return longest


class Member:
    """One member of the group. It commits by itself, as members do, and notes which records it was given."""

    def __init__(self, facts, topic, group, errors, read):
        from confluent_kafka import Consumer

        self.errors, self.read = errors, read
        own = {"group.id": group, "auto.offset.reset": "earliest", "auto.commit.interval.ms": 1000, "on_commit": self.committed}
        self.consumer = Consumer(librdkafka(facts, errors.told) | own)
        self.consumer.subscribe([topic])
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, name="member", daemon=True)

    def start(self):
        self.thread.start()

    def committed(self, error, partitions):
        for one in {each.error.name(): each.error for each in partitions if each.error}.values() if not error else [error]:
            if one.name() != "_NO_OFFSET":
                self.errors.told("commit", one, REJOIN)

    def run(self):
        while not self.done.is_set():
            for message in self.consumer.consume(num_messages=500, timeout=0.2):
                if message.error():
                    self.errors.told("consumer", message.error(), REJOIN)
                else:
                    self.note((message.partition(), message.offset()), int(message.value()))

    def note(self, place, number):
        earlier = self.read.setdefault(place, number)
        if earlier != number:
            self.errors.note("error", f"consumer: {place} held {earlier} and later {number}")

    def stop(self):
        """Whether it ended."""
        self.done.set()
        closing = threading.Thread(target=self.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        return not closing.is_alive()

    def close(self):
        self.thread.join()
        self.consumer.close()


class Group:
    """Two members; together they must be given every acknowledged record, at the place that was acknowledged."""

    def __init__(self, facts, topic):
        self.errors, self.read, self.deadlocked = Errors(), {}, 0
        self.members = [Member(facts, topic, f"{topic}-readers", self.errors, self.read) for _ in range(2)]

    def start(self):
        for member in self.members:
            member.start()

    def findings(self, places, seconds):
        """What is wrong once everything had time to be read: nothing, or a sentence for each kind."""
        deadline = time.monotonic() + seconds
        while not places.keys() <= self.read.keys() and time.monotonic() < deadline:
            time.sleep(0.2)
        hung = [member.stop() for member in self.members].count(False)
        self.deadlocked = hung if hung and librdkafka_is_deadlocked() else 0
        missing = sorted(places.keys() - self.read.keys())
        wrong = sorted(place for place, number in places.items() if self.read.get(place, number) != number)
        found = [f"{hung} members did not end within {CLOSE_SECONDS} s"] if hung > self.deadlocked else []
        found += [f"the group was not given {len(missing)} acknowledged records, such as {missing[:3]}"] if missing else []
        found += [f"the group was given other records at {len(wrong)} places, such as {wrong[:3]}"] if wrong else []
        return found + self.disorder()

    def disorder(self):
        """Within a partition, a producer's numbers rise with the offsets; none comes twice."""
        last = {}
        for (partition, offset), number in sorted(self.read.items()):
            if number <= last.get(partition, -1):
                return [f"partition {partition} has record {number} at {offset} after {last[partition]}"]
            last[partition] = number
        return []
