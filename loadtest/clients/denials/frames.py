"""Raw Kafka frames over TLS or plain TCP: just enough to log in, to be refused, and to ask for metadata."""

import socket
import ssl
import struct
import time

SASL_HANDSHAKE, SASL_AUTHENTICATE, METADATA = 17, 36, 3
TIMEOUT_SECONDS = 15


def text(value):
    encoded = value.encode()
    return struct.pack(">h", len(encoded)) + encoded


class Refused:
    """One refused login, as the wire showed it."""

    def __init__(self, code, message, seconds, closed_orderly):
        self.code, self.message, self.seconds, self.closed_orderly = code, message, seconds, closed_orderly

    def __repr__(self):
        return f"error {self.code}, {self.message!r}, after {self.seconds:.3f} s, orderly close: {self.closed_orderly}"


class RawConnection:
    def __init__(self, port, ca_file, host="localhost"):
        context = ssl.create_default_context(cafile=ca_file)
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self.socket = context.wrap_socket(plain, server_hostname=host)
        self.correlation_id = 0
        # How long the session lasts from the last login on, as its answer said.
        self.lifetime_ms = None

    def request(self, api_key, version, body):
        """Sends a request with header version 1 and returns the response's body."""
        self.correlation_id += 1
        frame = struct.pack(">hhi", api_key, version, self.correlation_id) + text("headgate-denials") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        length = struct.unpack(">i", self.exactly(4))[0]
        answer = self.exactly(length)
        if struct.unpack(">i", answer[:4])[0] != self.correlation_id:
            raise ValueError("the response belongs to another request")
        return answer[4:]

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError("the server closed the connection without an answer")
            data += more
        return data

    def authenticate(self, mechanism, data):
        """Logs in. `None` on success, else how it was refused."""
        handshake = self.request(SASL_HANDSHAKE, 1, text(mechanism))
        if handshake[:2] != b"\0\0":
            raise ValueError(f"the handshake was refused: {handshake!r}")
        began = time.monotonic()
        answer = self.request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(data)) + data)
        seconds = time.monotonic() - began
        code, length = struct.unpack(">hh", answer[:4])
        message = answer[4 : 4 + length].decode() if length >= 0 else None
        if code == 0:
            self.lifetime_ms = struct.unpack(">q", answer[-8:])[0]
            return None
        return Refused(code, message, seconds, self.is_closed_orderly())

    def is_closed_orderly(self):
        """An end of stream, not a reset and not silence."""
        try:
            return self.socket.recv(1) == b""
        except (ConnectionResetError, ssl.SSLError, TimeoutError):
            return False

    def metadata(self):
        """All topics as the server describes them (version 7), without the throttle time."""
        return self.request(METADATA, 7, struct.pack(">ib", -1, 0))[4:]

    def close(self):
        self.socket.close()
