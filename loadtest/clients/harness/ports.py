"""Free loopback ports. Nothing here assumes that a well-known port is free."""

import random
import socket

# Below Linux's range for outgoing connections, which would otherwise take a port between our look and our use.
FIRST, LAST = 20_000, 32_000
TRIES = 200


def _is_free(port):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (97, 99):  # No IPv6 here: nothing can take the port there.
                continue
            return False
    return True


def free_range(count):
    """The first of `count` neighbouring ports that are free on 127.0.0.1 and ::1."""
    for _ in range(TRIES):
        first = random.randrange(FIRST, LAST - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} neighbouring free ports between {FIRST} and {LAST}")


def free_port():
    return free_range(1)
