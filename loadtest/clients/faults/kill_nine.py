#!/usr/bin/env python3
"""kill -9 of the server during acknowledged produce from 8 producers, 20 times, always on the same data directory.

Producers are idempotent and retry over each kill. At the end no acknowledged record may be lost, doubled or moved, and
the bill's bytes in must equal the sum over the batches that can be read, for every partition, to the byte.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import loadtest  # noqa: E402
from harness.bill import bill, check_bill  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402

KILLS = 20
PRODUCERS = 8
PARTITIONS = 8
TOPIC = "kills"
RECORDS_PER_ROUND = 20_000
RECORD_BYTES = 512
RATE = 10_000
ROUND_SECONDS = 150
# Every so many rounds the server is killed again while it recovers.
KILL_IN_RECOVERY_EVERY = 4


def play(fault):
    seed = random.SystemRandom().getrandbits(32)
    choose = random.Random(seed)
    fault.say(f"seed {seed}")
    journal = fault.work / "journal"
    # Small chunks, so that kills meet flushes and manifests as well as appends.
    config = fault.work / "headgate.toml"
    config.write_text("[storage]\nchunk_bytes = 4194304\nchunk_age_ms = 3000\nmanifest_flushes_max = 4\n")
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(config)])
    server.start()
    try:
        for number in range(1, KILLS + 1):
            one_round(fault, server, journal, number, choose)
        verified = verify(fault, server, journal)
        check_bill(TOPIC, verified, bill(fault, server, ["--api", server.dev["api_url"]]), "the running process's bill")
        server.stop()
        check_bill(TOPIC, verified, bill(fault, server, ["--data-dir", str(server.data_dir)]), "the bill without a process")
    finally:
        if server.is_running():
            server.kill()
    return f"{KILLS} kills, {verified['coverage']['acknowledged']} acknowledged records, {verified['bytes_in']} bytes in"


def one_round(fault, server, journal, number, choose):
    words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS, "--producers", PRODUCERS]
    words += ["--records", RECORDS_PER_ROUND, "--record-bytes", RECORD_BYTES, "--rate", RATE, "--journal", journal]
    load = loadtest.Load(fault.arguments.loadtest, server, fault.work, f"produce-{number}", words, iam=number % 2 == 0)
    try:
        loadtest.wait_for_acknowledgements(journal, choose.randrange(20, 1500), load, ROUND_SECONDS)
        time.sleep(choose.uniform(0, 0.3))  # The moment of the kill is the random input of this test.
        require(load.is_running(), "the round was over before the kill; nothing was tested")
        server.kill()
        if number % KILL_IN_RECOVERY_EVERY == 0:
            kill_in_recovery(server, choose.uniform(0, 0.3))
        ready = server.start()
        result = load.finish(ROUND_SECONDS)
    finally:
        load.end()
    require(not result["unsettled_records"] and not result["refused_records"], f"round {number}: {result}")
    fault.say(f"kill {number}: ready again after {ready:.2f} s, {result['reconnects']} reconnects, {result['retries']} retries")


def kill_in_recovery(server, seconds):
    with server.log.open("ab") as log:
        process = subprocess.Popen(server.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    time.sleep(seconds)
    process.kill()
    process.wait()


def verify(fault, server, journal):
    words = ["verify", "--topic", TOPIC, "--journal", journal]
    verified = loadtest.run(fault.arguments.loadtest, server, fault.work, "verify", words, ROUND_SECONDS)
    require(verified["clean"], f"verify found {verified['findings']}")
    fault.say(f"verify: clean, {verified['bytes_in']} bytes in")
    return verified


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("kill-nine", play))
