#!/usr/bin/env python3
"""A tenant that wants far more than its quota and listens to nobody: requests, metadata calls or connections, paced.

It speaks raw Kafka to a plaintext listener, sends whatever the answers say, and takes no more than a part of one core. The
last line is what it sent, as JSON. Loopback only.
"""

import argparse
import json
import selectors
import socket
import struct
import time

API_VERSIONS, METADATA = 18, 3
ALL_TOPICS = struct.pack(">i", -1)
CONNECTIONS = 20
TURN_SECONDS = 0.01


def frame(key, version, body=b""):
    request = struct.pack(">hhih", key, version, 1, -1) + body
    return struct.pack(">i", len(request)) + request


class Flood:
    def __init__(self, address, rate, cpu_part):
        self.address, self.rate, self.cpu_part = address, rate, cpu_part
        self.selector, self.sent, self.held_back, self.ended = selectors.DefaultSelector(), 0, 0, 0

    def connect(self):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(self.address)
        self.selector.register(connection, selectors.EVENT_READ)
        return connection

    def close(self, connection):
        self.selector.unregister(connection)
        connection.close()
        self.ended += 1

    def drain(self):
        """Reads what came, and drops it."""
        for key, _ in self.selector.select(0):
            try:
                if key.fileobj.recv(1 << 16):
                    continue
            except OSError:
                pass
            self.close(key.fileobj)

    def run(self, seconds, act):
        began, cpu_began, due = time.monotonic(), time.process_time(), 0.0
        while (passed := time.monotonic() - began) < seconds:
            wanted, due = int(passed * self.rate - due), int(passed * self.rate)
            act(max(wanted, 0))
            self.drain()
            spent = time.process_time() - cpu_began
            time.sleep(max(TURN_SECONDS, spent / self.cpu_part - (time.monotonic() - began)))
        return {"sent": self.sent, "held_back": self.held_back, "ended": self.ended, "seconds": time.monotonic() - began}

    def requests(self, request):
        def act(count):
            while len(self.selector.get_map()) < CONNECTIONS:
                self.connect()
            connections = [key.fileobj for key in self.selector.get_map().values()]
            for connection in connections:
                many = max(count // len(connections), 1)
                try:
                    # A part of a frame may be left: the next begins in its middle, and the server ends the connection.
                    self.sent += connection.send(request * many) // len(request)
                except BlockingIOError:
                    self.held_back += many
                except OSError:
                    self.close(connection)

        return act

    def connections(self, count):
        for _ in range(count):
            self.connect()
            self.sent += 1
        # The oldest go, as those of a client that restarts all the time.
        for key in list(self.selector.get_map().values())[:-500]:
            self.close(key.fileobj)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("requests", "metadata", "connections"))
    parser.add_argument("--bootstrap", required=True, metavar="127.0.0.1:PORT")
    parser.add_argument("--rate", type=float, required=True, help="a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cpu", type=float, default=0.25, help="the part of one core it may take")
    arguments = parser.parse_args()
    host, _, port = arguments.bootstrap.rpartition(":")
    if not host.startswith("127."):
        parser.error("loopback only")
    flood = Flood((host, int(port)), arguments.rate, arguments.cpu)
    acts = {
        "requests": flood.requests(frame(API_VERSIONS, 0)),
        "metadata": flood.requests(frame(METADATA, 1, ALL_TOPICS)),
        "connections": flood.connections,
    }
    print(json.dumps(flood.run(arguments.seconds, acts[arguments.what])))


if __name__ == "__main__":
    main()
