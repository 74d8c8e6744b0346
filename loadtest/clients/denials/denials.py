"""Every refused login and every denial: the stated text, the error code, one audit line, and nothing else disturbed.

Each row is sent twice: as raw frames, where the exact answer, the pause before it, the orderly close and the number of
audit lines can be seen, and by a real client wherever one can be made to send it.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from audit import AuditLog  # noqa: E402
from people import Cast  # noqa: E402
from frames import RawConnection, text  # noqa: E402
from harness.server import DevServer, without_aws  # noqa: E402
from logins import expected_text, rows  # noqa: E402
from signing import Login  # noqa: E402

SASL_AUTHENTICATION_FAILED, TOPIC, GROUP, CLUSTER = 58, 29, 30, 31
# The pause before a refusal, less what clocks may round away.
PAUSE_SECONDS = 0.099
ATTEMPT_SECONDS = 60
FIND_COORDINATOR, INIT_PRODUCER_ID = 10, 22


class Denials:
    def __init__(self, server, work):
        self.server = server
        self.dev = server.dev
        self.audit = AuditLog(server.data_dir / "audit.log")
        self.cast = Cast(server, work)
        self.failures, self.checked = [], 0
        self.started = time.monotonic()

    def check(self, name, condition, shown):
        """Notes one expectation; all rows are tried, whatever becomes of the first."""
        self.checked += 1
        if not condition:
            self.failures.append(name)
            print(f"FAILED {name}: {shown}", flush=True)

    def say(self, line):
        print(f"{time.monotonic() - self.started:7.2f}s {line}", flush=True)

    def connect(self):
        return RawConnection(self.server.iam_port, self.dev["ca_pem_path"])

    def logged_in(self, keys):
        connection = self.connect()
        refused = connection.authenticate("AWS_MSK_IAM", Login(keys, self.dev["region"]).aws_msk_iam())
        if refused:
            raise RuntimeError(f"a good login was refused: {refused}")
        return connection

    # Logins.

    def raw_login(self, row, mechanism):
        name = f"raw {mechanism}, {row.name}"
        mark, connection = self.audit.mark(), self.connect()
        source = connection.socket.getsockname()
        refused = connection.authenticate(mechanism, self.payload(row, mechanism))
        connection.close()
        if refused is None:
            self.check(name, False, "logged in")
            return
        self.check(name, refused.code == SASL_AUTHENTICATION_FAILED, refused)
        self.check(name, expected_text(row).match(refused.message or ""), refused)
        self.check(name, refused.seconds >= PAUSE_SECONDS, refused)
        self.check(name, refused.closed_orderly, refused)
        self.check_one_line(name, mark, source, "kafka-cluster:Connect")

    def payload(self, row, mechanism):
        if row.payload is not None:
            return row.payload
        if mechanism == "AWS_MSK_IAM":
            return row.login.aws_msk_iam()
        regional = f"kafka.{self.dev['region']}.amazonaws.com"
        host = row.login.host if row.dialled else regional
        return row.login.but(host=host).oauthbearer()

    def check_one_line(self, name, mark, source, action):
        """Exactly one line tells of the denial on this connection."""
        address = f"{source[0]}:{source[1]}"
        lines = self.audit.denials_from(mark, address)
        self.check(f"{name}, audit", len(lines) == 1 and lines[0]["action"] == action and lines[0].get("reason"), lines)

    def real_login(self, row, client):
        name = f"{client}, {row.name}"
        mark = self.audit.mark()
        told = self.attempt(f"{client}-login", row)
        self.check(name, told["code"] == SASL_AUTHENTICATION_FAILED, told)
        self.check(name, expected_text(row).search(told["text"]), told)
        # A real client may have tried more than once before it gave up.
        self.check(f"{name}, audit", self.audit.denials_since(mark), "no line")

    def attempt(self, what, row=None, keys=None, **options):
        """Runs a real client with the row's keys, clock, name and token."""
        command = [sys.executable, str(HERE / "attempt.py"), what, "--bootstrap", f"localhost:{self.server.iam_port}"]
        environment = without_aws(os.environ) | {
            "AWS_REGION": self.dev["region"],
            "AWS_DEFAULT_REGION": self.dev["region"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        login = row.login if row else None
        environment |= (keys or (login.keys if login else self.cast.member)).environment()
        if row and row.dialled:
            command += ["--name", row.dialled]
        if row and row.token:
            command += ["--token", row.token]
        for option, value in options.items():
            command += [f"--{option}"] + ([] if value is True else [value])
        if login and login.seconds_off:
            environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
            command = ["faketime", "-f", f"{login.seconds_off:+d}s", *command]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ATTEMPT_SECONDS)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            return {"code": None, "text": f"exit status {done.returncode}: {done.stderr[-2000:]}"}
        return json.loads(lines[-1])

    def logins(self):
        for row in rows(self.cast, self.dev["region"]):
            for mechanism in row.mechanisms:
                self.raw_login(row, mechanism)
            clients = []
            if row.real and (row.login or row.token):
                clients.append("kafka-python")
                # librdkafka's waits turn into a busy loop under a shifted clock, and it offers no way to set name or token.
                if not row.dialled and not row.token and not row.login.seconds_off:
                    clients.append("confluent")
            for client in clients:
                self.real_login(row, client)
            self.say(f"login: {row.name}: raw {', '.join(row.mechanisms)}; {', '.join(clients) or 'no real client sends this'}")

    # Denials behind a login that succeeds.

    def operation(self, name, code, what, keys, action, **options):
        mark = self.audit.mark()
        told = self.attempt(what, keys=keys, **options)
        self.check(name, told["code"] == code, told)
        if code:
            lines = [line for line in self.audit.denials_since(mark) if line["action"] == action]
            self.check(f"{name}, audit", lines and all(line.get("reason") for line in lines), self.audit.since(mark))
        self.say(f"operation: {name}: {told['code']} {told['text']}")

    def raw_operation(self, name, keys, code, action, api_key, body, code_at):
        """A request whose answer carries its error code at a fixed place: exactly one audit line belongs to it."""
        connection = self.logged_in(keys)
        mark, source = self.audit.mark(), connection.socket.getsockname()
        answer = connection.request(api_key, 0, body)
        found = struct.unpack(">h", answer[code_at : code_at + 2])[0]
        self.check(name, found == code, f"error {found}")
        self.check_one_line(name, mark, source, action)
        self.check(f"{name}, the connection lives on", connection.metadata(), "no metadata")
        connection.close()
        self.say(f"operation: {name}: {found}")

    def operations(self):
        looker, narrow = self.cast.looker, self.cast.narrow
        self.operation("produce without WriteData", TOPIC, "produce", looker, "kafka-cluster:WriteData", topic="allowed")
        self.operation("fetch without ReadData", TOPIC, "consume", looker, "kafka-cluster:ReadData", topic="allowed", partition=True)
        self.operation("create without CreateTopic", TOPIC, "create-topic", looker, "kafka-cluster:CreateTopic", topic="fresh")
        self.operation("join without AlterGroup", GROUP, "consume", looker, "kafka-cluster:AlterGroup", topic="allowed")
        self.operation("group not described", GROUP, "consume", narrow, "kafka-cluster:DescribeGroup", topic="allowed")
        self.operation(
            "idempotent write on one topic only", CLUSTER, "produce", narrow,
            "kafka-cluster:WriteDataIdempotently", topic="allowed", idempotent=True,
        )  # fmt: skip
        self.operation("plain write on that topic", 0, "produce", narrow, None, topic="allowed")
        self.raw_operation(
            "raw FindCoordinator", narrow, GROUP, "kafka-cluster:DescribeGroup", FIND_COORDINATOR, text("denied-group"), 0
        )
        self.raw_operation(
            "raw InitProducerId", narrow, CLUSTER, "kafka-cluster:WriteDataIdempotently",
            INIT_PRODUCER_ID, struct.pack(">hi", -1, 60_000), 4,
        )  # fmt: skip

    def run(self):
        administrator = self.attempt("create-topic", keys=self.cast.administrator, topic="allowed")
        self.check("the administrator creates a topic", administrator["code"] == 0, administrator)
        witness = self.logged_in(self.cast.administrator)
        before = witness.metadata()
        self.logins()
        self.operations()
        self.check("metadata is unchanged and the witness's connection lives", witness.metadata() == before, "it changed")
        good = self.attempt("confluent-login", keys=self.cast.member)
        self.check("the good login still works", good["code"] == 0, good)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headgate", required=True, type=Path)
    parser.add_argument("--loadtest", type=Path, help="not used here")
    parser.add_argument("--work", required=True, type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    with DevServer(arguments.headgate, arguments.work / "data", arguments.work / "server.log") as server:
        denials = Denials(server, arguments.work)
        denials.run()
    if denials.failures:
        print(f"FAILED denials: {len(denials.failures)} of {denials.checked} expectations: {'; '.join(dict.fromkeys(denials.failures))}")
        return 1
    print(f"ok denials {denials.checked} expectations held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
