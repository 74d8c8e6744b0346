"""Processes that outlive the program that started them: told apart from whatever gets their pid later."""

import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


def started_at(pid):
    """When the process was started, in clock ticks since boot; None if there is none. A zombie is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass
class Process:
    """One process: what it is, how it is started, and which pid it has now."""

    name: str
    role: str
    id: str
    zone: str
    address: str
    command: list
    log: str
    # What others reach there, by purpose: `host:port` or a URL.
    addresses: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    data_dir: str = ""
    netns: str = ""
    # The outer end of its link, with a namespace.
    link: str = ""
    pid: int = 0
    started_at: int = 0

    def is_running(self):
        return self.pid > 0 and started_at(self.pid) == self.started_at

    def start(self):
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [*prefix, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=without_aws(os.environ) | self.environment,
                start_new_session=True,
            )
        self.pid, self.started_at = process.pid, started_at(process.pid) or 0

    def signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def stop(self, seconds):
        """SIGTERM, and SIGKILL when it does not end in time; whether it ended by itself."""
        # A stopped process would take the signal only when it goes on.
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if self.wait(seconds):
            return True
        self.signal(signal.SIGKILL)
        self.wait(seconds)
        return False

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            try:
                # Only our own children are waited for; those of an earlier program are somebody else's.
                os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pass
            time.sleep(0.05)
        return True

    def tail(self, lines=15):
        try:
            return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def as_dict(self):
        return asdict(self)


def without_aws(environment):
    """Credentials of whoever runs this must not reach the object store."""
    return {name: value for name, value in environment.items() if not name.startswith(("AWS_", "HEADGATE_"))}
