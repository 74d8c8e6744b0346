"""Running the parts of a test: one after another, each into its own log, with times, a table and one last line."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
TAIL_LINES = 40
STILL_RUNNING_SECONDS = 30
END_SECONDS = 10
CELL_WIDTH_MAX = 110
GIB = 1 << 30
# A little more than where storage nodes begin to slow producers: a part frees disk as it ends.
DISK_LOW_BYTES = 10 * GIB


class Failed(Exception):
    """A part did what it should and the answer was wrong."""


class Missing(Exception):
    """A part cannot be run here; the text says what is missing and why."""


@dataclass
class Result:
    name: str
    status: str
    note: str = ""
    seconds: float = 0.0


@dataclass
class Part:
    """One line of `--list`. `run` gets the log's path; it returns a note, or results of its own when it stands for several rows."""

    name: str
    about: str
    run: Callable[[Path], "str | list[Result]"]
    tags: tuple = ()


@dataclass
class Runner:
    log_dir: Path
    results: list = field(default_factory=list)

    def run(self, parts):
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for index, part in enumerate(parts, start=1):
            say(f"[{index:2}/{len(parts)}] {part.name}: {part.about}")
            self.run_part(part)

    def run_part(self, part):
        log = self.log_dir / f"{part.name}.log"
        log.write_bytes(b"")
        began = time.monotonic()
        try:
            with still_running(part.name):
                answer = part.run(log)
            results = answer if isinstance(answer, list) else [Result(part.name, PASSED, answer)]
        except Missing as reason:
            results = [Result(part.name, NOT_RUN, str(reason))]
        except Exception as error:  # Whatever goes wrong in one part, the others are still run.
            with log.open("a") as file:
                file.write(f"\n{type(error).__name__}: {error}\n{disk_hint()}")
            results = [Result(part.name, FAILED, first_line(str(error)) or type(error).__name__)]
        seconds = time.monotonic() - began
        if len(results) == 1:
            results[0].seconds = seconds
        self.results += results
        if any(result.status == FAILED for result in results):
            show_tail(log)
        for result in results:
            say(f"        {result.status:8} {result.name}{f': {result.note}' if result.note else ''} ({result.seconds or seconds:.1f} s)")

    def has_failures(self):
        return any(result.status == FAILED for result in self.results)

    def finish(self, everything_must_run):
        """Draws the table, prints the one line at the end, and returns the exit status."""
        passed = sum(result.status == PASSED for result in self.results)
        failed = sum(result.status == FAILED for result in self.results)
        not_run = len(self.results) - passed - failed
        print()
        print(drawn_table(self.results))
        print(f"logs: {self.log_dir}")
        if not_run:
            counted = "counted as failed (--all)" if everything_must_run else "not counted"
            print(f"{not_run} did not run, {counted}; see the reasons above")
        if everything_must_run:
            failed += not_run
        print(f"{passed} passed, {failed} failed")
        return 1 if failed or not passed else 0


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def disk_hint():
    """A test that waited for a producer in vain is understood only by who knows that the disk was nearly full."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return f"only {free / GIB:.1f} GiB of disk are free: below 8 GiB storage nodes slow producers\n" if free < DISK_LOW_BYTES else ""


def first_line(text):
    return text.strip().splitlines()[0][:160] if text.strip() else ""


def show_tail(log):
    lines = log.read_text(errors="replace").splitlines()
    print(f"        ---- last lines of {log}")
    for line in lines[-TAIL_LINES:]:
        print(f"        | {line}")
    print("        ----", flush=True)


class still_running:  # noqa: N801 - it reads as what it does
    """Says now and then that a long part is alive."""

    def __init__(self, name):
        self.name, self.done, self.began = name, threading.Event(), time.monotonic()

    def __enter__(self):
        threading.Thread(target=self.report, daemon=True).start()

    def __exit__(self, *_error):
        self.done.set()

    def report(self):
        while not self.done.wait(STILL_RUNNING_SECONDS):
            say(f"        {self.name} is running, {time.monotonic() - self.began:.0f} s")


def run_logged(command, log, seconds, environment=None, directory=None, echo=None):
    """Runs a command into the log, bounded in time, and returns its output. Lines that match `echo` are shown too.

    The command gets a process group of its own: when it must be ended, its children end with it and nothing else does.
    """
    with log.open("ab") as file:
        file.write(f"$ {' '.join(map(str, command))}\n".encode())
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=(os.environ if environment is None else environment) | {"CARGO_TERM_COLOR": "never", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=directory,
        start_new_session=True,
    )
    output = []

    def copy():
        with log.open("ab") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                text = line.decode(errors="replace").rstrip()
                output.append(text)
                if echo and re.search(echo, text):
                    print(f"        {text}", flush=True)

    reader = threading.Thread(target=copy, daemon=True)
    reader.start()
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"not finished within {seconds} s") from None
    finally:
        end_group(process)
    reader.join(END_SECONDS)
    if status:
        reason = next((line for line in reversed(output) if line.startswith(("FAILED", "error"))), f"exit status {status}")
        raise Failed(reason.removeprefix("FAILED "))
    return output


def end_group(process):
    """Ends what is left of a command's process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.05)


def drawn_table(results):
    rows = [(result.name, result.status, f"{result.seconds:.1f} s" if result.seconds else "", result.note) for result in results]
    return drawn_rows(("part", "result", "time", "what it showed, or why it did not run"), rows, right={2})


def drawn_rows(header, rows, right):
    """A table with lines; the columns of `right` hold numbers."""
    widths = [min(max(len(row[column]) for row in [header, *rows]), CELL_WIDTH_MAX) for column in range(len(header))]

    def line(row):
        cells = [text[:width] for text, width in zip(row, widths)]
        cells = [cell.rjust(widths[column]) if column in right else cell.ljust(widths[column]) for column, cell in enumerate(cells)]
        return "│ " + " │ ".join(cells) + " │"

    def rule(left, middle, right):
        return left + middle.join("─" * (width + 2) for width in widths) + right

    drawn = [rule("┌", "┬", "┐"), line(header), rule("├", "┼", "┤"), *map(line, rows), rule("└", "┴", "┘")]
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return "\n".join(drawn).translate(str.maketrans("┌┬┐├┼┤└┴┘─│", "+++++++++-|"))
    return "\n".join(drawn)
