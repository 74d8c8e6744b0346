"""A loopback proxy between a tool and the control API. It changes nothing and holds every answer against botocore's models;
what does not fit is kept until it is asked for."""

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import strict

SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/(?P<service>[^/]+)/aws4_request")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
TIMEOUT_SECONDS = 60


class Recorder:
    """Serves from `with` on; `url` is what tools are pointed at."""

    def __init__(self, target, models):
        self.target, self.models = urlsplit(target), models
        self.lock = threading.Lock()
        self.checked, self.mismatches, self.operations, self.answers = 0, [], set(), []
        self.to_lose = 0
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                recorder.forward(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

            def log_message(self, *_arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception):
        self.server.shutdown()
        self.server.server_close()

    def forward(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        upstream = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=TIMEOUT_SECONDS)
        # The host header is part of what was signed, so it goes on as it came.
        upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        response = upstream.getresponse()
        answer = response.read()
        self.check(handler, body, response, answer)
        if self.loses():
            upstream.close()
            handler.close_connection = True
            return handler.connection.close()
        handler.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                handler.send_header(name, value)
        if response.status != 204:
            handler.send_header("content-length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)
        upstream.close()

    def lose_answers(self, count):
        """The next answers arrive here and never at the tool."""
        with self.lock:
            self.to_lose = count

    def loses(self):
        with self.lock:
            self.to_lose -= 1
            return self.to_lose >= 0

    def check(self, handler, body, response, answer):
        scope = SCOPE.search(handler.headers.get("authorization", ""))
        model = scope and self.models.get(scope["service"])
        operation = model and strict.operation_of(model, handler.command, handler.path, body.decode(errors="replace"))
        with self.lock:
            if not operation:
                self.mismatches.append(f"{handler.command} {handler.path}: no operation of any model")
                return
            self.checked += 1
            self.operations.add(operation.name)
        headers = {name.lower(): value for name, value in response.getheaders()}
        with self.lock:
            self.answers.append((operation, response.status, headers, answer.decode()))
        try:
            strict.check(operation, response.status, headers, answer.decode())
            if "x-amzn-requestid" not in headers or "date" not in headers:
                raise strict.Mismatch(f"{operation.name}: no x-amzn-RequestId or no Date")
        except strict.Mismatch as mismatch:
            with self.lock:
                self.mismatches.append(f"{mismatch} in {answer[:2000]!r}")
