"""One batch of calls in, one batch of replies out, in the same order (invariant 5)."""

import asyncio

import msgspec
import pytest

from presence_core.adapters.rpc import RequestsHandler
from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import publish, subscribe
from tests.unit.presence_core.test_announcements import Told, nothing_held
from tests.wait import until_true
from vedette.rpc.contract import UNKNOWN, Call, Reply, ReplyBatch, RequestBatch
from vedette.store.database import StoreUndecidedError

POLICY = Policy(secret=b"s" * 32)


async def publishes(commands: list[PublishCommand]) -> list[PublishVerdict]:
    return [PublishVerdict("refreshed", 2, command.expires, 0.0) for command in commands]


async def subscribes(commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
    return [SubscribeVerdict("created", command.expires) for command in commands]


def handler(*, subscribe_with: object = subscribes) -> RequestsHandler:
    return RequestsHandler(
        PublishFlow(publishes, Told(), POLICY, FlowLimits(), nothing_held),
        SubscribeFlow(subscribe_with, Told(), POLICY, FlowLimits()),  # type: ignore[arg-type]
    )


async def replies(to: RequestsHandler, *calls: Call) -> list[Reply]:
    answer = await to(msgspec.msgpack.encode(RequestBatch(list(calls))))
    return msgspec.msgpack.decode(answer, type=ReplyBatch).replies


def expires_of(reply: Reply) -> str:
    return dict(reply.headers)["Expires"]


async def test_replies_come_in_the_order_of_the_calls_whatever_their_kind() -> None:
    answered = await replies(
        handler(),
        subscribe(expires=1),
        publish(expires=2),
        publish(expires=3, request_uri="tel:1"),
        subscribe(expires=4, event=None),
        subscribe(expires=5),
        publish(expires=6),
    )
    assert [reply.status for reply in answered] == [200, 200, 416, 489, 200, 200]
    assert [expires_of(answered[index]) for index in (0, 1, 4, 5)] == ["1", "2", "5", "6"]


async def test_a_batch_without_calls_and_one_that_needs_no_database_are_answered_at_once() -> None:
    assert await replies(handler()) == []
    assert [reply.status for reply in await replies(handler(), publish(event=None))] == [489]


async def test_calls_whose_outcome_is_unknown_say_so_and_the_others_are_answered() -> None:
    async def undecided(commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        raise StoreUndecidedError("connection lost")

    answered = await replies(handler(subscribe_with=undecided), publish(), subscribe())
    assert [reply.status for reply in answered] == [200, UNKNOWN]


async def test_two_batches_at_once_do_not_wait_for_each_other() -> None:
    gate, waiting = asyncio.Event(), asyncio.Event()

    async def hold(commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        waiting.set()
        await gate.wait()
        return await subscribes(commands)

    one = handler(subscribe_with=hold)
    slow = asyncio.create_task(replies(one, subscribe()))
    await waiting.wait()
    assert [reply.status for reply in await replies(one, publish())] == [200]
    assert not slow.done()
    gate.set()
    await until_true(slow.done, "the other batch is answered")


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\x91\x91\xa1X"])
async def test_a_body_that_is_no_batch_raises_what_the_server_makes_a_400_of(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        await handler()(body)
