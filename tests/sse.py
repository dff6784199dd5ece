"""A reader of server-sent events, as a browser's EventSource is one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

PATIENCE = 20.0


@dataclass(frozen=True)
class Event:
    """One event: its id, its name, its data."""

    id: str
    name: str
    data: dict[str, Any]


class EventReader:
    """Reads an answer event by event; `comments` counts the lines that are none."""

    def __init__(self, answer: aiohttp.ClientResponse, *, hears_silence: bool = True) -> None:
        """`hears_silence`: whether it shows the gaps that are there because a process was slow."""
        self.answer = answer
        self.comments = 0
        self._hears_silence = hears_silence

    async def next(self) -> Event | None:
        """The next event; None where the stream has ended. AssertionError where nothing comes."""
        found: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            while line := (await self.answer.content.readline()).decode():
                text = line.rstrip("\n")
                if text.startswith(":"):
                    self.comments += 1
                elif text:
                    name, _, value = text.partition(": ")
                    found[name] = value
                elif found:
                    event = Event(found.get("id", ""), found["event"], json.loads(found["data"]))
                    if self._hears_silence or (event.name, event.data.get("reason")) != ("gap", "silent"):
                        return event
                    found = {}
        return None

    async def until(self, check: Callable[[Event], bool]) -> list[Event]:
        """The events up to the first that the check holds for."""
        seen: list[Event] = []
        while True:
            event = await self.next()
            assert event is not None, seen
            seen.append(event)
            if check(event):
                return seen

    async def rest(self) -> list[Event]:
        """All that come before the end."""
        seen: list[Event] = []
        while (event := await self.next()) is not None:
            seen.append(event)
        return seen


@contextlib.asynccontextmanager
async def reading(
    url: str, *, headers: Mapping[str, str] | None = None, hears_silence: bool = True, **query: str | list[str]
) -> AsyncIterator[EventReader]:
    """The stream at a URL, after a look at its status and its type."""
    parameters = [
        (name, item) for name, value in query.items() for item in ([value] if isinstance(value, str) else value)
    ]
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.get(url, params=parameters, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield EventReader(answer, hears_silence=hears_silence)
