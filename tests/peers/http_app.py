"""A local app on Python's own HTTP server, for visitors that are programs."""

import hashlib
import json
import queue
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = bytes(range(256)) * 4096
EVENTS = 50
BETWEEN_EVENTS = 0.1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write a head, and no waiting for more: latency is measured through this.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/events":
            self.events()
        elif self.path == "/file":
            self.file()
        else:
            self.answer(200, json.dumps({"path": self.path, "host": self.headers["Host"]}))

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(200, json.dumps(self.body()))

    do_PUT = do_POST

    def handle_expect_100(self):
        if self.path != "/refuse":
            sent = super().handle_expect_100()
            self.wfile.flush()
            return sent
        self.close_connection = True
        self.answer(413, "too large")
        return False

    def body(self):
        """Reads it and says what came."""
        digest, size = hashlib.sha256(), 0
        for part in self.parts():
            size += len(part)
            digest.update(part)
            if self.path == "/watched":
                self.server.came.put(part)
        return {
            "size": size,
            "sha256": digest.hexdigest(),
            "chunked": self.headers.get("Transfer-Encoding") == "chunked",
            "expect": self.headers.get("Expect"),
        }

    def parts(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0 and (part := self.rfile.read1(min(left, 65536))):
            left -= len(part)
            yield part

    def file(self):
        ranges = self.headers.get("Range")
        if ranges is None:
            return self.answer(200, FILE, {"Accept-Ranges": "bytes"})
        first, last = ranges.removeprefix("bytes=").split("-")
        start = int(first) if first else len(FILE) - int(last)
        end = min(int(last) if first and last else len(FILE) - 1, len(FILE) - 1)
        if start > end:
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(FILE)}"})
        where = {"Content-Range": f"bytes {start}-{end}/{len(FILE)}"}
        return self.answer(206, FILE[start : end + 1], where)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(EVENTS):
            self.wfile.write(f"data: {time.monotonic_ns()}\n\n".encode())
            self.wfile.flush()
            time.sleep(BETWEEN_EVENTS)
        self.close_connection = True

    def answer(self, status, body, fields=None):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args):
        super().__init__(*args)
        # The parts of uploads to `/watched`, as they come.
        self.came = queue.Queue()


@contextmanager
def http_app():
    app = Server(("127.0.0.1", 0), Handler)
    app.port = app.server_address[1]
    threading.Thread(target=app.serve_forever, daemon=True).start()
    try:
        yield app
    finally:
        app.shutdown()
        app.server_close()
