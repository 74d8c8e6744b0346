"""An S3 server with bad days: moto behind a small proxy that delays, refuses and loses replies.

A lost reply is the nasty one: the request was carried out, and the caller cannot know.
"""

import http.client
import http.server
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from harness.ports import free_port

READY_SECONDS = 60
FINE, SLOW, REFUSING, LOSING = "fine", "slow", "refusing", "losing replies"
SLOW_SECONDS = (0.3, 1.5)
# While losing replies, this share of them; all of them would be an outage, which REFUSING is.
LOST_SHARE = 0.5
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Proxy(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, target_port):
        super().__init__(("127.0.0.1", port), Handler)
        self.target_port, self.mood, self.random = target_port, FINE, random.Random(1)
        self.counts, self.lock = {}, threading.Lock()
        self.uploads, self.uploads_most = 0, 0

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    @contextmanager
    def uploading(self, is_upload):
        """Keeps the greatest number of uploads at a time."""
        with self.lock:
            self.uploads += is_upload
            self.uploads_most = max(self.uploads_most, self.uploads)
        try:
            yield
        finally:
            with self.lock:
                self.uploads -= is_upload

    def handle_error(self, _request, _address):
        """A caller that hangs up is its own business."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        pass

    def serve(self):
        with self.server.uploading(self.command in ("PUT", "POST")):
            self.serve_one()

    def serve_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mood = self.server.mood
        self.server.count(f"{self.command} while {mood}")
        self.server.count(self.command)
        if mood == REFUSING:
            self.reply(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if mood == SLOW:
            time.sleep(self.server.random.uniform(*SLOW_SECONDS))  # The delay is the fault itself.
        status, headers, answer = self.forward(body)
        if mood == LOSING and self.server.random.random() < LOST_SHARE:
            self.server.count("lost")
            self.close_connection = True
            return
        self.reply(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def forward(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target_port, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            answer = response.read()
            self.length = response.getheader("Content-Length")
            return response.status, response.getheaders(), answer
        finally:
            connection.close()

    def reply(self, status, headers, answer):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        # The answer to HEAD tells the length of what it does not carry.
        self.send_header("Content-Length", self.length if self.command == "HEAD" and status < 300 else str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class S3Store:
    """moto and the proxy. `mood` may be set at any time."""

    def __init__(self, bucket, log):
        self.bucket, self.log = bucket, log
        self.moto_port, self.port = free_port(), free_port()

    def __enter__(self):
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.moto_port)]
            self.moto = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.proxy = Proxy(self.port, self.moto_port)
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        try:
            self.create_bucket()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        self.proxy.shutdown()
        self.proxy.server_close()
        self.moto.terminate()
        self.moto.wait(READY_SECONDS)

    @property
    def mood(self):
        return self.proxy.mood

    @mood.setter
    def mood(self, mood):
        self.proxy.mood = mood

    @property
    def counts(self):
        return dict(self.proxy.counts)

    @property
    def uploads_most(self):
        """The greatest number of uploads at a time so far."""
        return self.proxy.uploads_most

    def environment(self):
        return {
            "HEADGATE_OBJECT_STORE_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HEADGATE_OBJECT_STORE_REGION": "us-east-1",
            "HEADGATE_OBJECT_STORE_ACCESS_KEY_ID": "object-store-key",
            "HEADGATE_OBJECT_STORE_SECRET_ACCESS_KEY": "object-store-secret",
        }

    def client(self):
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.moto_port}",
            region_name="us-east-1",
            aws_access_key_id="object-store-key",
            aws_secret_access_key="object-store-secret",
        )

    def create_bucket(self):
        from botocore.exceptions import BotoCoreError

        began = time.monotonic()
        while True:
            try:
                self.client().create_bucket(Bucket=self.bucket)
                return
            except BotoCoreError:
                if self.moto.poll() is not None or time.monotonic() - began > READY_SECONDS:
                    raise RuntimeError(f"moto is not ready: {self.log.read_text(errors='replace')[-2000:]}") from None
                time.sleep(0.1)

    def object_bytes(self):
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return sum(found["Size"] for page in pages for found in page.get("Contents", []))
