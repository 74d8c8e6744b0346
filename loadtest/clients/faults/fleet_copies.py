"""How many copies each storage node's own WAL has, from what the nodes write into their logs."""

import json
import time
from pathlib import Path

COPIES = 3
LOOK_SECONDS = 0.1


class Copies:
    def __init__(self, fleet):
        self.logs = {process.name: (Path(process.log), 0) for process in fleet.of_role("storage")}
        # By node: its present WAL and that WAL's copies.
        self.of = {name: (None, 0) for name in self.logs}

    def look(self):
        for name, (path, offset) in self.logs.items():
            with path.open("rb") as log:
                log.seek(offset)
                text = log.read()
            whole = text.rfind(b"\n") + 1
            self.logs[name] = path, offset + whole
            for line in text[:whole].splitlines():
                self.take(name, line)

    def take(self, name, line):
        if b'"storage node open"' not in line and b'"copies"' not in line:
            return
        fields = json.loads(line)["fields"]
        if fields["message"] == "storage node open":
            self.of[name] = fields["wal"], 1
        elif fields.get("wal") == self.of[name][0]:
            self.of[name] = fields["wal"], fields["copies"]

    def are_three(self):
        self.look()
        return all(copies >= COPIES for _, copies in self.of.values())

    def await_three(self, seconds):
        """Returns when every node's WAL has three copies; whether that came in time."""
        deadline = time.monotonic() + seconds
        while not self.are_three():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True
