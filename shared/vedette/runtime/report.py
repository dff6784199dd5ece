"""What a process says of itself to the api: how busy it is, and the parameters that it was started with."""

import asyncio
import os
import time
from collections import deque
from pathlib import Path

import msgspec

from vedette.rpc.contract import Load, Report, Setting
from vedette.runtime.parameters import shown
from vedette.runtime.settings import ServiceSettings, given

INTERVAL = 1.0
REMEMBERED = 10
"""Intervals that the figures are of."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Reporter:
    """Answers the RPC call; run `watch` as a task."""

    def __init__(self, settings: ServiceSettings) -> None:
        kind = type(settings)
        sources = given(kind)
        self._settings = [
            Setting(name, shown(field, getattr(settings, name)), sources.get(name, "default"))
            for name, field in kind.model_fields.items()
        ]
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=REMEMBERED + 1)
        self._write = msgspec.msgpack.Encoder().encode

    async def watch(self) -> None:
        """Look at the process every INTERVAL, for ever."""
        loop = asyncio.get_running_loop()
        late = 0.0
        while True:
            self._samples.append((time.monotonic(), time.process_time(), late))
            due = loop.time() + INTERVAL
            await asyncio.sleep(INTERVAL)
            late = max(0.0, loop.time() - due)

    def report(self) -> Report:
        """What there is to say now."""
        cpu = lag = 0.0
        if len(self._samples) > 1:
            (first, used, _), *_, (last, used_since, _) = self._samples
            cpu = (used_since - used) / (last - first)
            lag = max(late for _, _, late in self._samples)
        return Report(Load(cpu=cpu, lag=lag, memory=_memory()), self._settings)

    async def __call__(self, _body: bytes) -> bytes:
        """The report, as RPC has it."""
        return self._write(self.report())


def _memory() -> int:
    """Octets that the process has in memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
