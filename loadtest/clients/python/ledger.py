"""What was produced, what was read back, and whether the two agree.

Record number n has key `key-NNN` (n modulo 200) and a value that names the key and the record's place
in the order of its key. So a reader that knows nothing else can tell a lost, a duplicated, a moved and
a reordered record apart. The same rule is written in every language of this folder.
"""

import threading

KEYS = 200
VALUE_BYTES = 100


class Disagreement(Exception):
    """The log did not keep a promise; the text names the record."""


def key_of(number):
    return f"key-{number % KEYS:03}".encode()


def value_of(number):
    text = f"key-{number % KEYS:03}/{number // KEYS:08}/"
    return text.ljust(VALUE_BYTES, "x").encode()


class Ledger:
    """Thread-safe: members of a group write to it at the same time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._seen = {}  # (partition, offset) -> (key, value)
        self._acknowledged = {}  # (partition, offset) -> record number
        self._next_offset = {}  # (member, partition) -> the offset it must be handed next
        self.redelivered = 0

    def acknowledge(self, number, partition, offset):
        """The server said that record `number` is at this place."""
        with self._lock:
            other = self._acknowledged.setdefault((partition, offset), number)
        if other != number:
            raise Disagreement(f"records {other} and {number} were both acknowledged at {partition}@{offset}")

    def reassigned(self, member):
        """After a rebalance a member may start again at a committed offset."""
        with self._lock:
            for place in [place for place in self._next_offset if place[0] == member]:
                del self._next_offset[place]

    def observe(self, member, partition, offset, key, value):
        """A member was handed this record; within one assignment offsets have neither holes nor repeats."""
        with self._lock:
            expected = self._next_offset.get((member, partition), offset)
            if offset != expected:
                raise Disagreement(f"{member} was handed {partition}@{offset} where {expected} was next")
            self._next_offset[(member, partition)] = offset + 1
            if (partition, offset) not in self._seen:
                self._seen[(partition, offset)] = (key, value)
                return
            self.redelivered += 1
            if self._seen[(partition, offset)] != (key, value):
                raise Disagreement(f"{partition}@{offset} has two values: {self._seen[(partition, offset)]} and {(key, value)}")

    def count(self):
        with self._lock:
            return len(self._seen)

    def ends(self, partitions):
        """The offset after the last one seen, for each partition."""
        with self._lock:
            ends = dict.fromkeys(range(partitions), 0)
            for partition, offset in self._seen:
                ends[partition] = max(ends[partition], offset + 1)
        return ends

    def check_complete(self, total):
        """All of 0..total was read: no hole, no duplicate, every key in order in one partition."""
        with self._lock:
            next_offset, next_of_key, home = {}, {}, {}
            for (partition, offset), (key, value) in sorted(self._seen.items()):
                if offset != next_offset.get(partition, 0):
                    raise Disagreement(f"partition {partition} jumps from {next_offset.get(partition, 0)} to {offset}")
                next_offset[partition] = offset + 1
                if home.setdefault(key, partition) != partition:
                    raise Disagreement(f"{key} is in partitions {home[key]} and {partition}")
                place = next_of_key.get(key, 0)
                next_of_key[key] = place + 1
                number = place * KEYS + int(key.decode().removeprefix("key-"))
                if value != value_of(number):
                    raise Disagreement(f"{partition}@{offset} holds {value!r}, expected {value_of(number)!r}")
            for place, number in self._acknowledged.items():
                if place not in self._seen:
                    raise Disagreement(f"record {number}, acknowledged at {place}, was not read back")
                if self._seen[place] != (key_of(number), value_of(number)):
                    raise Disagreement(f"record {number} was acknowledged at {place}, where {self._seen[place]} is")
            if len(self._seen) != total:
                raise Disagreement(f"read {len(self._seen)} records, expected {total}")
