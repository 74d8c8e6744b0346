"""`headgate bill` as the fault scripts use it: the bytes it counts are those that can be read, for every partition."""

import json
import subprocess

from harness.fault import require

BILL_SECONDS = 150


def bill(fault, server, where):
    """The bill of `demo`; `where` says whom to ask, as the command's own flags."""
    command = [str(fault.arguments.headgate), "bill", "--cluster", "demo", "--by", "partition", "--format", "json", *where]
    done = subprocess.run(command, env=server.environment(), capture_output=True, text=True, timeout=BILL_SECONDS)
    require(done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    (fault.work / "bill.json").write_text(done.stdout)
    return json.loads(done.stdout)


def check_bill(topic, verified, bill, what):
    billed = {item["partition"]: item["bytes_in"] for item in bill["items"] if item.get("topic") == topic}
    stored = {partition["partition"]: partition["bytes_in"] for partition in verified["partitions"]}
    require(billed == stored, f"{what}: billed {billed}, stored {stored}")
