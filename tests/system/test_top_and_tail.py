"""`vedette top` on the shared set; `vedette tail` with a server that breaks its streams when told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.phone import MakePhone, pidf, token
from tests.ports import free_port
from tests.running_set import RunningSet
from tests.system.test_rest_commands import vedette
from tests.wait import until
from vedette_cli.commands import tail


async def test_top_shows_what_happened_within_an_interval(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(running_set, token("alice"))
    seen_enough = asyncio.Event()

    async def go_on_publishing() -> None:
        """One publication that changes: the last of all that a presentity may have could be there before we look."""
        etag = await alice.published()
        while not seen_enough.is_set():  # `wait_for` may swallow a cancellation (bpo-37658)
            response = await alice.request(alice.publish(body=pidf(alice.aor), if_match=etag))
            assert response.status == 200, response.start
            etag = response["sip-etag"]

    async def look() -> dict[str, Any] | None:
        command = ("top", "--once", "--json", "--interval", "1", "--data", str(running_set.data))
        code, out, err = await vedette(*command)
        assert code == 0, err
        seen: dict[str, Any] = json.loads(out)
        return seen if "PUBLISH" in seen["rates"]["requests"] and seen["latencies"]["core_call"] else None

    publishing = asyncio.create_task(go_on_publishing())
    try:
        seen = await until(look, "publications fall into an interval")
    finally:
        seen_enough.set()
        await publishing
    assert seen is not None
    assert seen["metrics_from"] == len(seen["replicas"]) >= 5
    assert seen["rates"]["requests"]["PUBLISH"] > 0
    assert 0 < seen["latencies"]["core_call"]["p50"] <= seen["latencies"]["core_call"]["p99"]
    assert seen["alive"]["transactions"] >= 0
    assert seen["queues"]["changes_due"] >= 0


async def test_top_for_people_and_without_metrics(running_set: RunningSet) -> None:
    once = ("top", "--once", "--interval", "0.2")
    code, out, _ = await vedette(*once, "--data", str(running_set.data))
    assert (code, "requests/s" in out, "presence-core" in out, "SERVICE" in out) == (0, True, True, True)
    code, out, _ = await vedette(*once, "--api", running_set.api)
    assert (code, "no /metrics can be reached from here" in out, "presence-core" in out) == (0, True, True)
    code, out, _ = await vedette(*once, "--json", "--api", running_set.api)
    assert json.loads(out)["rates"] is None
    (metrics,) = [row["metrics"] for row in await running_set.processes("notifier")]
    code, out, _ = await vedette(*once, "--json", "--api", running_set.api, "--metrics", metrics)
    assert json.loads(out)["metrics_from"] == 1
    assert (await vedette(*once, "--api", f"http://127.0.0.1:{free_port()}"))[0] == 3
    assert (await vedette("top", "--once", "--interval", "0"))[0] == 2


def event(number: int, kind: str = "notify", **facts: object) -> bytes:
    shown = {
        "kind": kind,
        "what": "delivered",
        "time": "2026-11-28T21:45:25.220341Z",
        "presentity": "sip:a@example.com",
        "event": "presence",
        "watcher": "sip:b@example.com",
        "outcome": "delivered",
        "code": 200,
        **facts,
    }
    return f"id: x-{number}\nevent: {kind}\ndata: {json.dumps(shown)}\n\n".encode()


class Streams:
    """Answers each request with the next of its streams, and keeps what was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.asked: list[str] = []
        self.address = ""
        self._answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        answer = self._answers.pop(0) if self._answers else b""
        if not answer.startswith(b"HTTP/"):
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + answer
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def streaming(*answers: bytes) -> AsyncIterator[Streams]:
    streams = Streams(*answers)
    server = await asyncio.start_server(streams.serve, "127.0.0.1", 0)
    async with server:
        streams.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield streams


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "FIRST_PAUSE", 0.0)


async def test_tail_goes_on_where_it_was_and_says_what_may_be_missing() -> None:
    problem = b'{"detail": "the api is starting"}'
    away = b"HTTP/1.1 503 Away\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n" % len(problem)
    gap = b'id: x-3\nevent: gap\ndata: {"reason": "lost", "detail": "Redis was away"}\n\n'
    first = b": listening\n\n" + event(1) + event(2, presentity="sip:c\x9b@example.com") + b"id: x-9\ndata: {cut"
    async with streaming(first, away + problem, gap + event(4, "publication", what="created")) as streams:
        code, out, err = await vedette(
            *("tail", "--api", streams.address, "--limit", "3", "--json", "--presentity", "sip:a@example.com"),
            *("--kind", "notify", "--kind", "publication", "--event", "presence"),
        )
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert [(row["cursor"], row["kind"]) for row in found] == [
        ("x-1", "notify"),
        ("x-2", "notify"),
        ("x-4", "publication"),
    ]
    assert "gap: Redis was away\n" in err
    assert "the api is starting; going on" in err
    asked = "presentity=sip%3Aa%40example.com&event=presence&kind=notify&kind=publication"
    assert streams.asked[0].startswith(f"GET /api/v1/events?{asked} HTTP/1.1\r\n")
    assert "last-event-id" not in streams.asked[0].lower()
    assert all("Last-Event-ID: x-2\r\n" in request for request in streams.asked[1:])


async def test_tail_in_words_is_one_line_that_steers_no_terminal() -> None:
    async with streaming(event(1, presentity="sip:c\x9b@example.com", code=408, outcome="timeout")) as streams:
        code, out, _ = await vedette("tail", "--api", streams.address, "--limit", "1")
    assert (code, out.count("\n")) == (0, 1)
    assert (
        "notify delivered sip:c\\x9b@example.com presence watcher=sip:b@example.com outcome=timeout code=408" in out
    )


async def test_tail_ends_where_it_cannot_begin(tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    assert (await vedette("tail", "--api", gone))[0] == 3
    assert (await vedette("tail", "--data", str(tmp_path)))[0] == 3
    forbidden = b"HTTP/1.1 401 No\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}"
    async with streaming(forbidden) as streams:
        code, _, err = await vedette("tail", "--api", streams.address)
    assert (code, "VEDETTE_TOKEN" in err) == (4, True)
    async with streaming(b"data: no json\n\n") as streams:
        code, _, err = await vedette("tail", "--api", streams.address)
    assert (code, "no event of Vedette" in err) == (3, True)
    assert (await vedette("tail", "--kind", "nothing"))[0] == 2
