"""A network of its own for each process of a fleet: namespaces on one bridge, links that can be cut in either direction.

Needs root and iproute2. Names carry the fleet's octet, so that several fleets stand beside each other.
"""

import os
import shutil
import subprocess


# Rules are looked at in this order.
CUT_PREFERENCE, LOCAL_PREFERENCE = "10", "100"


class NoNamespaces(Exception):
    """This machine does not let us; the text says what is missing."""


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise NoNamespaces(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout


class Networks:
    """The bridge 10.OCTET.0.0/16 and what hangs on it. The machine itself is 10.OCTET.255.254."""

    def __init__(self, octet):
        self.octet, self.bridge = octet, f"hg{octet}br"

    def create(self):
        if os.geteuid() != 0 or not shutil.which("ip"):
            raise NoNamespaces("network namespaces need root and iproute2 (Debian's package iproute2)")
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", f"10.{self.octet}.255.254/16", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def namespace(self, name):
        return f"hg{self.octet}-{name}"

    def join(self, name, address, number):
        """Makes the namespace of a process; returns it and the end of its link that stays outside."""
        namespace, outer = self.namespace(name), f"hg{self.octet}v{number}"
        inner = f"{outer}i"
        ip("netns", "add", namespace)
        ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        ip("link", "set", outer, "master", self.bridge)
        ip("link", "set", outer, "up")
        ip("link", "set", inner, "netns", namespace)
        inside = ("-n", namespace)
        ip(*inside, "link", "set", inner, "name", "eth0")
        ip(*inside, "address", "add", f"{address}/16", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")
        # What is cut must be looked at before what is delivered here: the kernel puts the latter first.
        ip(*inside, "rule", "add", "pref", LOCAL_PREFERENCE, "lookup", "local")
        ip(*inside, "rule", "delete", "pref", "0")
        return namespace, outer

    def remove(self, names):
        """Removes what `create` and `join` made; what is not there is no error."""
        for name in names:
            subprocess.run(["ip", "netns", "delete", self.namespace(name)], capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)


def cut(namespace, address):
    """Nothing that comes from the address is taken in this namespace any more; whoever sends it learns nothing. The other
    direction is cut in the other's namespace."""
    mend(namespace, address)
    ip("-n", namespace, "rule", "add", "pref", CUT_PREFERENCE, "from", f"{address}/32", "iif", "eth0", "blackhole")


def mend(namespace, address):
    words = ["rule", "delete", "pref", CUT_PREFERENCE, "from", f"{address}/32", "iif", "eth0", "blackhole"]
    subprocess.run(["ip", "-n", namespace, *words], capture_output=True)
