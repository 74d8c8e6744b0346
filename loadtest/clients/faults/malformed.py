#!/usr/bin/env python3
"""Malformed frames and thousands of slow sockets, beside a producer and a consumer that must notice nothing.

The server's resident memory must stay below its configured budgets plus 256 MiB at every look.
"""

import resource
import sys
import threading
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
SOCKETS = 20_000
# Other sources than that of the producer and the consumer: limits for one source must not fall on them.
SOCKET_SOURCES = "127.0.0.2-127.0.0.9"
SOCKET_SECONDS = 20
DESCRIPTORS_WANTED = 65_536
DESCRIPTORS_BESIDE_SOCKETS = 1_000
BYSTANDER_SECONDS = 150
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
    config = fault.work / "headgate.toml"
    config.write_text(configuration())
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(config)])
    server.start()
    fault.say(f"resident memory when idle: {server.resident_bytes() / MIB:.0f} MiB")
    watch = MemoryWatch(server)
    watch.start()
    producer, consumer = bystanders(fault, server)
    try:
        attack(fault, server, watch, sockets)
        require(server.is_running(), f"the server ended:\n{server.tail()}")
        for bystander in (producer, consumer):
            require(bystander.is_running(), f"{bystander.name} ended before the attacks did:\n{bystander.tail()}")
        check_bystanders(fault, producer.finish(BYSTANDER_SECONDS), consumer.finish(BYSTANDER_SECONDS))
        server.stop()
    finally:
        watch.over.set()
        producer.end()
        consumer.end()
        if server.is_running():
            server.kill()
    budget = sum(size for _, _, size in BUDGETS) + OVERHEAD_BYTES
    require(watch.most < budget, f"resident memory reached {watch.most / MIB:.0f} MiB, allowed are {budget / MIB:.0f} MiB")
    return f"{sockets} sockets; resident memory at most {watch.most / MIB:.0f} of {budget / MIB:.0f} MiB"


def configuration():
    lines = []
    for section in ("gateway", "storage"):
        lines.append(f"[{section}]")
        lines += [f"{name} = {size}" for of, name, size in BUDGETS if of == section]
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


def bystanders(fault, server):
    """A producer and a consumer over IAM, for longer than the attacks last."""

    def start(name, words):
        return loadtest.Load(fault.arguments.loadtest, server, fault.work, name, words, iam=True)

    # The topic exists before the consumer asks for it.
    create = ["produce", "--topic", TOPIC, "--partitions", 2, "--records", 10]
    loadtest.run(fault.arguments.loadtest, server, fault.work, "create", create, BYSTANDER_SECONDS, iam=True)
    producer = start("producer", ["produce", "--topic", TOPIC, "--rate", RATE, "--seconds", BYSTANDER_SECONDS])
    consumer = start("consumer", ["consume", "--topic", TOPIC, "--seconds", BYSTANDER_SECONDS])
    return producer, consumer


def attack(fault, server, watch, sockets):
    iam, plaintext = f"localhost:{server.iam_port}", f"127.0.0.1:{server.plaintext_port}"

    def run(name, words, iam_login=False):
        result = loadtest.run(fault.arguments.loadtest, server, fault.work, name, words, BYSTANDER_SECONDS, iam=iam_login)
        shown = {key: value for key, value in result.items() if isinstance(value, (int, float))}
        fault.say(f"{name}: {shown}; resident memory so far at most {watch.most / MIB:.0f} MiB")

    run("malformed-plaintext", ["malformed"])
    run("malformed-iam", ["malformed", "--phase", "both"], iam_login=True)
    slow = ["slow-sockets", "--connections", sockets, "--sources", SOCKET_SOURCES, "--seconds", SOCKET_SECONDS]
    for name, address in (("slow-sockets-iam", iam), ("slow-sockets-plaintext", plaintext)):
        run(name, [*slow, "--bootstrap", address])


def check_bystanders(fault, produced, consumed):
    wrong = [produced[name] for name in ("retries", "reconnects", "unsettled_records", "refused_records", "failures")]
    require(not any(wrong), f"the producer noticed something: {produced}")
    require(not any(consumed[name] for name in ("retries", "bad_crc", "malformed")), f"the consumer noticed something: {consumed}")
    # The consumer began a moment after the producer and both end by the clock, so the very last records may be on their way.
    missing = produced["acknowledged_records"] - consumed["records"]
    require(missing < 2 * RATE, f"the consumer read {consumed['records']} of {produced['acknowledged_records']} records")
    fault.say(f"bystanders: {consumed['records']} records, latency {produced['latency']}")


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("malformed", play))
