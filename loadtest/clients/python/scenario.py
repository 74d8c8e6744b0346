"""The scenario of every client: produce, read in a group through a rebalance, commit, restart, continue.

A client gives two small classes. `Client`: `name`, `create_topic(topic)`, `produce(topic, numbers, ledger)`,
`member(topic, group, on_assign)`, `committed(group, topic)`, `close()`. `Member`, used by one thread:
`poll()` (a short wait, then a list of `(partition, offset, key, value)`), `pause()`, `commit()`, `close()`;
it calls `on_assign(partitions)` at each assignment, resumed, and commits what it returned when partitions are revoked.
"""

import os
import sys
import threading
import time
import traceback

from connection import fresh_name
from ledger import Disagreement, Ledger

PARTITIONS = 6
RECORDS = 10_000
MORE_RECORDS = 1_000
REBALANCE_AFTER = 2_000
DEADLINE_SECONDS = 120


class Reader(threading.Thread):
    """One member of the group, on a thread of its own."""

    def __init__(self, scenario, name, pause_after=None):
        super().__init__(name=name, daemon=True)
        self.scenario, self.pause_after = scenario, pause_after
        self.assignments = []
        self.paused = threading.Event()
        self.finish = threading.Event()
        self.committed, self.closing = threading.Event(), threading.Event()

    def on_assign(self, partitions):
        self.scenario.ledger.reassigned(self.name)
        self.assignments.append(sorted(partitions))

    def run(self):
        try:
            member = self.scenario.client.member(self.scenario.topic, self.scenario.group, self.on_assign)
            while not self.finish.is_set():
                self.read(member)
            member.commit()
            self.committed.set()
            self.closing.wait()
            member.close()
        except BaseException as error:  # A thread's error must fail the program, not vanish.
            traceback.print_exc()
            self.scenario.failure = self.scenario.failure or error

    def read(self, member):
        for partition, offset, key, value in member.poll():
            self.scenario.ledger.observe(self.name, partition, offset, key, value)
        if self.pause_after and self.scenario.ledger.count() >= self.pause_after:
            # Without a pause a fast member would have read everything before the second one has joined.
            self.pause_after = None
            member.pause()
            self.paused.set()


class Scenario:
    def __init__(self, client, mechanism):
        self.client, self.mechanism = client, mechanism
        self.topic = fresh_name(client.name, mechanism)
        self.group = f"{self.topic}-group"
        self.ledger = Ledger()
        self.failure = None
        self.started = time.monotonic()

    def wait(self, what, condition):
        """Polls a condition that other threads make true. The program's deadline bounds it."""
        while not condition():
            if self.failure:
                raise self.failure
            if time.monotonic() - self.started > DEADLINE_SECONDS:
                raise Disagreement(f"not within {DEADLINE_SECONDS} s: {what}; {self.ledger.count()} records were read")
            time.sleep(0.02)

    def say(self, text):
        print(f"{time.monotonic() - self.started:7.2f}s {text}", flush=True)

    def run(self):
        self.client.create_topic(self.topic)
        self.say(f"created {self.topic}")
        self.client.produce(self.topic, range(RECORDS), self.ledger)
        self.say(f"{RECORDS} records acknowledged")
        self.read_through_a_rebalance()
        self.client.produce(self.topic, range(RECORDS, RECORDS + MORE_RECORDS), self.ledger)
        self.continue_after_a_restart()
        self.ledger.check_complete(RECORDS + MORE_RECORDS)
        self.client.close()
        seconds = time.monotonic() - self.started
        print(
            f"ok {self.client.name} {self.mechanism} records={RECORDS + MORE_RECORDS} "
            f"redelivered={self.ledger.redelivered} seconds={seconds:.1f}"
        )

    def read_through_a_rebalance(self):
        first = Reader(self, "member-1", pause_after=REBALANCE_AFTER)
        second = Reader(self, "member-2")
        first.start()
        self.wait("member 1 reads the first records", first.paused.is_set)
        rounds = len(first.assignments)
        self.say(f"member 1 holds {first.assignments[-1]} and has read {self.ledger.count()}")
        second.start()
        self.wait(
            "a rebalance gives both members partitions",
            lambda: len(first.assignments) > rounds and second.assignments and first.assignments[-1] and second.assignments[-1],
        )
        self.say(f"after the rebalance: {first.assignments[-1]} and {second.assignments[-1]}")
        self.wait("both members together read everything", lambda: self.ledger.count() >= RECORDS)
        if sorted(first.assignments[-1] + second.assignments[-1]) != self.partitions():
            raise Disagreement(f"assigned: {first.assignments[-1]} and {second.assignments[-1]}")
        # Both commit before either leaves: leaving starts a rebalance, which a commit may lose against.
        for reader in (first, second):
            reader.finish.set()
        self.wait("both members commit", lambda: first.committed.is_set() and second.committed.is_set())
        for reader in (first, second):
            reader.closing.set()
        self.wait("both members leave", lambda: not first.is_alive() and not second.is_alive())
        self.ledger.check_complete(RECORDS)
        self.check_committed()
        self.say("read, committed, closed")

    def partitions(self):
        """Their numbers: kcat's topics have as many as the server gives them."""
        return getattr(self.client, "partitions", list(range(PARTITIONS)))

    def check_committed(self):
        committed = self.client.committed(self.group, self.topic)
        if committed is not None and committed != self.ledger.ends(PARTITIONS):
            raise Disagreement(f"committed {committed}, read up to {self.ledger.ends(PARTITIONS)}")

    def continue_after_a_restart(self):
        before = self.ledger.redelivered
        restarted = Reader(self, "member-restarted")
        restarted.start()
        self.wait("the restarted member reads the new records", lambda: self.ledger.count() >= RECORDS + MORE_RECORDS)
        time.sleep(1.0)  # Nothing more may come: the only wait whose length matters, and a shorter one cannot fail falsely.
        restarted.finish.set()
        restarted.closing.set()
        self.wait("the restarted member leaves", lambda: not restarted.is_alive())
        if self.ledger.redelivered != before:
            raise Disagreement(f"{self.ledger.redelivered - before} committed records came again after the restart")
        self.check_committed()
        self.say(f"restarted member read the {MORE_RECORDS} new records and no other")


def main(client, connection):
    """Runs the scenario; the exit status tells."""
    try:
        Scenario(client, connection.mechanism).run()
        status = 0
    except Exception as error:
        traceback.print_exc()
        print(f"FAILED {client.name} {connection.mechanism}: {error}", flush=True)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # Threads of a failed client must not keep the process alive.
