"""One line per check, and a closing line that counts them."""

import signal
import time
import traceback
from pathlib import Path

KNOWN = Path(__file__).with_name("known-failures.txt")


class Report:
    """Runs checks one after the other; none may take longer than its limit."""

    def __init__(self):
        self.passed = self.failed = self.known = self.skipped = 0
        lines = KNOWN.read_text().splitlines()
        self.known_names = {line for line in lines if line and not line.startswith("#")}

    def check(self, name, run, limit=30):
        """`run` raises when something is wrong; what it returns is shown beside the name."""
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(limit)
        start = time.monotonic()
        try:
            detail = run()
        except Exception as error:  # whatever goes wrong in a peer is a failed check
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            if name in self.known_names:
                self.known += 1
                print(f"known {name}: {what}")
            else:
                self.failed += 1
                print(f"FAIL  {name}: {what}")
        else:
            self.passed += 1
            took = f"{time.monotonic() - start:.1f} s"
            print(f"ok    {name} [{took}]" + (f": {detail}" if detail else ""))
            if name in self.known_names:
                print(f"      no longer fails: take it out of {KNOWN.name}")
        finally:
            signal.alarm(0)

    def skip(self, name, why):
        self.skipped += 1
        print(f"skip  {name}: skipped: {why}")

    def close(self):
        more = f", {self.known} known to fail" if self.known else ""
        more += f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{more}")
        return 1 if self.failed else 0


def _too_long(*_):
    raise TimeoutError("the check takes too long")


def same(actual, expected):
    """Fails with both values when they differ."""
    if actual != expected:
        raise AssertionError(f"got {_short(actual)}, expected {_short(expected)}")


def _short(value):
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "…"


def median_and_p99(seconds):
    """`0.12 / 0.40 ms`"""
    ordered = sorted(seconds)
    median = ordered[len(ordered) // 2]
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"median {median * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms"
