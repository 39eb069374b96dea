"""Measures ngrnotok side by side with others: `bench.py BINARIES [--short|--gate|--accept|…]`."""

import argparse
import os
import random
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1] / "peers"))

import fair
import gate
import held
import https
import soak
import systems
import tunnel
from loads import LOADS
from rounds import interleaved
from table import comparison


def main():
    sys.stdout.reconfigure(line_buffering=True)
    words = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split(":")[0])
    words.add_argument("binaries", type=Path, help=argparse.SUPPRESS)
    words.add_argument("--rounds", type=int, help="3, and 5 where there are two systems alone")
    words.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the order")
    words.add_argument("--systems", nargs="+", metavar="NAME", help="these beside ours and the relay")
    modes = words.add_mutually_exclusive_group()
    modes.add_argument("--short", action="store_true", help="ours against the relay alone")
    modes.add_argument("--gate", action="store_true", help="fail where it became slower than accepted")
    modes.add_argument("--accept", action="store_true", help="measure and write accepted.toml")
    modes.add_argument("--held", action="store_true", help="memory of idle tunnels and visitors")
    modes.add_argument("--fair", action="store_true", help="100 busy tunnels, one of them flooded")
    modes.add_argument("--https", action="store_true", help="https visitors, beside nginx")
    modes.add_argument("--soak", type=float, metavar="MINUTES", help="mixed load, hashed bodies")
    asked = words.parse_args()

    # Everything is on this machine; no proxy has a part in it. Debian keeps nginx where users do not look.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["PATH"] += ":/usr/sbin"
    tunnel.BINARIES = asked.binaries.resolve()
    systems.TOOL = tunnel.BINARIES / "bench"
    print(f"seed {asked.seed}")
    order = random.Random(asked.seed)

    try:
        return run(asked, order)
    except RuntimeError as error:
        print(f"FAIL  {error}")
        return 1


def run(asked, order):
    short = asked.short or asked.gate or asked.accept
    rounds = asked.rounds or (5 if short else 3)
    if asked.gate:
        return gate.check(rounds, order)
    if asked.accept:
        return gate.accept(rounds, order)
    if asked.held:
        return held.run()
    if asked.fair:
        return fair.run()
    if asked.https:
        return https.run(rounds, order)
    if asked.soak:
        return soak.run(asked.soak)
    others = [] if asked.short else list(systems.installed())
    if asked.systems:
        others = [system for system in others if system.__name__ in asked.systems]
    loads = gate.GUARDED if asked.short else LOADS
    print(comparison(loads, interleaved(systems.OURS + others, loads, rounds, order)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
