"""`headgate-loadtest` as the fault scripts use it: in the background or to its end, with its JSON result."""

import json
import signal
import subprocess
import time
from pathlib import Path

END_SECONDS = 30
END_AT_ONCE_SECONDS = 5


class LoadFailed(Exception):
    """A run of the load generator ended with findings or an error; the text holds its output."""


class Load:
    """One run. Its output goes to a log, its result to a JSON file beside it."""

    def __init__(self, binary, server, work, name, words, iam=False):
        self.name, self.log, self.json = name, work / f"{name}.log", work / f"{name}.json"
        self.command = [str(binary), *map(str, words), "--json", str(self.json)]
        if "--bootstrap" not in words:
            self.command += ["--dev-json", str(server.dev_json)]
        if iam:
            self.command.append("--iam")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def is_running(self):
        return self.process.poll() is None

    def finish(self, seconds):
        """Waits for the end and returns the result."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.interrupt()  # One that was interrupted before ends at once now, and says how far it came.
            try:
                self.process.wait(END_AT_ONCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.end()
            raise LoadFailed(f"{self.name} did not end within {seconds} s:\n{self.tail()}") from None
        if status:
            raise LoadFailed(f"{self.name} ended with {status}:\n{self.tail()}")
        return json.loads(self.json.read_text())

    def interrupt(self):
        """Ctrl-C: it finishes what is on its way and reports."""
        self.process.send_signal(signal.SIGINT)

    def end(self):
        if self.is_running():
            self.process.kill()
            self.process.wait(END_SECONDS)

    def tail(self):
        found = json.dumps(json.loads(self.json.read_text()).get("findings"))[:2000] if self.json.exists() else ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) + f"\n{found}"


def run(binary, server, work, name, words, seconds, iam=False):
    return Load(binary, server, work, name, words, iam).finish(seconds)


def acknowledged_lines(journal: Path):
    """Batches acknowledged so far."""
    return journal.read_bytes().count(b"\nack ") if journal.exists() else 0


def wait_for_acknowledgements(journal, more, load, seconds):
    """Returns when `more` further batches were acknowledged."""
    began, target = time.monotonic(), acknowledged_lines(journal) + more
    while acknowledged_lines(journal) < target:
        if not load.is_running():
            raise LoadFailed(f"{load.name} ended before {more} batches were acknowledged:\n{load.tail()}")
        if time.monotonic() - began > seconds:
            raise LoadFailed(f"no {more} batches were acknowledged within {seconds} s:\n{load.tail()}")
        time.sleep(0.01)
