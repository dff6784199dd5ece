"""The life of a service process: start, ready, stop on a signal."""

import asyncio
import contextlib
import gc
import json
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from vedette import VERSION
from vedette.rpc.contract import Hello

log = structlog.get_logger()

Value = TypeVar("Value")


class Identity:
    """Who this process is; `ready` is set by the service, and never again once it has been told to `stop`."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.instance = secrets.token_hex(6)
        self.address = ""
        self._ready = False
        self._stopping = False
        self._started = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether others may call this process."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready and not self._stopping

    def stop(self) -> None:
        """Not ready from now on, whatever is found out later: nobody is to send more work."""
        self._stopping = True
        self._ready = False

    def uptime(self) -> float:
        """Seconds since the start, also those in which the process was stopped."""
        return time.monotonic() - self._started

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._stopping

    def hello(self) -> Hello:
        """What we say of ourselves now."""
        return Hello(
            service=self.service,
            instance=self.instance,
            address=self.address,
            version=VERSION,
            pid=os.getpid(),
            host=socket.gethostname(),
            uptime=self.uptime(),
            ready=self.ready,
        )


class StartError(Exception):
    """The service cannot start; the text is for a person and the process ends with code 1."""


class StoppedError(Exception):
    """The service was told to stop before it was ready; the process ends with code 0."""


async def unless_stopped(waiting: Awaitable[Value], stop: asyncio.Event) -> Value:
    """What the awaitable returns; StoppedError where the process is told to stop before that."""
    task, stopping = asyncio.ensure_future(waiting), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError
        return task.result()
    finally:
        task.cancel()
        stopping.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


class Tasks:
    """Background tasks of a service. One that fails is logged and started again after a second."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function for as long as the service lives."""
        self._add(asyncio.create_task(self._keep(name, run), name=name))

    def once(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine once; a failure is logged."""
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(_log_failure)
        self._add(task)

    def _add(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await run()
            except Exception:
                log.exception("task failed", task=name)
            await asyncio.sleep(1)

    async def cancel(self) -> None:
        """End all of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task failed", task=task.get_name(), exc_info=error)


def announce_ready(descriptor: int, **facts: object) -> None:
    """Tell whoever started us that we are ready: one JSON line on the descriptor, which is then closed."""
    if descriptor < 0:
        return
    with contextlib.suppress(OSError), os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(facts) + "\n")


def run_service(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `serve` until it returns; SIGTERM and SIGINT set the event it is given. Ends the process."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await serve(stop)

    _allow_all_files()
    try:
        uvloop.run(main())
    except StoppedError:
        log.info("stopped before it was ready")
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.exit(0)


def _allow_all_files() -> None:
    """Have as many sockets as the system lets us: the usual soft limit, 1024, is for programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
