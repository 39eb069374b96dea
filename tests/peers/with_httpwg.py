"""httpwg-cli as a visitor: does the edge speak HTTP/2 as the RFC wants?"""

import re
import shutil
import subprocess
from pathlib import Path

import tunnel

KNOWN = Path(__file__).with_name("httpwg-known-misses.txt")
CASES_AT_LEAST = 107


def run(report):
    tool = shutil.which("httpwg", path=tunnel.WORK / "tools" / "bin") or shutil.which("httpwg")
    if not tool:
        report.skip("httpwg", "no httpwg")
        return
    with tunnel.embedded(["--hello"]) as found:

        def conform():
            # The cases that miss by waiting wait this long, all at once.
            command = [tool, "--verbose", "--frame-timeout", "1500", "-a", f"127.0.0.1:{found.port}"]
            said = subprocess.run(command, capture_output=True, timeout=40)
            text = re.sub(r"\x1b\[[0-9;]*m", "", said.stderr.decode() + said.stdout.decode())
            return judge(text)

        report.check("httpwg against the edge, HTTP/2 in clear", conform, limit=45)


def judge(text):
    # A case that panics says neither passed nor failed.
    cases = set(re.findall(r"Running test: (.*)", text))
    misses = cases - set(re.findall(r"Test passed: (.*)", text))
    if len(cases) < CASES_AT_LEAST:
        raise AssertionError(f"only {len(cases)} cases ran: {text[-500:]}")
    lines = KNOWN.read_text().splitlines()
    known = {line for line in lines if line and not line.startswith("#")}
    if misses - known:
        raise AssertionError("new misses: " + "; ".join(sorted(misses - known)))
    better = f"; no longer missed: {sorted(known - misses)}" if known - misses else ""
    return f"{len(cases) - len(misses)} of {len(cases)} met, the other {len(misses)} known{better}"
