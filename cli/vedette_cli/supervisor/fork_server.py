"""The process that services are forked from: `python -m vedette_cli.supervisor.fork_server DESCRIPTOR MODULE...`.

It imports the code of the services once, so that none of them has to, and they share the memory of it. It does
nothing else: one thread, nothing open but the socket on which it is asked, whose other end is `forking.Forks`.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vedette_cli.supervisor.child import die_with_parent

READY = b"\n"
"""What it says once everything is imported."""
LONGEST_READ = 1 << 16
_ARGUMENTS_BEGIN, _ARGUMENTS_END = 45, 46
"""Where the memory of the command line is, in /proc/PID/stat: the fields after the name."""


@dataclass(frozen=True, slots=True)
class Order:
    """A process that is asked for, as this process sees it: the descriptors are its own."""

    module: str
    environment: Mapping[str, str]
    log: int
    ready: int


def main() -> None:
    """Fork what is asked for until nobody asks any more; in the process that was forked, be the service."""
    server = os.getpid()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        for module in sys.argv[2:]:
            with contextlib.suppress(Exception):  # each process of it tries again, and says what is wrong in its log
                importlib.import_module(f"{module}.main")
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever asked has a descriptor to wait for each
        connection.sendall(READY)
        order = _serve(connection)
    if order is not None:
        _become(order, server)
    with contextlib.suppress(ChildProcessError):  # they end with us, so we wait until the last has ended
        os.wait()


def _serve(connection: socket.socket) -> Order | None:
    """Answer each request with the pid and a pidfd. In the new process: its order; None when nobody asks any more.

    A process of which whoever asked cannot be told, since he has asked another server meanwhile, is ended at once.
    What was forked before stays, and we with it.
    """
    while True:
        try:
            text, descriptors, _, _ = socket.recv_fds(connection, LONGEST_READ, 2)
            while not text.endswith(b"\n"):
                more = connection.recv(LONGEST_READ)
                if not more:
                    return None
                text += more
        except OSError:
            return None
        pid = -1
        try:
            pid = os.fork()
            if pid == 0:
                return Order(**json.loads(text), log=descriptors[0], ready=descriptors[1])
            process = os.pidfd_open(pid)
        except OSError as error:
            end(pid)
            told = _tell(connection, {"error": str(error)}, [])
        else:
            told = _tell(connection, {"pid": pid}, [process])
            os.close(process)
        for descriptor in descriptors:
            os.close(descriptor)
        if not told:
            end(pid)
            return None


def _tell(connection: socket.socket, answer: Mapping[str, object], descriptors: Sequence[int]) -> bool:
    """Whether somebody was there to be told."""
    try:
        socket.send_fds(connection, [json.dumps(answer).encode()], descriptors)
    except OSError:
        return False
    return True


def end(pid: int) -> None:
    """Kill a process that was forked and that nobody has; -1, where none was, is nobody."""
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become(order: Order, server: int) -> None:
    """What `python -m MODULE` is, with the output, the environment and the end of a process of its own."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent(signal.SIGTERM, server)()
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(order.log, 1)
    os.dup2(order.log, 2)
    os.close(order.log)
    os.environ.clear()
    os.environ.update(order.environment, VEDETTE_READY_FD=str(order.ready))
    sys.argv = [order.module]
    _show_as([sys.executable, "-m", order.module])
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)
    sys.exit(0)


def _show_as(arguments: Sequence[str]) -> None:
    """Let `ps` show these as our command line, so that who looks for a service finds it; never longer than it was."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    begin, end = int(fields[_ARGUMENTS_BEGIN]), int(fields[_ARGUMENTS_END])
    shown = b"\0".join(os.fsencode(argument) for argument in arguments)
    if begin and len(shown) < end - begin:
        ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main()
