#!/usr/bin/env python3
"""Logins of a tenant, timed; and a flood of strangers who dial the tenant's name and prove nothing.

    strangers.py logins --dev-json FILE --host NAME --seconds S     the last line: p50, p99 and the longest, as JSON
    strangers.py flood  --dev-json FILE --host NAME --seconds S     TLS handshakes from eight loopback addresses

The flood takes no more than a part of one core, and its connections end by themselves. Loopback only.
"""

import argparse
import json
import socket
import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "denials"))

from frames import RawConnection  # noqa: E402
from signing import Keys, Login  # noqa: E402

SOURCES = [f"127.0.0.{number}" for number in range(2, 10)]
# Strangers that stay, until the server ends them.
HELD_MAX = 400
TIMEOUT_SECONDS = 15
PAUSE_SECONDS = 0.05


def logins(dev, host, port, seconds):
    keys = Keys(dev["access_key_id"], dev["secret_access_key"])
    took, began = [], time.monotonic()
    while time.monotonic() - began < seconds:
        moment = time.monotonic()
        connection = RawConnection(port, dev["ca_pem_path"], host)
        refused = connection.authenticate("AWS_MSK_IAM", Login(keys, dev["region"], host).aws_msk_iam())
        connection.metadata()
        took.append((time.monotonic() - moment) * 1000)
        connection.close()
        if refused:
            raise RuntimeError(f"refused: {refused}")
        time.sleep(PAUSE_SECONDS)
    took.sort()
    return {"logins": len(took), "p50_ms": took[len(took) // 2], "p99_ms": took[int(len(took) * 0.99)], "longest_ms": took[-1]}


def flood(dev, host, port, seconds, cpu_part=0.25):
    context = ssl.create_default_context(cafile=dev["ca_pem_path"])
    held, handshakes, ended, began, cpu_began = [], 0, 0, time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        source = SOURCES[handshakes % len(SOURCES)]
        try:
            plain = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS, source_address=(source, 0))
            held.append(context.wrap_socket(plain, server_hostname=host))
            handshakes += 1
        except OSError:
            ended += 1
        for connection in held[:-HELD_MAX]:
            connection.close()
        held = held[-HELD_MAX:]
        spent = time.process_time() - cpu_began
        time.sleep(max(0, spent / cpu_part - (time.monotonic() - began)))
    return {"handshakes": handshakes, "ended": ended}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("logins", "flood"))
    parser.add_argument("--dev-json", type=Path, required=True)
    parser.add_argument("--host", required=True, help="the cluster's own name")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    dev = json.loads(arguments.dev_json.read_text())
    port = int(dev["bootstrap_iam"].rpartition(":")[2])
    act = {"logins": logins, "flood": flood}[arguments.what]
    print(json.dumps(act(dev, arguments.host, port, arguments.seconds)))


if __name__ == "__main__":
    main()
