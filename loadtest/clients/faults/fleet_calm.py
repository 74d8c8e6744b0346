"""When a fleet is whole: every storage node's WAL has three copies, and slots have stopped moving. Read from the nodes' logs."""

import json
import time
from pathlib import Path

COPIES = 3
# Nodes even their slots out in steps, some seconds apart, the first well after a node came back.
STILL_SECONDS = 8
LOOK_SECONDS = 0.1
SLOTS_CHANGED = {"slots taken", "slots moved", "slots restored and open"}


class Calm:
    def __init__(self, fleet):
        self.logs = {process.name: (Path(process.log), 0) for process in fleet.of_role("storage")}
        # By node: its present WAL and that WAL's copies.
        self.copies = {name: (None, 0) for name in self.logs}
        self.changed = time.monotonic()

    def look(self):
        for name, (path, offset) in self.logs.items():
            with path.open("rb") as log:
                log.seek(offset)
                text = log.read()
            whole = text.rfind(b"\n") + 1
            self.logs[name] = path, offset + whole
            for line in text[:whole].splitlines():
                # Others than log lines are for people.
                if line.startswith(b"{"):
                    self.take(name, json.loads(line)["fields"])

    def take(self, name, fields):
        if fields.get("message") == "storage node open":
            self.copies[name] = fields["wal"], 1
        elif "copies" in fields and fields.get("wal") == self.copies[name][0]:
            self.copies[name] = fields["wal"], fields["copies"]
        elif fields.get("message") in SLOTS_CHANGED:
            self.changed = time.monotonic()

    def has_three_copies(self):
        self.look()
        return all(copies >= COPIES for _, copies in self.copies.values())

    def is_at_rest(self):
        return self.has_three_copies() and time.monotonic() - self.changed > STILL_SECONDS

    def forget(self, name):
        """A storage node that does not run has no WAL; what it said of the last one no longer counts."""
        self.look()
        if name in self.copies:
            self.copies[name] = None, 0

    def wait(self, what, seconds):
        """Returns when `what()` holds; whether that came in time."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True
