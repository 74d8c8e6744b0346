"""Requests of the control API with every part in the caller's hand: signed as AWS Signature Version 4 says, then changed on
purpose."""

import hashlib
import hmac
import http.client
import time
from dataclasses import dataclass, field
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
TIMEOUT_SECONDS = 20


@dataclass
class Answer:
    status: int
    headers: dict
    body: str

    @property
    def code(self):
        """The error's code, in either dialect."""
        if "x-amzn-errortype" in self.headers:
            return self.headers["x-amzn-errortype"]
        return self.body.partition("<Code>")[2].partition("</Code>")[0] or None


@dataclass
class Draft:
    service: str
    method: str
    path: str
    body: bytes = b""
    headers: dict = field(default_factory=dict)


def normalised(path):
    """The path that is signed: without dot segments and empty ones (RFC 3986, 6)."""
    kept = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


class Signer:
    def __init__(self, address, region, access_key_id, secret):
        self.address, self.region = address, region
        self.access_key_id, self.secret = access_key_id, secret

    def signed(self, draft, seconds_off=0, region=None):
        """The headers, as if the caller's clock were off by so many seconds."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + seconds_off))
        scope = f"{moment[:8]}/{region or self.region}/{draft.service}/aws4_request"
        path, _, query = draft.path.partition("?")
        headers = {"host": self.address, "x-amz-date": moment} | {name.lower(): value for name, value in draft.headers.items()}
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            [
                draft.method,
                quote(normalised(path), safe="/-_.~"),
                "&".join(sorted(query.split("&"))),
                *(f"{name}:{headers[name]}" for name in sorted(headers)),
                "",
                names,
                hashlib.sha256(draft.body).hexdigest(),
            ]
        )
        text = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        return headers | {"authorization": f"{ALGORITHM} {credential}"}

    def send(self, draft, headers=None):
        """Sends the draft on a connection of its own, signed unless headers are given."""
        connection = Connection(self)
        try:
            return connection.send(draft, headers)
        finally:
            connection.close()

    def raw(self, draft):
        """The bytes of the signed request."""
        lines = [f"{draft.method} {draft.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.signed(draft).items())]
        return "\r\n".join([*lines, f"content-length: {len(draft.body)}", "", ""]).encode() + draft.body


class Connection:
    """One connection, on which requests follow each other."""

    def __init__(self, signer):
        self.signer = signer
        host, _, port = signer.address.rpartition(":")
        self.http = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)

    def send(self, draft, headers=None):
        headers = self.signer.signed(draft) if headers is None else headers
        self.http.putrequest(draft.method, draft.path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"host": self.signer.address, "content-length": str(len(draft.body))} | headers).items():
            self.http.putheader(name, value)
        self.http.endheaders()
        try:
            self.http.send(draft.body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It was refused before all of it had arrived.
        response = self.http.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read().decode())

    def close(self):
        self.http.close()
