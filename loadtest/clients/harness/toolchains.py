"""Getting the toolchains of the clients: each at most once a run, with the time it took, or the reason it cannot be had."""

import os
import re
import shutil
import subprocess
import sys
import time

from harness.runner import Failed, Missing, run_logged, say

INSTALL_SECONDS = 600
NODE_MAJOR_MIN = 20
JAVA_MAJOR_MIN = 17


def once(install):
    """Runs an installation once and remembers how it ended."""
    name = install.__name__

    def remembered(self):
        if name not in self.outcomes:
            began = time.monotonic()
            try:
                self.outcomes[name] = install(self), None
                say(f"        toolchain {name}: ready in {time.monotonic() - began:.1f} s")
            except (Failed, Missing, OSError) as error:
                self.outcomes[name] = None, f"{name}: {error}"
                say(f"        toolchain {name}: {error}")
        value, reason = self.outcomes[name]
        if reason:
            raise Missing(reason)
        return value

    return remembered


class Toolchains:
    def __init__(self, root, log_dir, binaries=None):
        self.root, self.clients = root, root / "loadtest" / "clients"
        self.cache, self.log_dir = self.clients / ".cache", log_dir
        self.given_binaries = binaries
        self.outcomes = {}
        self.packages_listed = False

    def log(self, name):
        self.log_dir.mkdir(parents=True, exist_ok=True)
        return self.log_dir / f"install-{name}.log"

    def debian(self, command, *packages):
        """Makes sure of a command, from Debian's packages if need be."""
        if not shutil.which(command):
            self.install_packages(*packages)
        if not shutil.which(command):
            raise Missing(f"installing {' '.join(packages)} brought no `{command}`")

    def install_packages(self, *packages):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Missing(f"install Debian's {' '.join(packages)}, or run this as root on Debian")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        if not self.packages_listed:
            run_logged(["apt-get", "update", "-q"], self.log("apt"), INSTALL_SECONDS, environment)
            self.packages_listed = True
        run_logged(["apt-get", "install", "-y", "-q", *packages], self.log("apt"), INSTALL_SECONDS, environment)

    @once
    def cargo(self):
        if not shutil.which("cargo"):
            raise Missing("`cargo` not found; install Rust as the README says")

    @once
    def binaries(self):
        """The release binaries: `headgate` and `headgate-loadtest`, in this order."""
        if self.given_binaries:
            folder = self.given_binaries
        else:
            self.cargo()
            command = ["cargo", "build", "--release", "-p", "headgate", "-p", "headgate-loadtest"]
            run_logged(command, self.log("release"), 2 * INSTALL_SECONDS, directory=self.root, echo=r"^\s+Finished|^error")
            folder = self.root / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
        paths = folder / "headgate", folder / "headgate-loadtest"
        for path in paths:
            if not path.exists():
                raise Missing(f"{path} does not exist")
        return paths

    @once
    def kcat(self):
        self.debian("kcat", "kcat")

    @once
    def faketime(self):
        self.debian("faketime", "faketime")

    @once
    def etcd(self):
        if not os.environ.get("HEADGATE_ETCD"):
            self.debian("etcd", "etcd-server")

    @once
    def prometheus(self):
        self.debian("prometheus", "prometheus")

    @once
    def python(self):
        """A virtual environment with the pinned packages; returns its interpreter."""
        return self.environment("venv", "requirements.txt") / "python"

    @once
    def awscli(self):
        """The `aws` command, in an environment of its own: it pins another botocore than the clients."""
        return self.environment("venv-awscli", "requirements-awscli.txt") / "aws"

    def environment(self, name, requirements):
        """A virtual environment with what a file of requirements names; returns the folder of its commands."""
        venv, wanted = self.cache / name, (self.clients / requirements).read_text()
        commands, installed = venv / "bin", venv / "installed.txt"
        if (commands / "python").exists() and installed.exists() and installed.read_text() == wanted:
            return commands
        log = self.log(name)
        shutil.rmtree(venv, ignore_errors=True)
        try:
            run_logged([sys.executable, "-m", "venv", venv], log, INSTALL_SECONDS)
        except Failed:
            self.install_packages("python3-venv")  # Debian ships Python without the module that makes these.
            run_logged([sys.executable, "-m", "venv", venv], log, INSTALL_SECONDS)
        command = [commands / "python", "-m", "pip", "install", "--quiet", "--requirement", self.clients / requirements]
        run_logged(command, log, INSTALL_SECONDS)
        installed.write_text(wanted)
        return commands

    @once
    def node(self):
        self.debian("npm", "nodejs", "npm")
        version = output_of("node", "--version")
        if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
            raise Missing(f"Node {NODE_MAJOR_MIN} or newer is needed, this is {version}")
        # The packages' own install scripts are not needed, so they are not run.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run_logged(command, self.log("node"), INSTALL_SECONDS, directory=self.clients / "node")

    @once
    def go(self):
        """Builds the Go client and returns its binary."""
        if not shutil.which("go"):
            raise Missing("`go` not found; Debian's is too old, install a current one")
        binary = self.cache / "franz-go"
        environment = os.environ | {"GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -mod=readonly".strip()}
        run_logged(["go", "build", "-o", binary, "."], self.log("go"), INSTALL_SECONDS, environment, self.clients / "go")
        return binary

    @once
    def java(self):
        """Builds the Java client and returns its class path."""
        self.debian("java", "default-jdk-headless")
        self.debian("mvn", "maven")
        version = output_of("java", "-version")
        major = re.search(r'version "(\d+)', version)
        if not major or int(major.group(1)) < JAVA_MAJOR_MIN:
            raise Missing(f"Java {JAVA_MAJOR_MIN} or newer is needed, this is {version.splitlines()[0]}")
        folder = self.clients / "java"
        run_logged(["mvn", "--batch-mode", "--quiet", "package"], self.log("java"), INSTALL_SECONDS, directory=folder)
        return f"{folder}/target/clients.jar:{folder}/target/lib/*"


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip()
