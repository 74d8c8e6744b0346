"""What every fault script shares: its command line, its clock, its last line."""

import argparse
import sys
import time
import traceback
from pathlib import Path


class Broken(Exception):
    """The server did not keep a promise; the text says which."""


class Fault:
    def __init__(self, about, **more):
        """`more` names further arguments, each with what argparse needs to know of it."""
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("--headgate", required=True, type=Path)
        parser.add_argument("--loadtest", required=True, type=Path)
        parser.add_argument("--work", required=True, type=Path, help="an empty directory for data and logs")
        for name, settings in more.items():
            parser.add_argument(f"--{name}", **settings)
        self.arguments = parser.parse_args()
        self.work = self.arguments.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.started:7.1f}s {text}", flush=True)

    def main(self, name, play):
        """Runs `play(self)`, which returns what it showed."""
        try:
            print(f"ok {name} {play(self)}")
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            print(f"FAILED {name}: {error}", flush=True)
            return 1
        return 0


def require(condition, text):
    if not condition:
        raise Broken(text)
