"""Counts the instructions of the hot pieces under callgrind: unlike time, they come out the same on a busy
machine."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import systems

# The pieces, and how many rounds make one measurement.
PIECES = {
    "lookup": 2000,
    "fields": 2000,
    "request": 300,
    "burst": 10,
    "down": 4,
    "up": 4,
    "edge": 300,
    "local": 300,
}


def count():
    """Instructions of one round of each piece; None where they cannot be counted."""
    if not shutil.which("valgrind"):
        print("skip  instructions: skipped: no valgrind")
        return None
    with ThreadPoolExecutor() as several:
        return dict(zip(PIECES, several.map(one_round, PIECES)))


def one_round(piece):
    """What it takes to get ready is in both runs, so it falls out."""
    rounds = PIECES[piece]
    return (collected(piece, 2 * rounds) - collected(piece, rounds)) // rounds


def collected(piece, rounds):
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command = [*callgrind, systems.TOOL, "piece", piece, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"{piece} does not run under valgrind: {done.stderr[-2000:]}")
    return int(found[1])
