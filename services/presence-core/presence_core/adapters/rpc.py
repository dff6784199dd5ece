"""The RPC call that carries requests from the edges."""

import asyncio

import msgspec

from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import ReplyFuture
from vedette.rpc.contract import PublishCall, Reply, ReplyBatch, RequestBatch, SubscribeCall


class RequestsHandler:
    """One batch of calls in, one batch of replies out, in the same order."""

    def __init__(self, publish: PublishFlow, subscribe: SubscribeFlow) -> None:
        self._publish = publish
        self._subscribe = subscribe
        self._read = msgspec.msgpack.Decoder(RequestBatch).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """The replies to the calls in the body; raises msgspec.MsgspecError for a body that is no RequestBatch."""
        calls = self._read(body).calls
        publishes = [call for call in calls if isinstance(call, PublishCall)]
        subscribes = [call for call in calls if isinstance(call, SubscribeCall)]
        published = iter(self._publish.handle_publish(publishes))
        subscribed = iter(self._subscribe.handle_subscribe(subscribes))
        replies = [next(published if isinstance(call, PublishCall) else subscribed) for call in calls]
        waiting = [reply for reply in replies if not isinstance(reply, Reply)]
        if waiting:
            await asyncio.wait(waiting)
        return self._write(ReplyBatch([_settled(reply) for reply in replies]))


def _settled(reply: Reply | ReplyFuture) -> Reply:
    return reply if isinstance(reply, Reply) else reply.result()
