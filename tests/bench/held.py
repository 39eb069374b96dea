"""Memory of what does nothing: the programs alone, 10,000 tunnels, 9,000 visitors."""

import resource

import systems
import tunnel
from loads import held, visit
from processes import descriptors, memory_kib
from table import markdown

TUNNELS = 10_000
VISITORS = 9_000


def run():
    # A process of ours has a descriptor for each of them.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tunnels, visitors = fitting(most)
    rows = [["", "server", "client"]]
    with systems.origin() as app, tunnel.folder() as folder, systems.server(folder) as found:
        server, port, way = found
        with tunnel.client(folder, ["-p", app], *way, "--name", "app") as (client, _):
            empty = memory_kib(server), memory_kib(client)
            rows.append(["empty, MiB", *mib(empty)])

            with systems.sessions(way, app, tunnels) as sessions:
                with_tunnels = memory_kib(server), memory_kib(sessions)
                rows.append([f"each of {tunnels:,} idle tunnels, KiB", *each(tunnels, with_tunnels, empty)])
                some = ["--host", "t{}.tunnel.test", "--hosts", tunnels, "--connections", 200]
                answered = visit("requests", port, *some, "--seconds", 1)

                visit("requests", port, "--seconds", 0.5)
                before = memory_kib(server), memory_kib(client)
                with held("idle", port, "--connections", visitors) as idle:
                    idle.line("held ", limit=60)
                    after = memory_kib(server), memory_kib(client)
                    rows.append([f"each of {visitors:,} idle visitors, KiB", *each(visitors, after, before)])
                    rows.append(["with all of them, MiB", *mib(after)])
                    rows.append(["descriptors then", descriptors(server), descriptors(client)])
    print(markdown(rows))
    print(f"\n{answered['requests']} requests to those tunnels, {answered['errors']} errors")
    return bool(answered["errors"])


def mib(sizes):
    return [f"{kib / 1024:.1f}" for kib in sizes]


def each(count, after, before):
    return [f"{(now - then) / count:.2f}" for now, then in zip(after, before)]


def fitting(most):
    """As many as a server may hold at once here."""
    room = most - 500
    if room >= TUNNELS + VISITORS:
        return TUNNELS, VISITORS
    print(f"only {most} descriptors a process: fewer tunnels and visitors")
    return room // 2, room // 2
