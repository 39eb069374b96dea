"""curl as a visitor who listens to events: how much later each one comes."""

import subprocess
import threading
import time

import tunnel
from http_app import EVENTS, http_app
from report import median_and_p99, same


def run(report):
    with http_app() as app, tunnel.with_server(["-p", app.port]) as found:
        ways = {
            "direct, HTTP/1.1": ["--http1.1", f"http://127.0.0.1:{app.port}/events"],
            "tunnelled, HTTP/1.1": ["--http1.1", *found.curl(), f"{found.url}/events"],
            "tunnelled, HTTP/2": ["--http2", *found.curl(), f"{found.url}/events"],
        }
        listeners = {way: Listener(args) for way, args in ways.items()}
        for way, listener in listeners.items():
            report.check(f"sse {EVENTS} events, {way}", listener.result)


class Listener:
    """Listens in the background, so that all ways are measured at once."""

    def __init__(self, args):
        self.process = subprocess.Popen(
            ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "20", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.times = []
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            if line.startswith(b"data: "):
                self.times.append((time.monotonic_ns() - int(line[6:])) / 1e9)

    def result(self):
        self.thread.join(25)
        same(self.process.wait(5), 0)
        same(len(self.times), EVENTS)
        same(max(self.times) < 1, True)
        return median_and_p99(self.times)
