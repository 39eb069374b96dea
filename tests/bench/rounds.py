"""Rounds in which every system has every load once. All of them have one load before any has the next, in
another order each time: what disturbs the machine for a while disturbs all of them."""

from collections import defaultdict
from contextlib import ExitStack

from systems import OURS, origin


def interleaved(systems, loads, rounds, order):
    """The figures of all rounds by load and system: `figures["kept"]["relay"]`."""
    figures = {load: defaultdict(list) for load in loads}
    with origin() as app:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}")
            with ExitStack() as stack:
                running = {system: stack.enter_context(system(app)) for system in systems}
                for name, load in loads.items():
                    for system in order.sample(systems, len(systems)):
                        try:
                            figures[name][system.__name__].append(load.run(running[system]))
                        except RuntimeError as error:
                            if system in OURS:
                                raise
                            print(f"skip  {system.__name__}: skipped: {error}")
                            systems = [other for other in systems if other is not system]
                            for by_system in figures.values():
                                by_system.pop(system.__name__, None)
    return figures


def ratios(figures, other):
    """Ours divided by another's, round by round."""
    return [ours / theirs for ours, theirs in zip(figures["ngrnotok"], figures[other])]
