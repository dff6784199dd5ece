"""The processes of a set whose supervisor was killed: they are ending by themselves, and are waited for."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PATIENCE = 8.0


def remember(file: Path, pids: Iterable[int]) -> None:
    """Write down our children, so that they are known after we were killed."""
    born = {str(pid): birth for pid in pids if (birth := _birth(pid)) is not None}
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(born), encoding="ascii")
    temporary.replace(file)


def forget(file: Path) -> None:
    """All our children have ended."""
    file.unlink(missing_ok=True)


def wait_for(file: Path) -> bool:
    """Whether there were any; returns when they have ended. Those that do not are killed."""
    try:
        born: dict[str, str] = json.loads(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    alive = [int(pid) for pid, birth in born.items() if _birth(int(pid)) == birth]
    there_were = bool(alive)
    deadline = time.monotonic() + PATIENCE
    killed = False
    while alive:
        if time.monotonic() > deadline and not killed:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.05)
        alive = [pid for pid in alive if _birth(pid) == born[str(pid)]]
    forget(file)
    return there_were


def _birth(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
