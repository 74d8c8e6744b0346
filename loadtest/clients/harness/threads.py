"""Stops one thread of a running process, as a disk stops it that hangs in `fsync`, while the others go on. Linux's ptrace(2)."""

import ctypes
import os
from pathlib import Path

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WAIT_FOR_THREADS_TOO = 0x40000000  # __WALL
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class StoppedThread:
    """Stopped and let go by the same thread of this process: the kernel takes no other's word."""

    def __init__(self, pid, name):
        self.thread = next(thread for thread in threads(pid) if thread_name(pid, thread) == name)

    def stop(self):
        trace(PTRACE_SEIZE, self.thread)
        trace(PTRACE_INTERRUPT, self.thread)
        os.waitpid(self.thread, WAIT_FOR_THREADS_TOO)

    def go_on(self):
        trace(PTRACE_DETACH, self.thread)


def threads(pid):
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def thread_name(pid, thread):
    return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()


def trace(request, thread):
    if libc.ptrace(request, thread, None, None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace {request:#x} of thread {thread}: {os.strerror(error)}")
