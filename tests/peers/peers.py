"""Runs peers from outside against the tunnel: `peers.py BINARIES WORK [PEER…]`."""

import importlib
import os
import sys
from pathlib import Path

import tunnel
from report import Report

PEERS = [
    "script",
    "grpc",
    "websockets",
    "sse",
    "curl",
    "endings",
    "flask",
    "vite",
    "inspector",
    "httpwg",
    "autobahn",
]


def main(binaries, work, *wanted):
    sys.stdout.reconfigure(line_buffering=True)
    # Everything is on this machine; no proxy has a part in it.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    tunnel.BINARIES, tunnel.WORK = Path(binaries).resolve(), Path(work).resolve()
    report = Report()
    for peer in wanted or PEERS:
        module = importlib.import_module(f"with_{peer}")
        try:
            module.run(report)
        except Exception as error:  # the other peers are still worth running
            def fail(error=error):
                raise error

            report.check(f"{peer} runs to its end", fail)
    return report.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
