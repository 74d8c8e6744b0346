#!/usr/bin/env python3
"""Malformed frames and thousands of slow sockets, beside a producer and a consumer that must notice nothing.

Two servers, one after the other: one whose limits on connections are out of the way, so that every malformed frame is
read; one with the limits that users have, against the sockets. The resident memory of each must stay below its
configured budgets plus 256 MiB at every look.
"""

import re
import resource
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402

MIB = 1 << 20
TOPIC = "beside"
# Small budgets, so that a leak shows early: (section, setting, bytes).
BUDGETS = [
    ("gateway", "inflight_bytes_max", 256 * MIB),
    ("gateway", "inflight_bytes_unauthenticated", 32 * MIB),
    ("storage", "tail_bytes_max", 32 * MIB),
    ("storage", "block_cache_bytes_max", 32 * MIB),
    ("storage", "index_cache_bytes_max", 8 * MIB),
]
OVERHEAD_BYTES = 256 * MIB
# A connection that is turned away proves nothing about the frame on it.
NO_CONNECTION_QUOTA = ["connection_attempts_per_second=1000000"]
NO_SOURCE_LIMITS = ["connections_per_source_per_second = 100000", "unauthenticated_connections_per_source_max = 2000"]
# Over TLS each case costs a key exchange, and there are two phases. The number of cases of a version is odd, so that this
# step meets every kind of case at every second version.
IAM_EVERY = 2
SOCKETS = 20_000
# Other sources than that of the producer and the consumer: limits for one source must not fall on them.
SOCKET_SOURCES = "127.0.0.2-127.0.0.9"
SOCKET_SECONDS = 20
DESCRIPTORS_WANTED = 65_536
DESCRIPTORS_BESIDE_SOCKETS = 1_000
# Time for one attack, and more than both of a server together: the bystanders are interrupted when they are over.
ATTACK_SECONDS = 150
BYSTANDER_SECONDS = 3600
BYSTANDER_END_SECONDS = 30
CATCH_UP_SECONDS = 2
LOOK_SECONDS = 0.1
RATE = 500


class MemoryWatch(threading.Thread):
    """The greatest resident memory seen."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.most, self.over = server, 0, threading.Event()

    def run(self):
        while not self.over.wait(LOOK_SECONDS):
            try:
                self.most = max(self.most, self.server.resident_bytes())
            except OSError:
                return  # The server is gone; the main thread will say so.


def play(fault):
    sockets = raise_descriptors(fault)
    with under_attack(fault, "frames", NO_SOURCE_LIMITS) as attack:
        attack.server.operator("quota", "set", "--cluster", "demo", *NO_CONNECTION_QUOTA)
        cases = malformed_frames(attack)
    frames_memory = attack.watch.most
    with under_attack(fault, "sockets", []) as attack:
        slow_sockets(attack, sockets)
    budget = budget_bytes() // MIB
    return f"{cases} frames, {sockets} sockets on each listener; resident memory at most {frames_memory // MIB} and {attack.watch.most // MIB} of {budget} MiB"


class Attack:
    """A server, a look at its memory, and the load generator that hurts it."""

    def __init__(self, fault, work, server):
        self.fault, self.work, self.server = fault, work, server
        self.watch = MemoryWatch(server)

    def run(self, name, words, iam=False):
        result = loadtest.run(self.fault.arguments.loadtest, self.server, self.work, name, words, ATTACK_SECONDS, iam=iam)
        require(self.server.is_running(), f"the server ended:\n{self.server.tail()}")
        shown = {key: value for key, value in result.items() if isinstance(value, (int, float))}
        self.fault.say(f"{name}: {shown}; resident memory so far at most {self.watch.most // MIB} MiB")
        return result

    def turned_away(self):
        """Connections that a limit kept out, by the server's own count."""
        with urllib.request.urlopen(f"{self.server.dev['api_url']}/metrics", timeout=BYSTANDER_END_SECONDS) as answer:
            text = answer.read().decode()
        found = re.findall(r"^headgate_gateway_connections_refused_total\{[^}]*\} (\d+)$", text, re.MULTILINE)
        return sum(map(int, found))


@contextmanager
def under_attack(fault, name, gateway_settings):
    """A server of its own and its bystanders; what they saw is checked when the attack is over."""
    work = fault.work / name
    work.mkdir()
    config = work / "headgate.toml"
    config.write_text(configuration(gateway_settings))
    server = DevServer(fault.arguments.headgate, work / "data", work / "server.log", ["--config", str(config)])
    server.start()
    bystanders = []
    attack = Attack(fault, work, server)
    try:
        attack.watch.start()
        bystanders = start_bystanders(attack)
        yield attack
        for bystander in bystanders:
            require(bystander.is_running(), f"{bystander.name} ended before the attack did:\n{bystander.tail()}")
        check_bystanders(fault, *end_bystanders(*bystanders))
        attack.watch.over.set()
        server.stop()
    finally:
        attack.watch.over.set()
        for bystander in bystanders:
            bystander.end()
        if server.is_running():
            server.kill()
    most, budget = attack.watch.most, budget_bytes()
    require(most < budget, f"resident memory reached {most // MIB} MiB, allowed are {budget // MIB} MiB")


def budget_bytes():
    return sum(size for _, _, size in BUDGETS) + OVERHEAD_BYTES


def configuration(gateway_settings):
    lines = []
    for section, more in (("gateway", gateway_settings), ("storage", [])):
        lines.append(f"[{section}]")
        lines += [f"{name} = {size}" for of, name, size in BUDGETS if of == section] + more
    return "\n".join(lines) + "\n"


def raise_descriptors(fault):
    """Both ends of every socket need a descriptor. Only root may lift the hard limit; otherwise there are fewer sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, DESCRIPTORS_WANTED)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        hard = wanted
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = min(SOCKETS, hard - DESCRIPTORS_BESIDE_SOCKETS)
    if sockets < SOCKETS:
        fault.say(f"{sockets} sockets only: the hard limit of open files is {hard}")
    return sockets


def start_bystanders(attack):
    """A producer and a consumer over IAM, for longer than the attacks last."""
    fault, server, work = attack.fault, attack.server, attack.work

    def start(name, words):
        words = [*words, "--topic", TOPIC, "--seconds", BYSTANDER_SECONDS]
        return loadtest.Load(fault.arguments.loadtest, server, work, name, words, iam=True)

    # The topic exists before the consumer asks for it.
    create = ["produce", "--topic", TOPIC, "--partitions", 2, "--records", 10]
    loadtest.run(fault.arguments.loadtest, server, work, "create", create, BYSTANDER_END_SECONDS, iam=True)
    return start("producer", ["produce", "--rate", RATE]), start("consumer", ["consume"])


def end_bystanders(producer, consumer):
    producer.interrupt()
    produced = producer.finish(BYSTANDER_END_SECONDS)
    time.sleep(CATCH_UP_SECONDS)  # The consumer cannot know where the end is; it gets a moment to read on.
    consumer.interrupt()
    return produced, consumer.finish(BYSTANDER_END_SECONDS)


def malformed_frames(attack):
    plain = attack.run("malformed-plaintext", ["malformed", "--strict-close"])
    login = attack.run("malformed-iam", ["malformed", "--phase", "both", "--every", IAM_EVERY, "--strict-close"], iam=True)
    turned_away = attack.turned_away()
    require(turned_away == 0, f"{turned_away} connections met a limit, so their frames were not read")
    return plain["cases"] + login["cases"]


def slow_sockets(attack, sockets):
    server = attack.server
    slow = ["slow-sockets", "--connections", sockets, "--sources", SOCKET_SOURCES, "--seconds", SOCKET_SECONDS]
    for name, address in (("iam", f"localhost:{server.iam_port}"), ("plaintext", f"127.0.0.1:{server.plaintext_port}")):
        result = attack.run(f"slow-sockets-{name}", [*slow, "--bootstrap", address])
        require(result["accepted"] > sockets * 9 // 10, f"most sockets were never open, so nothing was tested: {result}")
        require(not result["reset_by_server"], f"the server broke connections instead of closing them: {result}")


def check_bystanders(fault, produced, consumed):
    wrong = [produced[name] for name in ("retries", "reconnects", "unsettled_records", "refused_records", "failures")]
    require(not any(wrong), f"the producer noticed something: {produced}")
    require(not any(consumed[name] for name in ("retries", "bad_crc", "malformed")), f"the consumer noticed something: {consumed}")
    # The consumer reads from the log's start, and so the records that made the topic too.
    require(consumed["records"] >= produced["acknowledged_records"], f"the consumer read {consumed['records']} of {produced['acknowledged_records']} records")
    fault.say(f"bystanders: {consumed['records']} records, latency {produced['latency']}")


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("malformed", play))
