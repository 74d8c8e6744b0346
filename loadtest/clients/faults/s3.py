#!/usr/bin/env python3
"""An S3 store that is slow, refuses and loses replies for a while; then everything is read back through it.

Chunks must be trimmed once their objects are committed, so a reader from offset 0 meets the object store and nothing
else. It must again after every local trace but the metadata's and the WAL's is gone.
"""

import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import loadtest  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402
from s3_store import FINE, LOSING, REFUSING, SLOW, S3Store  # noqa: E402

TOPIC = "cold"
MOODS = [FINE, SLOW, REFUSING, LOSING, FINE]
MOOD_SECONDS = 8
RATE = 8_000
RECORD_BYTES = 1024
CHUNK_BYTES = 2 << 20
# A store that refuses must not be hurried: attempts per second over all uploads and reads together.
REFUSED_PER_SECOND_MAX = 10
# Nor may it be flooded with what has piled up once it is back.
UPLOADS_AT_A_TIME_MAX = 8
LOAD_SECONDS = 300
TRIM_SECONDS = 120
# What may be left on local disk when everything is flushed: the open chunk, the one before it, and some room.
LEFT_BYTES_MAX = 4 * CHUNK_BYTES


def play(fault):
    config = fault.work / "headgate.toml"
    # A tail far smaller than the data: old batches cannot be served from memory.
    config.write_text(f"[storage]\nchunk_bytes = {CHUNK_BYTES}\nchunk_age_ms = 1000\ntail_bytes_max = {4 << 20}\nmanifest_flushes_max = 8\n")
    journal = fault.work / "journal"
    with S3Store("headgate-test", fault.work / "moto.log") as store:
        arguments = ["--object-store", f"s3://{store.bucket}/cell", "--config", str(config)]
        server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", arguments, store.environment())
        server.start()
        try:
            written = write_through_bad_days(fault, server, store, journal)
            wait_until_trimmed(fault, server, written)
            read_cold(fault, server, store, journal, "read-1")
            server.stop()
            remove_caches(fault, server.data_dir)
            server.start()
            read_cold(fault, server, store, journal, "read-2")
            server.stop()
        finally:
            if server.is_running():
                server.kill()
        counts = store.counts
        uploads_most = store.uploads_most
    check_pace(counts, uploads_most)
    return f"{written >> 20} MiB through {', '.join(MOODS[1:-1])}; at most {uploads_most} uploads at a time; requests {counts}"


def check_pace(counts, uploads_most):
    refused = sum(count for what, count in counts.items() if what.endswith(f" while {REFUSING}"))
    require(counts.get("lost") and refused, f"no reply was lost or no request refused; nothing was tested: {counts}")
    require(refused <= REFUSED_PER_SECOND_MAX * MOOD_SECONDS, f"the store was asked {refused} times in {MOOD_SECONDS} s while it refused")
    require(uploads_most <= UPLOADS_AT_A_TIME_MAX, f"{uploads_most} uploads at a time")


def write_through_bad_days(fault, server, store, journal):
    words = ["produce", "--topic", TOPIC, "--partitions", 6, "--producers", 4, "--rate", RATE, "--record-bytes", RECORD_BYTES]
    words += ["--seconds", MOOD_SECONDS * len(MOODS), "--journal", journal]
    load = loadtest.Load(fault.arguments.loadtest, server, fault.work, "produce", words)
    try:
        for mood in MOODS:
            store.mood = mood
            fault.say(f"the object store is {mood}")
            time.sleep(MOOD_SECONDS)  # A bad day has a length; the load runs meanwhile.
            require(server.is_running(), f"the server ended while the store was {mood}:\n{server.tail()}")
        result = load.finish(LOAD_SECONDS)
    finally:
        load.end()
    require(not result["unsettled_records"] and not result["refused_records"], f"produce: {result}")
    fault.say(f"{result['acknowledged_records']} records acknowledged, p99 {result['latency']}")
    return result["acknowledged_bytes"]


def wal_bytes(data_dir):
    return sum(path.stat().st_size for path in (data_dir / "wal").rglob("*") if path.is_file())


def wait_until_trimmed(fault, server, written):
    """Chunks go once their objects are committed."""
    began = time.monotonic()
    while wal_bytes(server.data_dir) > LEFT_BYTES_MAX:
        require(time.monotonic() - began < TRIM_SECONDS, f"{wal_bytes(server.data_dir)} bytes of WAL were not trimmed within {TRIM_SECONDS} s")
        time.sleep(0.2)
    fault.say(f"{written} bytes were written, {wal_bytes(server.data_dir)} bytes of WAL are left")


def read_cold(fault, server, store, journal, name):
    before = store.counts.get("GET", 0)
    words = ["verify", "--topic", TOPIC, "--journal", journal]
    verified = loadtest.run(fault.arguments.loadtest, server, fault.work, name, words, LOAD_SECONDS)
    require(verified["clean"], f"verify found {verified['findings']}")
    require(all(partition["log_start_offset"] == 0 for partition in verified["partitions"]), "reading did not begin at offset 0")
    reads = store.counts.get("GET", 0) - before
    require(reads > 0, "everything was read without asking the object store")
    fault.say(f"{name}: clean, {verified['bytes_in']} bytes in, {reads} reads of the object store")


def remove_caches(fault, data_dir):
    """Memory went with the process; the copies of small objects on disk go here, and there must have been some."""
    copies = data_dir / "wal" / "copies"
    require(copies.is_dir() and any(copies.iterdir()), f"{copies} holds nothing: the local cache is not where it was")
    shutil.rmtree(copies)
    fault.say(f"removed {copies.relative_to(data_dir)}")


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("s3", play))
