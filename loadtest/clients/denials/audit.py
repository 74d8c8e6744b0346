"""The audit log: one event in CloudTrail's shape for each authentication, denial and control call."""

import json
import time

PATIENCE_SECONDS = 10


class AuditLog:
    def __init__(self, path):
        self.path = path

    def mark(self):
        """The place behind the last line; what follows it is news."""
        return self.path.stat().st_size if self.path.exists() else 0

    def since(self, mark):
        with self.path.open("rb") as file:
            file.seek(mark)
            return [told(json.loads(line)) for line in file.read().splitlines() if line.strip()]

    def denials_since(self, mark):
        """Lines of refusals. Waits for the first: an answer may overtake its line."""
        return self._wait(mark, lambda _line: True)

    def denials_from(self, mark, source):
        """Lines of refusals on one connection."""
        return self._wait(mark, lambda line: line["source"] == source)

    def _wait(self, mark, wanted):
        began = time.monotonic()
        while True:
            lines = [line for line in self.since(mark) if line["result"] == "denied" and wanted(line)]
            if lines or time.monotonic() - began > PATIENCE_SECONDS:
                return lines
            time.sleep(0.05)


def told(event):
    """What the expectations ask of an event."""
    service = event["eventSource"].removesuffix(".amazonaws.com")
    address, port = event["sourceIPAddress"], event["additionalEventData"].get("sourcePort")
    return {
        "action": f"{service}:{event['eventName']}",
        "source": f"{address}:{port}",
        "result": "denied" if event.get("errorCode") else "allowed",
        "reason": event.get("errorMessage"),
    }
