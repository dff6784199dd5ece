"""Services as forks of one process that has imported their code (docs/decisions/0031)."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vedette_cli.supervisor.child import spawn, stop, tail
from vedette_cli.supervisor.fork_server import LONGEST_READ, end

IMPORT_PATIENCE = 40.0
FORK_PATIENCE = 5.0


class Forked:
    """A process that is not our child: what we do with one of asyncio's, through its pidfd."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """None while it runs; then 0, whatever it ended with: only its parent is told."""
        self._descriptor = descriptor
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.returncode = 0
        self._ended.set()

    async def wait(self) -> int:
        """Return when it has ended."""
        await self._ended.wait()
        return 0

    def send_signal(self, number: int) -> None:
        """Send a signal, to it and never to another that has got its pid."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """Where processes of services come from: a fork server, started again where it is gone."""

    def __init__(self, modules: Sequence[str], log: Path) -> None:
        self._modules = modules
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._connection: socket.socket | None = None
        self._earlier: list[asyncio.subprocess.Process] = []
        """Those that nobody asks any more; each ends with the last process that it forked."""
        self._starting = asyncio.Lock()

    @property
    def pids(self) -> list[int]:
        """The fork servers that run."""
        return [process.pid for process in self._all() if process.returncode is None]

    def _all(self) -> list[asyncio.subprocess.Process]:
        return self._earlier if self._process is None else [*self._earlier, self._process]

    async def start(self) -> socket.socket:
        """Start the server where none runs, and return when it has imported the services. Raises OSError."""
        async with self._starting:
            if self._connection is None or self._process is None or self._process.returncode is not None:
                self.renew()
                self._connection = await self._start()
            return self._connection

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                descriptor = theirs.fileno()
                self._process = await spawn(
                    [sys.executable, "-m", "vedette_cli.supervisor.fork_server", str(descriptor), *self._modules],
                    log=self._log,
                    environment={**os.environ, "PYTHONUNBUFFERED": "1"},
                    pass_fds=(descriptor,),
                )
            ours.setblocking(False)
            async with asyncio.timeout(IMPORT_PATIENCE):
                ready = await asyncio.get_running_loop().sock_recv(ours, 1)
        except BaseException:
            ours.close()
            raise
        if not ready:
            ours.close()
            raise ConnectionError(f"the process to fork from ended:\n{tail(self._log)}")
        ours.settimeout(FORK_PATIENCE)
        return ours

    def renew(self) -> None:
        """Let the next processes have the code as it is installed then; those that run are left alone."""
        self._earlier = [process for process in self._all() if process.returncode is None]
        self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def fork(self, module: str, *, environment: Mapping[str, str], log: Path, ready: int) -> Forked:
        """A process that is `python -m MODULE`, in a session of its own, which ends when we do.

        Its output goes to the end of `log`; it finds the descriptor `ready` by VEDETTE_READY_FD. Raises OSError.
        """
        with log.open("ab") as output:
            text = json.dumps({"module": module, "environment": dict(environment)}).encode() + b"\n"
            descriptors = [output.fileno(), ready]
            try:
                return _ask(await self.start(), text, descriptors)
            except (ConnectionError, TimeoutError):  # it was killed, maybe a moment ago, or stopped
                self.renew()
                return _ask(await self.start(), text, descriptors)

    async def stop(self, patience: float) -> None:
        """End it, when all that were forked have ended."""
        self.renew()
        await asyncio.gather(*(stop(process, patience=patience) for process in self._earlier))


def _ask(connection: socket.socket, text: bytes, descriptors: Sequence[int]) -> Forked:
    """Have a process forked. This blocks for a moment, as starting a program does."""
    connection.sendall(text[socket.send_fds(connection, [text], descriptors) :])
    said, found, _, _ = socket.recv_fds(connection, LONGEST_READ, 1)
    if not said:
        raise ConnectionResetError("the process to fork from has ended")
    answer = json.loads(said)
    if "error" in answer:
        raise OSError(answer["error"])
    if not found:  # no room for one more descriptor here
        end(answer["pid"])
        raise OSError("too many open files")
    return Forked(answer["pid"], found[0])
