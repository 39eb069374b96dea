"""What visitors do, and the figure that comes of it."""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

import systems
import tunnel
from processes import processor_seconds

GIB = 1 << 30


def visit(kind, port, *options, limit=120):
    """What visitors of one kind have seen, once they are done."""
    args = [systems.TOOL, kind, port, *options]
    done = subprocess.run([str(arg) for arg in args], stdout=subprocess.PIPE, timeout=limit, check=True)
    return json.loads(done.stdout)


def held(*args):
    """Something that `bench` holds for the time of a `with` block."""
    return tunnel.running([systems.TOOL, *args])


@dataclass
class Load:
    """Visitors, and the figure of a system under them: the larger the better, unless it is a time."""

    name: str
    figure: str
    visitors: Callable
    # The figure from what the visitors have seen and the processor seconds of the system.
    count: Callable
    # Without a tunnel there is nobody to take processor time.
    without_tunnel: bool = False

    def run(self, system):
        """The figure of a running system, or None where it has none."""
        before = processor_seconds(system.programs)
        seen = self.visitors(system.port)
        taken = processor_seconds(system.programs) - before
        if seen["errors"]:
            raise RuntimeError(f"{self.name}: {seen['errors']} errors, the last: {seen['last_error']}")
        if not (system.programs or self.without_tunnel):
            return None
        return self.count(seen, max(taken, 0.001))

    @property
    def is_time(self):
        return self.figure == "ms"


def kept(connections, path="/bytes/1024"):
    def visitors(port):
        options = ["--path", path, "--connections", connections]
        visit("requests", port, *options, "--seconds", 0.3)
        return visit("requests", port, *options)

    return visitors


def each(port):
    return visit("requests", port, "--close")


def down(size):
    return lambda port: visit("download", port, "--path", f"/bytes/{size}")


def up(size):
    return lambda port: visit("upload", port, "--path", "/upload", "--bytes", size)


def paced(port):
    return visit("paced", port)


def beside_stalled(port):
    stalled = ["idle", port, "--stalled", "--path", f"/bytes/{GIB}", "--connections", 64]
    with held(*stalled) as visitors:
        visitors.line("held ")
        # Until what fits into sockets and windows is there.
        time.sleep(1)
        return visit("paced", port, "--seconds", 2)


def requests_a_second(seen, _):
    return seen["requests"] / seen["seconds"]


def requests_a_processor_second(seen, taken):
    return seen["requests"] / taken


def gib_a_processor_second(seen, taken):
    return seen["bytes"] / GIB / taken


def p50(seen, _):
    return seen["p50_ms"]


def p99(seen, _):
    return seen["p99_ms"]


SECOND, CPU, GIB_CPU, MS = "requests/s", "requests/CPU-s", "GiB/CPU-s", "ms"

LOADS = {
    "one": Load("1 KiB, 1 visitor, p50", MS, kept(1), p50, True),
    "second": Load("1 KiB, 64 visitors", SECOND, kept(64), requests_a_second, True),
    "kept": Load("1 KiB, 64 visitors", CPU, kept(64), requests_a_processor_second),
    "crowd": Load("1 KiB, 256 visitors", CPU, kept(256), requests_a_processor_second),
    "larger": Load("16 KiB, 64 visitors", CPU, kept(64, "/bytes/16384"), requests_a_processor_second),
    "each": Load("a connection each, 64 visitors", CPU, each, requests_a_processor_second),
    "down": Load("1 GiB down", GIB_CPU, down(GIB), gib_a_processor_second),
    "up": Load("1 GiB up", GIB_CPU, up(GIB), gib_a_processor_second),
    "paced": Load("200 requests/s, p99", MS, paced, p99, True),
    "stalled": Load("the same beside 64 who never read, p99", MS, beside_stalled, p99, True),
}
