#!/usr/bin/env python3
"""The metadata store goes back in time: an early copy of `metadata.redb` is put back after restarts, kills and acknowledged records.

The server must refuse to start and say what to do, `headgate metadata rebuild` must bring the metadata back from objects and
WALs, and then no acknowledged record may be lost, doubled or moved, and the bill must count the bytes that can be read.
"""

import random
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import loadtest  # noqa: E402
from harness.bill import bill, check_bill  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer, ServerFailed  # noqa: E402

ROUNDS = 6
PRODUCERS = 4
PARTITIONS = 6
TOPIC = "rebuilt"
RECORDS_PER_ROUND = 8_000
RECORD_BYTES = 512
RATE = 8_000
ROUND_SECONDS = 150
COMMAND_SECONDS = 120


def play(fault):
    seed = random.SystemRandom().getrandbits(32)
    choose = random.Random(seed)
    fault.say(f"seed {seed}")
    journal = fault.work / "journal"
    # Small chunks, so that there are many objects and manifests, and chunks that are gone.
    config = fault.work / "headgate.toml"
    config.write_text("[storage]\nchunk_bytes = 1048576\nchunk_age_ms = 2000\nmanifest_flushes_max = 3\n")
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(config)])
    backup = fault.work / "metadata.backup"
    server.start()
    try:
        one_round(fault, server, journal, 0)
        server.stop()
        shutil.copy2(server.data_dir / "metadata.redb", backup)
        fault.say("copied metadata.redb")
        server.start()
        for number in range(1, ROUNDS):
            one_round(fault, server, journal, number)
            server.kill() if choose.random() < 0.5 else server.stop()
            server.start()
        one_round(fault, server, journal, ROUNDS)
        server.kill()
        shutil.copy2(backup, server.data_dir / "metadata.redb")
        refuse(fault, server)
        told = rebuild(fault, server)
        fault.say(f"rebuilt: {told.splitlines()[-1]}")
        require("0 keys written" in rebuild(fault, server), "a second rebuild changed something")
        server.start()
        verified = verify(fault, server, journal)
        check_bill(TOPIC, verified, bill(fault, server, ["--api", server.dev["api_url"]]), "the rebuilt bill")
        one_round(fault, server, journal, ROUNDS + 1)
        verified = verify(fault, server, journal)
        server.stop()
        check_bill(TOPIC, verified, bill(fault, server, ["--data-dir", str(server.data_dir)]), "the bill without a process")
    finally:
        if server.is_running():
            server.kill()
    return f"{verified['coverage']['acknowledged']} acknowledged records through {ROUNDS} restarts and a rebuild"


def one_round(fault, server, journal, number):
    words = ["produce", "--topic", TOPIC, "--partitions", PARTITIONS, "--producers", PRODUCERS]
    words += ["--records", RECORDS_PER_ROUND, "--record-bytes", RECORD_BYTES, "--rate", RATE, "--journal", journal]
    result = loadtest.run(fault.arguments.loadtest, server, fault.work, f"produce-{number}", words, ROUND_SECONDS)
    require(not result["unsettled_records"] and not result["refused_records"], f"round {number}: {result}")


def refuse(fault, server):
    """The old metadata must not be taken, however often it is tried."""
    for _ in range(3):
        try:
            server.start()
        except ServerFailed as refused:
            for word in ("restored from a backup", "headgate metadata rebuild"):
                require(word in str(refused), f"the refusal does not say `{word}`: {refused}")
            continue
        require(False, "the server started on metadata that went back in time")
    fault.say("the old metadata is refused")


def rebuild(fault, server):
    command = [str(fault.arguments.headgate), "metadata", "rebuild", "--data-dir", str(server.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    (fault.work / "rebuild.txt").write_text(done.stdout + done.stderr)
    require(done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def verify(fault, server, journal):
    words = ["verify", "--topic", TOPIC, "--journal", journal]
    verified = loadtest.run(fault.arguments.loadtest, server, fault.work, "verify", words, ROUND_SECONDS)
    require(verified["clean"], f"verify found {verified['findings']}")
    fault.say(f"verify: clean, {verified['bytes_in']} bytes in")
    return verified


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("rebuild", play))
