"""Guards what has been reached: instructions of the hot pieces, ratios to the relay in the same run, and that
visitors who never read are nobody else's trouble."""

import tomllib
from pathlib import Path
from statistics import median

import instructions
import systems
from loads import GIB, LOADS, Load, down, gib_a_processor_second, GIB_CPU, up
from rounds import interleaved, ratios
from table import comparison, markdown, number

ACCEPTED = Path(__file__).with_name("accepted.toml")

# How much more instructions, and how much less of a ratio, is still no fault.
MOST_INSTRUCTIONS = 1.1
LEAST_RATIO = 0.9

HALF = GIB // 2

# `stalled` is guarded by having no error.
GUARDED = {
    "kept": LOADS["kept"],
    "each": LOADS["each"],
    "down": Load("512 MiB down", GIB_CPU, down(HALF), gib_a_processor_second),
    "up": Load("512 MiB up", GIB_CPU, up(HALF), gib_a_processor_second),
    "stalled": LOADS["stalled"],
}
RATIOS = [name for name, load in GUARDED.items() if not load.is_time]


def check(rounds, order):
    """0 when all is as quick as it was, else 1. What is slower is measured once more before it counts."""
    accepted = tomllib.loads(ACCEPTED.read_text())
    slower = slower_pieces(accepted["instructions"]) and slower_pieces(accepted["instructions"])
    slower += again_if_slower(accepted["ratios"], rounds, order)
    for line in slower:
        print(f"FAIL  {line}")
    if slower:
        print("      if that is how it shall be: tests/bench/run --accept")
    else:
        print("ok    nothing is slower than accepted")
    return bool(slower)


def slower_pieces(accepted):
    counts = instructions.count() or {}
    rows = [["piece", "instructions", "accepted", "ratio"]]
    for piece, count in counts.items():
        rows.append([piece, number(count), number(accepted[piece]), f"{count / accepted[piece]:.3f}"])
    print(markdown(rows) if counts else "")
    return [
        f"{piece}: {count:,} instructions, accepted are {accepted[piece]:,}"
        for piece, count in counts.items()
        if count > MOST_INSTRUCTIONS * accepted[piece]
    ]


def again_if_slower(accepted, rounds, order):
    loads = GUARDED
    for last in (False, True):
        found = measure(loads, rounds, order)
        slower = [name for name in found if found[name] < LEAST_RATIO * accepted[name]]
        if last or not slower:
            return [
                f"{loads[name].name}: {found[name]:.2f} × the relay, accepted is {accepted[name]:.2f}"
                for name in slower
            ]
        print(f"once more: {', '.join(slower)}")
        loads = {name: GUARDED[name] for name in slower}


def measure(loads, rounds, order):
    """Ours divided by the relay, for each load that has a ratio to guard."""
    figures = interleaved([systems.ngrnotok, systems.relay], loads, rounds, order)
    print(comparison(loads, figures))
    return {name: median(ratios(figures[name], "relay")) for name in loads if name in RATIOS}


def accept(rounds, order):
    """Writes down what there is now."""
    counts = instructions.count()
    found = measure(GUARDED, rounds, order)
    if counts is None:
        counts = tomllib.loads(ACCEPTED.read_text())["instructions"]
    lines = ["# Written by `tests/bench/run --accept`; `tests/bench/run --gate` compares with it.", ""]
    lines += ["# Instructions of one round of each piece; red above 1.1 times as many.", "[instructions]"]
    lines += [f"{piece} = {count}" for piece, count in counts.items()]
    lines += ["", "# Ours divided by the relay, per second of the processor; red below 0.9 times as much."]
    lines += ["[ratios]", *[f"{name} = {ratio:.3f}" for name, ratio in found.items()]]
    ACCEPTED.write_text("\n".join(lines) + "\n")
    print(f"\nwritten: {ACCEPTED}")
