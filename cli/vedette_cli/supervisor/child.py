"""A child process that cannot outlive us."""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from vedette_cli.supervisor.unprivileged import RunAs

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int, parent: int) -> Callable[[], None]:
    """What a child of the process `parent` calls before its program starts, to get a signal when that ends."""

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


async def spawn(
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    user: RunAs | None = None,
    death_signal: int = signal.SIGTERM,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start a program whose output goes to the end of `log`.

    It is in a session of its own, so that Ctrl-C reaches only us and we end everything in order; if we are killed,
    the kernel sends it `death_signal`. Call this from the main thread: the kernel watches the thread that forks.
    """
    switch: dict[str, object] = (
        {} if user is None or user.uid is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    )
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent(death_signal, os.getpid()),
            pass_fds=tuple(pass_fds),
            cwd=cwd,
            **switch,  # type: ignore[arg-type]
        )


class Process(Protocol):
    """A process as far as ending it needs it."""

    @property
    def returncode(self) -> int | None:
        """None while it runs."""

    async def wait(self) -> int:
        """Return when it has ended."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """Send it SIGKILL."""


async def stop(process: Process, *, number: int = signal.SIGTERM, patience: float) -> None:
    """End a child: a signal, and after `patience` seconds SIGKILL."""
    if process.returncode is not None:
        return
    try:
        process.send_signal(number)
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it has ended at the last moment
            process.kill()
        await process.wait()
    except ProcessLookupError:
        await process.wait()


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, for a message."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
