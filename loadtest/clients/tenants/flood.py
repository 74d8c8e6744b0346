"""One caller that asks far more often than it may: the same signed request, over a few connections, without waiting."""

import re
import socket
import threading
import time

CONNECTIONS = 4
# Requests under way on one connection.
PIPELINED = 100
TIMEOUT_SECONDS = 30
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Flood:
    """Answers by status, and the rate that was reached."""

    def __init__(self, address, request, seconds):
        self.host, _, port = address.rpartition(":")
        self.port, self.request, self.seconds = int(port), request, seconds
        self.lock, self.statuses, self.failures = threading.Lock(), {}, []

    def run(self):
        threads = [threading.Thread(target=self.one) for _ in range(CONNECTIONS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.rate = sum(self.statuses.values()) / (time.monotonic() - began)
        return self

    def one(self):
        try:
            deadline = time.monotonic() + self.seconds
            with socket.create_connection((self.host, self.port), timeout=TIMEOUT_SECONDS) as connection:
                while time.monotonic() < deadline:
                    connection.sendall(self.request * PIPELINED)
                    self.read(connection, PIPELINED)
        except OSError as error:
            with self.lock:
                self.failures.append(str(error))

    def read(self, connection, count):
        """Counts so many answers. Their bodies hold no status line, so looking for those is enough; what is left of the last
        body comes before the next status line."""
        seen, rest = [], b""
        while len(seen) < count:
            data = connection.recv(1 << 16)
            if not data:
                raise OSError("the server closed the connection")
            rest += data
            found = list(STATUS.finditer(rest))
            seen += [match.group(1) for match in found]
            # A status line may be cut in two.
            rest = rest[max(found[-1].end() if found else 0, len(rest) - 16) :]
        with self.lock:
            for status in seen:
                self.statuses[int(status)] = self.statuses.get(int(status), 0) + 1
