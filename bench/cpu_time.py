"""CPU time and memory of a system under test: all its processes, those that have ended too."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float:
    """Seconds of CPU that these processes and all below them have used, with the children that they waited for."""
    return sum(cpu_by_role(dict.fromkeys(roots, "")).values())


def cpu_by_role(roles: Mapping[int, str]) -> dict[str, float]:
    """The same for each role: a process has the role of the nearest one above it, or itself, that `roles` names."""
    parents, used = _processes()
    found = dict.fromkeys(roles.values(), 0.0)
    for pid, role in assign(parents, roles).items():
        found[role] += used[pid] / _TICKS
    return found


def memory_by_role(roles: Mapping[int, str]) -> dict[str, int]:
    """Octets of memory for each role: what is a process's own, and its part of what it shares (Pss)."""
    parents, _ = _processes()
    found = dict.fromkeys(roles.values(), 0)
    for pid, role in assign(parents, roles).items():
        found[role] += _pss(pid)
    return found


def assign(parents: Mapping[int, int], roles: Mapping[int, str]) -> dict[int, str]:
    """The role of each process that has one; `parents` is every process there is, with its parent."""
    found: dict[int, str] = {}
    for pid in parents:
        above: int | None = pid
        while above is not None and above not in roles:
            above = parents.get(above)
        if above is not None:
            found[pid] = roles[above]
    return found


def _processes() -> tuple[dict[int, int], dict[int, int]]:
    """Every process with its parent, and with its clock ticks."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended, and its parent counts it
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(int(field) for field in fields[11:15])
    return parents, used


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0  # it has just ended
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
