"""Mixed load for a long time: no wrong body, and neither memory nor descriptors grow."""

import time

import systems
from loads import visit
from processes import descriptors, memory_kib
from table import markdown

# After this long the programs have what they keep.
WARM_UP = 15


def run(minutes):
    rows = [["", "server MiB", "client MiB", "server descriptors", "client descriptors"]]
    with systems.origin() as app, systems.ngrnotok(app) as running:
        bad = mixed(running, WARM_UP)
        rows.append(["at the start", *sizes(running)])
        bad += mixed(running, 60 * minutes)
        rows.append(["at the end", *sizes(running)])
    print(markdown(rows))
    return bool(bad)


def mixed(running, seconds):
    """How many bodies were wrong, and how many rounds failed."""
    seen = visit("mixed", running.port, "--seconds", seconds, limit=seconds + 120)
    print(seen)
    # The last visitors have just left, some of them in the middle.
    time.sleep(2)
    return seen["wrong"] + seen["errors"]


def sizes(running):
    memory = [f"{memory_kib(program) / 1024:.1f}" for program in running.programs]
    return [*memory, *[descriptors(program) for program in running.programs]]
