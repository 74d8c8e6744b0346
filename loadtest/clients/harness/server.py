"""One `headgate dev` under test: free ports, a data directory, an orderly or a violent end."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from harness.ports import free_range

READY_SECONDS = 60
STOP_SECONDS = 60
OPERATOR_SECONDS = 60
CLUSTER_PORTS = 10
TAIL_LINES = 30


class ServerFailed(Exception):
    """The server did not start, or did not end, as it must; the text holds its last lines."""


class DevServer:
    """Ports and data directory stay the same over restarts, as they would for a user."""

    def __init__(self, binary, data_dir, log, extra_arguments=(), environment=None, cluster_ports=CLUSTER_PORTS):
        self.binary, self.data_dir, self.log = str(binary), Path(data_dir), Path(log)
        self.extra_arguments, self.extra_environment = list(extra_arguments), environment or {}
        first = free_range(3 + cluster_ports)
        self.iam_port, self.plaintext_port, self.api_port = first, first + 1, first + 2
        self.cluster_ports = f"{first + 3}-{first + 2 + cluster_ports}"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, _error, _trace):
        if self.is_running():
            # After a failure its own message matters, not that of a server which ends badly too.
            self.stop() if kind is None else self.kill()

    @property
    def dev_json(self):
        return self.data_dir / "dev.json"

    @property
    def dev(self):
        return json.loads(self.dev_json.read_text())

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def arguments(self):
        return [
            self.binary, "dev",
            "--data-dir", str(self.data_dir),
            "--listen-iam", f"localhost:{self.iam_port}",
            "--listen-plaintext", f"127.0.0.1:{self.plaintext_port}",
            "--listen-api", f"127.0.0.1:{self.api_port}",
            "--cluster-ports", self.cluster_ports,
            *self.extra_arguments,
        ]  # fmt: skip

    def start(self):
        """Returns when `dev.json` names the new process; the time it took, in seconds."""
        began = time.monotonic()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=without_aws(os.environ) | self.extra_environment,
            )
        while not self.is_ready():
            if self.process.poll() is not None:
                raise ServerFailed(f"the server ended with {self.process.returncode} while starting:\n{self.tail()}")
            if time.monotonic() - began > READY_SECONDS:
                self.kill()
                raise ServerFailed(f"the server was not ready within {READY_SECONDS} s:\n{self.tail()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def is_ready(self):
        try:
            return self.dev["pid"] == self.process.pid
        except (OSError, ValueError):
            return False

    def stop(self):
        """SIGTERM; the server must finish in time and with status 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"the server did not end within {STOP_SECONDS} s of SIGTERM:\n{self.tail()}") from None
        if status != 0:
            raise ServerFailed(f"the server ended with {status} after SIGTERM:\n{self.tail()}")

    def kill(self):
        """SIGKILL: the process gets no chance to write anything more."""
        self.process.kill()
        self.process.wait()

    def environment(self):
        """What a client or an operator's command needs to be the administrator."""
        dev = self.dev
        return without_aws(os.environ) | {
            "AWS_ACCESS_KEY_ID": dev["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": dev["secret_access_key"],
            "AWS_REGION": dev["region"],
            "AWS_DEFAULT_REGION": dev["region"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def operator(self, *words):
        """Runs an operator's command against the running process and returns what it prints."""
        command = [self.binary, *words, "--api", self.dev["api_url"]]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=OPERATOR_SECONDS)
        if done.returncode:
            raise ServerFailed(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def resident_bytes(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ServerFailed("the kernel tells no resident memory")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def without_aws(environment):
    """A person's own AWS settings must reach neither the server nor the clients."""
    return {name: value for name, value in environment.items() if not name.startswith(("AWS_", "HEADGATE_"))}
