"""REST asks cores as an edge does: the same call again until the outcome is known (invariants 1 and 2)."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from presence_core.adapters.rest import core_calls as core_calls_module
from presence_core.adapters.rest.core_calls import CoreCalls
from tests.integration.calls import publish
from tests.unit.rpc.serving import TOKEN, hello, served_together
from vedette.rpc.client import Peers
from vedette.rpc.contract import REQUESTS, UNKNOWN, Reply, ReplyBatch
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import Handler, NotReadyError


class _Paused:
    """asyncio as the calls see it: time passes in their pauses alone, however long an answer takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def get_running_loop(self) -> "_Paused":
        return self

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _time_passes_in_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_calls_module, "asyncio", _Paused())
    monkeypatch.setattr(core_calls_module, "TIMEOUT", 60.0)


def answering(replies: list[Reply | Exception], asked: list[bytes]) -> Handler:
    """A core that answers so, one after the other, and the last one for ever."""

    async def handle(body: bytes) -> bytes:
        asked.append(body)
        found = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(found, Exception):
            raise found
        return msgspec.msgpack.encode(ReplyBatch([found]))

    return handle


async def ask(handlers: list[Handler], check: Callable[[Reply], None]) -> None:
    async with served_together(*({REQUESTS: handler} for handler in handlers)) as cores:
        addresses = ",".join(core.address for core in cores)
        peers = Peers(Discovery(addresses), token=TOKEN, who=hello)
        await peers.probe()
        try:
            check(await CoreCalls(peers, patience=20.0).ask(publish()))
        finally:
            await peers.close()


@pytest.mark.parametrize(
    "first",
    [[NotReadyError()], [Reply(UNKNOWN), Reply(200)], [RuntimeError("broken")]],
)
async def test_the_same_call_is_asked_again_until_somebody_knows(first: list[Reply | Exception]) -> None:
    asked: list[bytes] = []
    handlers = [answering(first, asked), answering([Reply(200)], asked)]

    await ask(handlers, lambda reply: _is(reply, 200))
    assert len(set(asked)) == 1


async def test_what_nobody_takes_is_503_and_what_nobody_knows_is_unknown() -> None:
    asked: list[bytes] = []

    await ask([answering([NotReadyError()], asked)], lambda reply: _is(reply, 503))
    await ask([answering([Reply(UNKNOWN)], asked)], lambda reply: _is(reply, UNKNOWN))
    # After an outcome that is unknown a refusal proves nothing.
    await ask([answering([Reply(UNKNOWN), Reply(503)], asked)], lambda reply: _is(reply, UNKNOWN))
    await ask([answering([Reply(UNKNOWN), Reply(412)], asked)], lambda reply: _is(reply, 412))


def _is(reply: Reply, status: int) -> None:
    assert reply.status == status
