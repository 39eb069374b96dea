"""Autobahn's WebSocket cases: the tunnel must not change a single verdict."""

import json
import subprocess
from pathlib import Path

import tunnel
from report import same

KNOWN = Path(__file__).with_name("autobahn-known-differences.txt")

# All but compression (12 and 13), which takes minutes and which the echo server mostly lacks.
CASES = [f"{number}.*" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)]

# In 3.4, 4.1.5 and 4.2.5 a good frame and a bad one go byte by byte. An echo server that reads both at once
# (through a tunnel it mostly does) gives up before it answers the first, as it does in 4.1.4 either way: a
# verdict counts as the same when both ways have given it in as many more runs.
MORE_RUNS = 8


def run(report):
    wstest = tunnel.WORK / "autobahn/python/bin/wstest"
    if not wstest.exists():
        report.skip("autobahn", "no Autobahn, which needs Python 2.7")
        return
    port = tunnel.free_port()
    echo = [wstest, "--mode", "echoserver", "--webport", 0, "--wsuri", f"ws://127.0.0.1:{port}"]
    # Autobahn refuses a Host with another port than its own.
    own_host = ["--host-header", "rewrite"]
    with tunnel.app(echo, "Using Twisted reactor"):
        tunnel.wait_for(port)
        with tunnel.embedded(["-p", port], *own_host) as found:
            ways = {"direct": port, "tunnelled": found.port}
            verdicts = {}

            def judge(way):
                verdicts[way] = run_cases(wstest, way, ways[way], CASES)
                return summary(verdicts[way])

            for way in ways:
                report.check(f"autobahn runs, {way}", lambda way=way: judge(way), limit=110)

            def again(case):
                """All the verdicts of a case in some more runs, for each way."""
                seen = {way: {verdicts[way].get(case)} for way in ways}
                for _ in range(MORE_RUNS):
                    for way, at in ways.items():
                        seen[way].add(run_cases(wstest, way, at, [case])[case])
                return seen

            check = lambda: compare(verdicts["direct"], verdicts["tunnelled"], again)
            report.check("autobahn verdicts are the same", check, limit=100)


def run_cases(wstest, way, port, cases):
    """The verdict of each case: how it behaved, and how it closed."""
    folder = tunnel.WORK / "autobahn" / way
    folder.mkdir(exist_ok=True)
    spec = {
        "outdir": str(folder),
        "servers": [{"agent": way, "url": f"ws://127.0.0.1:{port}"}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    Path(folder, "spec.json").write_text(json.dumps(spec))
    command = [wstest, "--mode", "fuzzingclient", "--spec", folder / "spec.json"]
    said = subprocess.run(command, capture_output=True, timeout=100, cwd=folder)
    same(said.returncode, 0)
    index = json.loads(Path(folder, "index.json").read_text())[way]
    return {case: (told["behavior"], told["behaviorClose"]) for case, told in index.items()}


def summary(verdicts):
    counts = {}
    for behavior, _ in verdicts.values():
        counts[behavior] = counts.get(behavior, 0) + 1
    return ", ".join(f"{count} {behavior}" for behavior, count in sorted(counts.items()))


def compare(direct, tunnelled, again):
    known = {line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")}
    cases = direct.keys() | tunnelled.keys()
    differ = sorted(case for case in cases if direct.get(case) != tunnelled.get(case))
    new = {}
    for case in differ:
        seen = again(case)
        if case not in known and not seen["direct"] & seen["tunnelled"]:
            new[case] = seen
    same(new, {})
    races = f", of them races: {', '.join(differ)}" if differ else ""
    return f"{len(cases)} cases{races}"
