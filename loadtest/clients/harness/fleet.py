"""A fleet on one machine: etcd, an S3 server, storage nodes in three zones, gateways, metering; all real processes.

Each process has an address of its own, so that ports are the same everywhere: 127.OCTET.x.y, or 10.OCTET.x.y in a network
namespace. `DIR/fleet.json` is all that is known of a fleet; whoever reads it can go on where another program left off.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from harness.netns import Networks
from harness.processes import Process, without_aws

READY_SECONDS = 60
STOP_SECONDS = 40
ZONES = ("a", "b", "c")
SLOTS = 256
BUCKET = "headgate"
CLUSTER = "demo"
CLUSTER_PORTS = "9100-9199"
PORTS = {"etcd": 2379, "etcd-peers": 2380, "s3": 9000, "wire": 9081, "http": 9082, "iam": 9098, "api": 9080}
S3_CREDENTIALS = {
    "HEADGATE_OBJECT_STORE_REGION": "us-east-1",
    "HEADGATE_OBJECT_STORE_ACCESS_KEY_ID": "object-store-key",
    "HEADGATE_OBJECT_STORE_SECRET_ACCESS_KEY": "object-store-secret",
}
# Order of starting; stopping is the other way round.
ROLES = ("etcd", "s3", "storage", "metering", "gateway")


class FleetFailed(Exception):
    """The fleet did not do what it must; the text says which process, and what it last said."""


def free_octet():
    """An octet whose addresses nobody uses: the ports of a fleet can be bound there."""
    for octet in range(64, 250):
        try:
            for port in PORTS.values():
                with socket.socket() as listener:
                    listener.bind((f"127.{octet}.0.1", port))
        except OSError:
            continue
        if not Path(f"/sys/class/net/hg{octet}br").exists():
            return octet
    raise FleetFailed("no free addresses between 127.64.0.0 and 127.250.0.0")


class Fleet:
    def __init__(self, directory, processes, facts):
        self.directory, self.processes, self.facts = Path(directory), processes, facts

    @classmethod
    def load(cls, directory):
        path = Path(directory) / "fleet.json"
        try:
            facts = json.loads(path.read_text())
        except FileNotFoundError:
            raise FleetFailed(f"{path} does not exist; start a fleet with `deploy/fleet up --dir {directory}`") from None
        processes = [Process(**one) for one in facts.pop("processes")]
        return cls(directory, processes, facts)

    def save(self):
        """Whole or not at all, readable by its owner alone: it holds credentials."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "fleet.json"
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        text = json.dumps(self.facts | {"processes": [one.as_dict() for one in self.processes]}, indent=2)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
        partial.replace(path)

    def process(self, name):
        for process in self.processes:
            if process.name == name:
                return process
        raise FleetFailed(f"no process `{name}`; there are {', '.join(one.name for one in self.processes)}")

    def of_role(self, role):
        return [process for process in self.processes if process.role == role]

    def networks(self):
        return Networks(self.facts["octet"]) if self.facts["netns"] else None

    # One process.

    def start(self, process):
        process.start()
        self.save()
        self.await_ready(process)

    def kill(self, process, number):
        process.signal(number)

    def is_ready(self, process):
        url = process.addresses.get("ready")
        if url is None:
            return process.is_running()
        context = None
        if url.startswith("https"):
            context = ssl.create_default_context(cafile=self.facts["ca_pem_path"])
        try:
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:
                return answer.status < 300
        except urllib.error.HTTPError as error:
            # The S3 server wants a signature, which is an answer.
            return process.role == "s3" and error.code < 500
        except OSError:
            return False

    def await_ready(self, process):
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready(process):
            if not process.is_running():
                raise FleetFailed(f"{process.name} ended:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise FleetFailed(f"{process.name} is not ready after {READY_SECONDS} s:\n{process.tail()}")
            time.sleep(0.05)

    # The whole.

    def down(self):
        """Ends the processes that this fleet started, and nothing else; the names of those that had to be killed."""
        killed = []
        for role in reversed(ROLES):
            for process in self.of_role(role):
                if process.is_running() and not process.stop(STOP_SECONDS):
                    killed.append(process.name)
        networks = self.networks()
        if networks:
            networks.remove(process.name for process in self.processes)
        (self.directory / "fleet.json").unlink(missing_ok=True)
        return killed


class Plan:
    """Lays a fleet out and starts it."""

    def __init__(self, directory, headgate, etcd, moto, nodes=3, gateways=2, netns=False, objects="s3", storage=None):
        self.directory = Path(directory).resolve()
        # Settings of `[storage]`.
        self.storage = {"disk_free_slow_bytes": 2**30, "disk_free_refuse_bytes": 2**28} | (storage or {})
        self.headgate, self.etcd, self.moto = str(headgate), str(etcd), str(moto)
        self.nodes, self.gateways, self.objects = nodes, gateways, objects
        octet = free_octet()
        facts = {"octet": octet, "netns": netns, "object_store": self.object_store()}
        self.fleet = Fleet(self.directory, [], facts)
        self.prefix = f"{10 if netns else 127}.{octet}"
        self.networks = self.fleet.networks()

    def object_store(self):
        return f"s3://{BUCKET}/cell" if self.objects == "s3" else f"file://{self.directory}/objects"

    def secrets(self):
        return self.directory / "secrets"

    def up(self, say=print):
        if self.directory.exists() and any(self.directory.iterdir()):
            raise FleetFailed(f"{self.directory} is not empty; end its fleet with `deploy/fleet down` and remove it")
        (self.directory / "logs").mkdir(parents=True)
        if self.networks:
            self.networks.create()
        try:
            self.start_all(say)
        except BaseException:
            self.fleet.down()
            raise
        return self.fleet

    def start_all(self, say):
        self.add(self.etcd_process())
        if self.objects == "s3":
            self.add(self.s3_process())
            self.create_bucket()
        self.write_config()
        self.make_cell()
        self.fleet.facts["ca_pem_path"] = self.administrator()["ca_pem_path"]
        say(f"  cell {self.administrator()['cell']} made")
        for index in range(self.nodes):
            self.add(self.storage_process(index))
        self.add(self.metering_process())
        for index in range(self.gateways):
            self.add(self.gateway_process(index))
        say(f"  {len(self.fleet.processes)} processes ready")
        self.tell_clients()
        self.fleet.save()

    def add(self, process):
        process.log = str(self.directory / "logs" / f"{process.name}.log")
        if self.networks:
            number = len(self.fleet.processes)
            process.netns, process.link = self.networks.join(process.name, process.address, number)
        self.fleet.processes.append(process)
        self.fleet.start(process)

    # The processes.

    def etcd_process(self):
        address = f"{self.prefix}.0.1"
        client, peer = f"http://{address}:{PORTS['etcd']}", f"http://{address}:{PORTS['etcd-peers']}"
        self.etcd_url = client
        command = [
            self.etcd, "--name", "etcd-1", "--data-dir", str(self.directory / "etcd"), "--logger", "zap",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"etcd-1={peer}",
            # Every change is kept for ever otherwise.
            "--auto-compaction-mode", "periodic", "--auto-compaction-retention", "10m",
        ]  # fmt: skip
        addresses = {"client": client, "ready": f"{client}/health"}
        return Process("etcd-1", "etcd", "1", "", address, command, "", addresses)

    def s3_process(self):
        address = f"{self.prefix}.0.2"
        url = f"http://{address}:{PORTS['s3']}"
        command = [self.moto, "-m", "moto.server", "-H", address, "-p", str(PORTS["s3"])]
        return Process("s3-1", "s3", "1", "", address, command, "", {"url": url, "ready": url})

    def environment(self):
        """What every process of the cell gets beside its flags."""
        if self.objects != "s3":
            return {}
        return S3_CREDENTIALS | {"HEADGATE_OBJECT_STORE_ENDPOINT": self.fleet.process("s3-1").addresses["url"]}

    def role_process(self, role, identity, zone, address, flags, addresses):
        name = f"{role}-{identity}"
        data = str(self.directory / name)
        command = [self.headgate, role, "--config", str(self.directory / "headgate.toml"), "--data-dir", data, *flags]
        return Process(name, role, identity, zone, address, command, "", addresses, self.environment(), data)

    def storage_process(self, index):
        number, zone = str(index + 1), ZONES[index % len(ZONES)]
        address = f"{self.prefix}.1.{number}"
        wire, http = f"{address}:{PORTS['wire']}", f"{address}:{PORTS['http']}"
        flags = ["--node", number, "--zone", zone, "--listen", wire, "--listen-http", http]
        addresses = {"wire": wire, "metrics": f"http://{http}/metrics", "ready": f"http://{http}/readyz"}
        return self.role_process("storage", number, zone, address, flags, addresses)

    def metering_process(self):
        address = f"{self.prefix}.3.1"
        wire, http = f"{address}:{PORTS['wire']}", f"{address}:{PORTS['http']}"
        flags = ["--name", "1", "--listen", wire, "--listen-http", http]
        addresses = {"wire": wire, "metrics": f"http://{http}/metrics", "ready": f"http://{http}/readyz"}
        return self.role_process("metering", "1", "", address, flags, addresses)

    def gateway_address(self, index):
        return f"{self.prefix}.2.{index + 1}"

    def gateway_process(self, index):
        number, zone, address = str(index + 1), ZONES[index % len(ZONES)], self.gateway_address(index)
        iam, api = f"{address}:{PORTS['iam']}", f"{address}:{PORTS['api']}"
        flags = ["--name", number, "--zone", zone, "--listen-iam", iam, "--listen-api", api]
        flags += ["--cluster-ports", CLUSTER_PORTS]
        # Over TLS where it is not on loopback.
        url = f"{'https' if self.networks else 'http'}://{api}"
        addresses = {"iam": iam, "api": url, "metrics": f"{url}/metrics", "ready": f"{url}/readyz"}
        return self.role_process("gateway", number, zone, address, flags, addresses)

    # What must be there before the first of them.

    def create_bucket(self):
        request = urllib.request.Request(f"{self.fleet.process('s3-1').addresses['url']}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=READY_SECONDS).close()

    def write_config(self):
        text = (
            "# One file for all processes of this cell; what differs between them stands in their flags.\n"
            f'etcd-endpoints = ["{self.etcd_url}"]\nobject-store = "{self.object_store()}"\n'
            f'secrets-dir = "{self.secrets()}"\n\n'
            "[storage]\n# A small machine: a full disk of the whole machine is not the fleet's.\n"
            + "".join(f"{name} = {value}\n" for name, value in self.storage.items())
        )
        (self.directory / "headgate.toml").write_text(text)

    def make_cell(self):
        issue = [f"storage/{index + 1}" for index in range(self.nodes)]
        issue += [f"gateway/{index + 1}={self.gateway_address(index)}" for index in range(self.gateways)]
        issue += ["metering/1"]
        flags = [word for role in issue for word in ("--issue", role)]
        config = str(self.directory / "headgate.toml")
        self.operate("cell", "init", "--config", config, "--slots", str(SLOTS), *flags)

    def administrator(self):
        return json.loads((self.secrets() / "administrator.json").read_text())

    def operate(self, *words, environment=None):
        """Runs an operator's command; its output."""
        done = subprocess.run(
            [self.headgate, *words],
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            env=without_aws(os.environ) | self.environment() | (environment or {}),
        )
        if done.returncode:
            raise FleetFailed(f"`headgate {' '.join(words[:2])}` failed: {done.stderr.strip()}")
        return done.stdout

    def tell_clients(self):
        """Creates the cluster and writes down what its clients need, under the names that `dev.json` uses."""
        who = self.administrator()
        credentials = {
            "AWS_ACCESS_KEY_ID": who["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": who["secret_access_key"],
            "AWS_REGION": who["region"],
            "AWS_CA_BUNDLE": who["ca_pem_path"],
        }
        gateways = self.fleet.of_role("gateway")
        api = gateways[0].addresses["api"]
        words = ["cluster", "create", CLUSTER, "--auto-create-topics", "--api", api]
        shown = dict(
            line.split(": ", 1) for line in self.operate(*words, environment=credentials).splitlines() if ": " in line
        )
        port = shown["port"]
        self.fleet.facts |= {
            "bootstrap_iam": ",".join(f"{one.address}:{port}" for one in gateways),
            "bootstrap_iam_by_zone": {one.zone: f"{one.address}:{port}" for one in gateways},
            "bootstrap_plaintext": None,
            "api_url": api,
            "cluster_arn": shown["clusterArn"],
            "cluster_name": CLUSTER,
            "region": who["region"],
            "account_id": who["account_id"],
            "access_key_id": who["access_key_id"],
            "secret_access_key": who["secret_access_key"],
        }


def newest_binary(root):
    """The headgate binary that was built last."""
    candidates = [root / "target" / kind / "headgate" for kind in ("release", "debug")]
    built = [path for path in candidates if path.exists()]
    return max(built, key=lambda path: path.stat().st_mtime) if built else None


def python_with_moto(toolchains):
    """An interpreter that has moto: this one, or that of the clients' virtual environment."""
    probe = subprocess.run([sys.executable, "-c", "import moto.server, flask"], capture_output=True)
    return sys.executable if probe.returncode == 0 else toolchains.python()


def etcd_binary(toolchains):
    toolchains.etcd()
    return os.environ.get("HEADGATE_ETCD") or shutil.which("etcd")
