"""On what, with what and how it was measured."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.document import Facts
from bench.postgres import PostgresServer


def gather(server: PostgresServer, commit_ms: float, kamailio: str, command: str) -> Facts:
    """Those of now."""
    return Facts(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        processor=_processor(),
        kernel=platform.release(),
        python=platform.python_version(),
        vedette=_vedette(),
        kamailio=kamailio,
        postgres=server.settings,
        commit_ms=commit_ms,
        load_average=os.getloadavg()[1],
    )


def _vedette() -> str:
    """`0.2.0.dev0 (6309179)`; the commit only where this is a checkout."""
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return version("vedette-cli")
    return f"{version('vedette-cli')} ({commit})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
