"""What the system knows of processes: their processor time, memory and descriptors."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(programs):
    """The ids of programs and of all that they have started."""
    found = [program.process.pid for program in programs]
    for pid in found:
        found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def processor_seconds(programs):
    """User and system time."""
    ticks = 0
    for pid in family(programs):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory_kib(program, line="VmRSS"):
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0])


def descriptors(program):
    return len(os.listdir(f"/proc/{program.process.pid}/fd"))
