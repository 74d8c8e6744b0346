"""Uses the files under `DATA/clients/` the way their readers would: `source env.sh`, run `producer.py`, `kcat -F`.

`java.properties` is used by the Java scenario. No AWS_* variable is set here: `env.sh` must bring them.
"""

import argparse
import json
import shlex
import stat
import subprocess
import sys
from pathlib import Path

TIMEOUT_SECONDS = 60


class Unexpected(Exception):
    """A file did not do what it is for."""


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    print(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}", flush=True)
    if done.returncode:
        raise Unexpected(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout.strip()


def check(dev_json):
    clients = dev_json.parent / "clients"
    for path in [dev_json, clients, *sorted(clients.iterdir())]:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Unexpected(f"{path} can be read by others than its owner")
    source = f"source {shlex.quote(str(clients / 'env.sh'))}"
    offset = run(["bash", "-c", f"{source} && exec {shlex.quote(sys.executable)} {shlex.quote(str(clients / 'producer.py'))}"])
    if not offset.isdigit():
        raise Unexpected(f"producer.py printed {offset!r} where an offset was expected")
    kcat = ["kcat", "-F", str(clients / "librdkafka.conf")]
    cluster = json.loads(run([*kcat, "-L", "-J"]))
    if "hello" not in [topic["topic"] for topic in cluster["topics"]]:
        raise Unexpected("kcat does not list the topic that producer.py wrote to")
    read = run([*kcat, "-C", "-t", "hello", "-o", "beginning", "-e", "-q"])
    if "hello from Python" not in read.splitlines():
        raise Unexpected(f"kcat read {read!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev-json", required=True, type=Path)
    try:
        check(parser.parse_args().dev_json)
    except Unexpected as error:
        print(f"FAILED client-files: {error}")
        return 1
    print("ok client-files env.sh, producer.py and librdkafka.conf do what they are for")
    return 0


if __name__ == "__main__":
    sys.exit(main())
