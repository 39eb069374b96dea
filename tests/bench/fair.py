"""100 busy tunnels on one server, one of them flooded: how long visitors of another one wait."""

from contextlib import ExitStack
from statistics import median

import systems
import tunnel
from loads import held, visit
from table import markdown

BUSY = 98
ROUNDS = 3


def run():
    with ExitStack() as stack:
        app = stack.enter_context(systems.origin())
        folder = stack.enter_context(tunnel.folder())
        _, port, way = stack.enter_context(systems.server(folder))
        for name in ("other", "flooded"):
            stack.enter_context(tunnel.client(folder, ["-p", app], *way, "--name", name))
        stack.enter_context(systems.sessions(way, app, BUSY))
        # What visitors of the other tunnels do meanwhile.
        beside = {
            "alone": [],
            f"beside {BUSY} busy tunnels": [busy(port)],
            "and one that is flooded": [busy(port), flood(port)],
        }
        seen = {name: [] for name in beside}
        for _ in range(ROUNDS):
            for name, loads in beside.items():
                with ExitStack() as meanwhile:
                    for load in loads:
                        meanwhile.enter_context(held(*load))
                    seen[name].append(other(port))
    rows = [["100 requests/s to one tunnel", "p50, ms", "p99, ms", "p99 / alone"]]
    for name in beside:
        p50, p99, alone = (
            median(one[key] for one in seen[which])
            for which, key in ((name, "p50_ms"), (name, "p99_ms"), ("alone", "p99_ms"))
        )
        rows.append([name, f"{p50:.2f}", f"{p99:.2f}", f"{p99 / alone:.2f}"])
    print(markdown(rows))


def other(port):
    seen = visit("paced", port, "--host", "other.tunnel.test", "--rate", 100, "--seconds", 4)
    if seen["errors"]:
        raise RuntimeError(f"{seen['errors']} errors, the last: {seen['last_error']}")
    return seen


def busy(port):
    """Each has five visitors a second."""
    hosts = ["--host", "t{}.tunnel.test", "--hosts", BUSY, "--connections", BUSY]
    return ["paced", port, *hosts, "--rate", 5 * BUSY, "--seconds", 60]


def flood(port):
    return ["requests", port, "--host", "flooded.tunnel.test", "--connections", 64, "--seconds", 60]
