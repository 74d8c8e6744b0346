"""The scenario with kcat on the plaintext listener; topics come into being by auto-creation.

Such a topic has one partition unless the server is told otherwise, so there are six of them, and what the scenario
calls a partition is a partition of one of these topics. kcat commits by itself what it has handed on, and again when it ends. Its output is read to the very end,
so what it committed and what was read here agree.
"""

import json
import queue
import re
import shutil
import subprocess
import threading

import scenario
from connection import PLAINTEXT, parse_arguments
from ledger import KEYS, key_of, value_of

TIMEOUT_SECONDS = 60
# "% Group G rebalanced (memberid M): assigned: topic [0], topic [1]"
ASSIGNED = re.compile(r"rebalanced .*assigned: (.*)")
PLACE = re.compile(r"(\S+) \[(\d+)\]")
TOPICS = 6
# Small fetches, so that a member which is not read from does not run ahead far.
SMALL_FETCHES = ["-X", "queued.min.messages=300", "-X", "max.partition.fetch.bytes=4096"]


def kcat(connection, *arguments):
    return ["kcat", "-b", connection.bootstrap, *arguments]


def run(command, lines=None):
    return subprocess.run(command, input=lines, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_SECONDS).stdout


class Member:
    def __init__(self, connection, numbers, group, on_assign):
        self.numbers, self.on_assign = numbers, on_assign
        self.lines, self.ended = queue.Queue(maxsize=100), False
        topics = sorted({topic for topic, _ in numbers})
        self.process = subprocess.Popen(
            kcat(connection, *SMALL_FETCHES, "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=10000")
            + ["-X", "heartbeat.interval.ms=500", "-X", "partition.assignment.strategy=roundrobin"]
            + ["-J", "-u", "-G", group, *topics],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        threading.Thread(target=self.read_output, daemon=True).start()
        threading.Thread(target=self.read_notices, daemon=True).start()

    def read_output(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.ended = True

    def read_notices(self):
        for line in self.process.stderr:
            assigned = ASSIGNED.search(line.decode())
            if assigned:
                self.on_assign([self.numbers[topic, int(partition)] for topic, partition in PLACE.findall(assigned.group(1))])
            elif b"ERROR" in line:
                print(line.decode(), end="", flush=True)

    def poll(self):
        records = []
        while len(records) < 200:
            try:
                record = json.loads(self.lines.get(timeout=0.1 if not records else 0))
            except queue.Empty:
                break
            place = self.numbers[record["topic"], record["partition"]]
            records.append((place, record["offset"], record["key"].encode(), record["payload"].encode()))
        return records

    def pause(self):
        """A full pipe stops it."""

    def commit(self):
        """kcat commits when it ends."""

    def close(self):
        self.process.terminate()
        while not self.ended or not self.lines.empty():
            if self.poll():
                raise RuntimeError("kcat handed on records after the last one")
        if self.process.wait(TIMEOUT_SECONDS):
            raise RuntimeError(f"kcat ended with status {self.process.returncode}")


class Client:
    name = "kcat"

    def __init__(self, connection):
        if not shutil.which("kcat"):
            raise SystemExit("kcat is not installed; Debian's package is `kcat`")
        self.connection = connection

    def create_topic(self, topic):
        """Asks for metadata of topics that do not exist, which makes them."""
        self.topics = [f"{topic}-{number}" for number in range(TOPICS)]
        places = []
        for name in self.topics:
            answer = run(kcat(self.connection, "-L", "-J", "-t", name))
            # The first answer may still call a new topic unavailable.
            while not (partitions := json.loads(answer)["topics"][0]["partitions"]):
                answer = run(kcat(self.connection, "-L", "-J", "-t", name))
            places += [(name, partition["partition"]) for partition in partitions]
        self.numbers = {place: number for number, place in enumerate(places)}
        self.partitions = sorted(self.numbers.values())

    def produce(self, _topic, numbers, _ledger):
        """A key always goes to the same topic."""
        for remainder, name in enumerate(self.topics):
            chosen = [number for number in numbers if number % KEYS % TOPICS == remainder]
            lines = b"".join(key_of(number) + b"|" + value_of(number) + b"\n" for number in chosen)
            settings = ["-X", "acks=all", "-X", "enable.idempotence=true", "-X", "batch.num.messages=100"]
            run(kcat(self.connection, *settings, "-P", "-t", name, "-K", "|"), lines)

    def member(self, _topic, group, on_assign):
        return Member(self.connection, self.numbers, group, on_assign)

    def committed(self, _group, _topic):
        """kcat has no way to ask; the restarted member shows it."""
        return None

    def close(self):
        pass


if __name__ == "__main__":
    connection = parse_arguments(Client.name, [PLAINTEXT])
    scenario.main(Client(connection), connection)
